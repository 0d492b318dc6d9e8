"""A file system of a few megabytes, to be filled."""

import subprocess
from contextlib import contextmanager

import pytest


@contextmanager
def tiny_disk(folder, megabytes):
    """Mounts one on a folder, which is made; the test is skipped where that is not allowed."""
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={megabytes}m"]
    mounted = subprocess.run(["mount", *options, "tmpfs", str(folder)], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"a small file system can be mounted by root alone: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)  # a database may still be open


def fill_disk(path):
    """Leaves no space on the file system of `path`, a file that it writes."""
    with path.open("wb", buffering=0) as file:
        for size in (2**16, 2**9, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue

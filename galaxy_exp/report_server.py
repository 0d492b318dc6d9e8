"""The report page of a sweep while it runs, served to this machine alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from galaxy_exp.errors import JournalError
from galaxy_exp.folders import SweepFolder
from galaxy_exp.interrupts import signals_as_interrupts
from galaxy_exp.journal.journal import read_record, seems_running
from galaxy_exp.sweep_report import make_page

__all__ = ["REFRESH_SECONDS", "serve_report"]

REFRESH_SECONDS = 60
"""Between two drawings of the page, and between two times that a browser asks for it."""


def serve_report(folder: SweepFolder, port: int, on_ready: Callable[[str], None]) -> None:
    """Serves the page on 127.0.0.1 until Ctrl-C or SIGTERM; browsers reload it every minute until the sweep ends.

    Args:
        port: 0: any free one.
        on_ready: called with the page's address when it can be opened.

    Raises:
        JournalError: the journal cannot be read.
        OSError: the port is taken.
    """
    page = _Page(folder, time.monotonic)
    page.read()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.headers.get("Host", "").rpartition(":")[0]
            if self.path != "/" or name not in ("127.0.0.1", "localhost"):  # no page of another site may read it
                self.send_error(404)
                return
            content = page.read()
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            with suppress(ConnectionError):  # the reader has left
                self.wfile.write(content)

        def log_message(self, format: str, *arguments: object) -> None:
            """Prints nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

    with signals_as_interrupts(), suppress(KeyboardInterrupt), Server(("127.0.0.1", port), Handler) as server:
        on_ready(f"http://127.0.0.1:{server.server_port}/")
        server.serve_forever(poll_interval=0.2)


class _Page:
    """The page, drawn again if the journal has grown, or its driver has ended, and the last drawing is a minute old.

    `clock` gives seconds.
    """

    def __init__(self, folder: SweepFolder, clock: Callable[[], float]) -> None:
        self._folder, self._clock = folder, clock
        self._content, self._state, self._drawn_at = b"", (-1, False), 0.0
        self._lock = threading.Lock()

    def read(self) -> bytes:
        """The page as it is now; the last one if the journal cannot be read any more.

        Raises:
            JournalError: the journal cannot be read the first time.
        """
        with self._lock:
            is_old = not self._content or self._clock() - self._drawn_at >= REFRESH_SECONDS
            size = self._folder.journal.stat().st_size if self._folder.journal.exists() else 0
            state = size, seems_running(self._folder.path)
            if is_old and state != self._state:
                try:
                    self._content = make_page(read_record(self._folder.path), self._folder, REFRESH_SECONDS).encode()
                    self._state = state
                except JournalError:
                    if not self._content:
                        raise
                self._drawn_at = self._clock()
            return self._content

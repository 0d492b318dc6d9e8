"""Every sweep file, or part of one, in the pages is one that galaxy_exp accepts."""

import re
from pathlib import Path

import pytest
import yaml

from galaxy_exp.config import parse_sweep

ROOT = Path(__file__).parents[2]


def yaml_blocks():
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        blocks = re.findall(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        for number, block in enumerate(blocks, start=1):
            yield pytest.param(block, id=f"{page.name}-{number}")


@pytest.mark.parametrize("block", list(yaml_blocks()))
def test_it_is_accepted(block):
    parse_sweep(yaml.safe_load(block), "the page")

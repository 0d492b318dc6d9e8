"""Hooks of the documentation's build (mkdocs.yml): the project's own pages, and links that leave docs/.

CONTRIBUTING.md, CHANGELOG.md, SECURITY.md and CITATION.cff are where a forge looks for them; here they become pages of
the site. Links to them, and to README.md, lead to these pages; of other files of the repository the name is kept.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
PROJECT_PAGES = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md", "SECURITY.md": "reporting.md"}
"""File of the repository, and its page in the site."""

TARGETS = PROJECT_PAGES | {"README.md": "index.md"}
_LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?:|#)([^)#\s]+)(#[^)]*)?\)")
_INLINE_CODE = re.compile(r"<code>[^<]+</code>")
_OPTION = re.compile(r"--[\w-]+")


def on_files(files: Any, config: Any) -> Any:
    """Adds the project's pages."""
    for source, page in PROJECT_PAGES.items():
        text = relink((ROOT / source).read_text(encoding="utf-8"), "")
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Turns links that leave docs/ to pages of the site."""
    return markdown if page.file.src_uri in PROJECT_PAGES.values() else relink(markdown, "docs")


def on_page_content(html: str, **_: Any) -> str:
    """Keeps options in running text whole: a browser would end a line between their two hyphens."""
    return _INLINE_CODE.sub(lambda code: _OPTION.sub(r'<span class="option">\g<0></span>', code[0]), html)


def relink(markdown: str, folder: str) -> str:
    """The text with its links into the repository turned to pages of the site, and names of pages to their titles.

    Args:
        markdown: of a file of the repository.
        folder: where the file is, relative to the repository.
    """

    def turned(found: re.Match[str]) -> str:
        image, text, target, anchor = found.groups()
        path = posixpath.normpath(posixpath.join(folder, target))
        if re.fullmatch(r"[\w-]+\.md", text) and (ROOT / path).is_file():  # on the site, pages have titles
            text = (ROOT / path).read_text(encoding="utf-8").partition("# ")[2].splitlines()[0]
        if path in TARGETS:
            return f"{image}[{text}]({TARGETS[path]}{anchor or ''})"
        if path.startswith("docs/"):
            return f"{image}[{text}]({path.removeprefix('docs/')}{anchor or ''})"
        return f"`{text}`" if re.fullmatch(r"[\w./-]+", text) else text

    return _LINK.sub(turned, markdown)

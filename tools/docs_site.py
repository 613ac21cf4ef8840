"""MkDocs hooks of `make docs`: pages from outside docs/, and links that work on the site.

Links in Markdown files point to files of the repository. On the site README.md is the first page,
CONTRIBUTING.md is a page, and any other file outside docs/ that a page links to is copied to
`files/`.
"""

import os
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md"}
# Group 1: the text in brackets; 2: the path; 3: the heading. Not URLs or links within a page.
LINK = re.compile(r"(\[[^\]]*\])\((?![a-z]+:|#)([^)#\s]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: Any) -> Files:
    """Adds the pages and files that are outside docs/."""
    for name, page in PAGES.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / name)))
    linked: set[Path] = set()
    for file in files.documentation_pages():
        source = Path(str(file.abs_src_path))
        for _, path, _ in LINK.findall(source.read_text()):
            target = (source.parent / path).resolve()
            if target.is_file() and _on_site(target).startswith("files/"):
                linked.add(target)
    for target in sorted(linked):
        files.append(File.generated(config, _on_site(target), abs_src_path=str(target)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Turns links between the repository's files into links between the site's."""
    source = Path(page.file.abs_src_path)
    folder = os.path.dirname(page.file.src_uri)

    def link(match: re.Match[str]) -> str:
        text, path, heading = match.groups(default="")
        target = (source.parent / path).resolve()
        if target.is_dir():
            return text[1:-1]
        return f"{text}({os.path.relpath(_on_site(target), folder or '.')}{heading})"

    return LINK.sub(link, markdown)


def _on_site(target: Path) -> str:
    """Where a file of the repository is on the site."""
    path = target.relative_to(ROOT).as_posix()
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    return PAGES.get(path, f"files/{path}")

"""Shared by the tools that write tables between markers in Markdown files."""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dsh_jax.errors import UserError
from dsh_jax.files import replacing

ROOT = Path(__file__).resolve().parents[1]


def markers(name: str) -> tuple[str, str]:
    """The lines before and after the tables of this name in a file."""
    return f"<!-- {name}:begin -->", f"<!-- {name}:end -->"


def machine(hardware: Mapping[str, Any]) -> str:
    """The devices of a run."""
    if hardware["platform"] == "cpu":
        return f"{hardware['cpu']}, {hardware['cpu_cores']} cores"
    return f"{hardware['num_devices']} x {hardware['device']}"


def read_json(path: Path, again: str) -> Any:
    """A file's content.

    Raises:
      UserError: it is not JSON; `again` says how to write it.
    """
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is not a readable JSON file ({error}); {again}.") from error


def options(doc: str, arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parses the options of these tools: `check` and `root`."""
    parser = argparse.ArgumentParser(description=doc.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if outdated")
    parser.add_argument("--root", type=Path, default=ROOT, help="the folder of README.md")
    return parser.parse_args(arguments)


def replaced(text: str, name: str, tables: str, path: Path) -> str:
    """The file's text with `tables` between its markers.

    Raises:
      UserError: it does not have each marker once, in order.
    """
    begin, end = markers(name)
    counts = text.count(begin), text.count(end)
    if counts != (1, 1) or text.index(begin) > text.index(end):
        raise UserError(f"{path} must hold the lines {begin} and {end} once each, in this order.")
    before, after = text.index(begin) + len(begin), text.index(end)
    # Blank lines, or Markdown would treat the markers as part of the tables.
    between = f"\n\n{tables}\n\n" if tables else "\n"
    return text[:before] + between + text[after:]


def update(pages: Mapping[Path, tuple[str, str]], *, check: bool) -> int:
    """Writes tables to their files, or checks that they are up to date; returns the exit code.

    Args:
      pages: file -> (name of its markers, tables).
      check: write nothing, and return 1 if a file is not up to date.

    Raises:
      UserError: a file lacks its markers; then no file is written.
    """
    changed = {}
    for path, (name, tables) in pages.items():
        old = path.read_text() if path.exists() else ""
        new = replaced(old, name, tables, path)
        if new != old:
            changed[path] = new
    if check:
        for path in changed:
            print(f"{path} is not up to date; run make tables.", file=sys.stderr)
        return 1 if changed else 0
    for path, new in changed.items():
        with replacing(path) as beside:
            beside.write_text(new)
    return 0

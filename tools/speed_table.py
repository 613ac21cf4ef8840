"""Writes the tables of docs/speed.md from what `benchmarks/*.py --result` wrote.

    python -m tools.speed_table [--check] [--root .]

`--check` writes nothing and exits 1 if the page is not up to date.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from dsh_jax.errors import UserError
from dsh_jax.report.markdown import table
from tools import tables


def render(results: Path, folder: Path) -> str:
    """A table for each benchmark, as Markdown; links are relative to `folder`.

    Args:
      results: the folder of the JSON files.
      folder: of the page.

    Raises:
      UserError: a file is not in the format of the benchmarks.
    """
    parts = []
    for path in sorted(results.glob("*.json")):
        content = tables.read_json(path, "run its benchmark again")
        try:
            run, figures = content["run"], content["figures"]
            title = f"## {content['title']}: {tables.machine(run['hardware'])}"
            link = f"[{path.stem}]({Path(os.path.relpath(path, folder)).as_posix()})"
            parts += [title, table(["measured", link], figures.items())]
        except (KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{path} is not the result of a benchmark; write it again.") from error
    return "\n\n".join(parts)


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes or checks the page; returns the exit code."""
    options = tables.options(str(__doc__), arguments)
    page = options.root / "docs/speed.md"
    try:
        text = render(options.root / "results/speed", page.parent)
        return tables.update({page: ("speed", text)}, check=options.check)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())

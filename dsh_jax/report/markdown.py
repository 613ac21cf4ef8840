"""Tables in Markdown."""

from collections.abc import Iterable


def table(
    header: Iterable[object], rows: Iterable[Iterable[object]], *, aligned: bool = False
) -> str:
    """A Markdown table.

    Args:
      header: of the columns.
      rows: their cells; a "|" in one is escaped.
      aligned: whether the columns line up in a terminal.
    """
    lines = [_cells(header), *map(_cells, rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    if aligned:
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        lines = [list(map(str.ljust, line, widths)) for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cells(values: Iterable[object]) -> list[str]:
    return [str(value).replace("|", r"\|") for value in values]

"""What a benchmark measured, as the JSON file that `tools/speed_table.py` reads."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dsh_jax.files import write_json
from dsh_jax.training.workdir import command_line, describe_run


def write_result(
    path: Path | str | None, title: str, figures: Mapping[str, Any], *, note: str = "", **more: Any
) -> None:
    """Writes figures with the command, the machine, the versions and the commit.

    Args:
      path: of the file; none or empty to write nothing.
      title: of the table.
      figures: what was measured -> its figure.
      note: about the run, if there is anything to say.
      more: other content, by its name in the file.
    """
    if path:
        run = describe_run(command_line(), []) | ({"note": note} if note else {})
        write_json(Path(path), {"title": title, "figures": figures, **more, "run": run})

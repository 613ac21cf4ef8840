"""How a run goes on: for more steps than it was begun with, or without items that are gone."""

from pathlib import Path

from ml_collections import ConfigDict

from dsh_jax.data.splits.split import Split
from dsh_jax.data.splits.split import load as load_split
from dsh_jax.errors import UserError
from dsh_jax.files import read_json, write_json
from dsh_jax.methods.base import State
from dsh_jax.training.workdir import is_raised


def raised_from(workdir: Path, config: ConfigDict) -> int | None:
    """The `num_steps` that a workdir was trained for, if the config has more; else None."""
    there = read_json(workdir / "config.json") if (workdir / "config.json").exists() else {}
    before = there.get("num_steps")
    return before if is_raised(before, config.get("num_steps")) else None


def record_more_steps(path: Path, step: int, before: int, now: int) -> None:
    """Keeps that a run goes on for longer, among the overrides of `run.json` and by itself.

    Args:
      path: of `run.json`, as `record_run` leaves it.
      step: steps done.
      before, now: `num_steps`.
    """
    saved = read_json(path)
    others = [o for o in saved.get("overrides", []) if not o.startswith("--config.num_steps=")]
    more = {"from_step": step, "num_steps": now, "num_steps_before": before}
    write_json(path, saved | {
        "overrides": [*others, f"--config.num_steps={now}"],
        "continued": [*saved.get("continued", []), more],
    })  # fmt: skip


def has_split(workdir: Path, split: Split) -> bool:
    """Whether a workdir holds this split."""
    path = workdir / "split.json"
    try:
        return path.exists() and load_split(path).checksum == split.checksum
    except UserError:
        return False


def about_more_steps(config: ConfigDict, state: State, start: int, before: int) -> str:
    """What it means that a run goes on for more steps than it was begun with."""
    used = {name: config.optimizer[name] for name in sorted(state.opt_state)}
    other = [f"{name}: {o.schedule}" for name, o in used.items() if o.schedule != "constant"]
    line = f"more steps  num_steps is {config.num_steps:,}, {before:,} before; learning rates "
    if not other:
        return line + "are constant, so the result is that of so many steps from the start"
    return line + (
        f"are those of the longer run from step {start:,} on ({', '.join(other)}), so the result is"
        " not that of so many steps from the start"
    )


def about_lost_items(workdir: Path, split: Split) -> list[str]:
    """A line if training goes on without items that it has used."""
    drawn = load_split(workdir / "split.json") if (workdir / "split.json").exists() else split
    lost = len(drawn.training) - len(split.training)
    if not lost:
        return []
    return [f"training    goes on without {lost:,} of its {len(drawn.training):,} items, so the"
            " result is not that of an undisturbed run"]  # fmt: skip

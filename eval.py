"""Evaluates a trained workdir: `python eval.py --workdir DIR`.

Writes `DIR/eval.json` and `DIR/codes.npz`, and prints a table.
"""

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from dsh_jax import cli
from dsh_jax.evaluation import BASELINES, evaluate_workdir
from dsh_jax.training.workdir import write_json

_WORKDIR = flags.DEFINE_string(
    "workdir", None, "A workdir that train.py has filled.", required=True
)
_DATA_DIR = flags.DEFINE_string("data_dir", "", "Where the data lies now, if it has moved.")
_CHECKPOINT = flags.DEFINE_enum(
    "checkpoint", "best", ["best", "latest"], "Which checkpoint; best is by validation mAP."
)
_BASELINE = flags.DEFINE_enum(
    "baseline", "", ["", *BASELINES], "Evaluate this baseline on the same split instead."
)
_RESULT = flags.DEFINE_string("result", "", "Also write the result to this file.")


def main(argv: Sequence[str]) -> None:
    del argv
    workdir = Path(_WORKDIR.value)
    result = evaluate_workdir(
        workdir,
        data_dir=_DATA_DIR.value,
        checkpoint=_CHECKPOINT.value,
        baseline=_BASELINE.value,
    )
    if _RESULT.value:
        write_json(Path(_RESULT.value), result)
    for name in ("dataset", "protocol", "codes", "num_bits", "num_queries", "num_database"):
        print(f"{name:26} {result[name]}")
    for name in ("map", "precision_at_100", "precision_at_1000", "precision_within_radius_2"):
        print(f"{name:26} {result[name]:.4f}")


if __name__ == "__main__":
    cli.run(main)

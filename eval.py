"""Evaluates a trained workdir: `python eval.py --workdir DIR`.

Writes `DIR/eval.json` and `DIR/codes.npz`, and prints a table; `--report` adds `DIR/report/`.
`python eval.py --compare DIR1 DIR2 ...` compares evaluated workdirs.
"""

# ruff: noqa: E402
from dsh_jax import interrupt

interrupt.stop_at_once()  # before anything that is slow to import

import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from dsh_jax import cli
from dsh_jax.errors import UserError
from dsh_jax.evaluation import BASELINES, evaluate_workdir, report_path
from dsh_jax.files import write_json
from dsh_jax.report.comparison import load_results, table, write_comparison
from dsh_jax.report.names import short
from dsh_jax.retrieval.conventions import parse

_WORKDIR = flags.DEFINE_string("workdir", None, "A workdir written by train.py.")
_DATA_DIR = flags.DEFINE_string("data_dir", "", "Where the data is now, if it has moved.")
_CHECKPOINT = flags.DEFINE_enum(
    "checkpoint", "best", ["best", "latest"], "Which checkpoint; best is by validation mAP."
)
_BASELINE = flags.DEFINE_enum(
    "baseline", "", ["", *BASELINES], "Evaluate this baseline on the same split instead."
)
_CONVENTIONS = flags.DEFINE_string(
    "conventions", "expected", "How ties, denominators and queries without a relevant item are "
    "treated, in words: expected or stable / reachable, all_relevant or hits_in_top_k / "
    "zero, skip or skip_no_hit. As most public code does: stable/hits_in_top_k.",
)  # fmt: skip
_REPORT = flags.DEFINE_bool("report", False, "Also write a page with pictures, DIR/report/.")
_RESULT = flags.DEFINE_string("result", "", "Also write the result to this file.")
_COMPARE = flags.DEFINE_multi_string("compare", [], "Evaluated workdirs to compare.")
_OUTPUT = flags.DEFINE_string("output", "comparison", "Where --compare writes table and plot.")


def main(argv: Sequence[str]) -> None:
    more = argv[1:]  # --compare A B C: the flag takes A and leaves the rest
    if _COMPARE.value:
        if _WORKDIR.value:
            raise UserError("--workdir and --compare exclude each other; leave one out.")
        results = load_results([Path(name) for name in (*_COMPARE.value, *more)])
        write_comparison(results, Path(_OUTPUT.value))
        print(table(results))
        print(f"Also in {_OUTPUT.value}: compare.md, compare.png")
        return
    if more:
        raise UserError(f"unexpected argument {more[0]!r}; flags begin with --.")
    if not _WORKDIR.value:
        raise UserError("--workdir is missing; name a workdir written by train.py.")
    _evaluate(Path(_WORKDIR.value))


def _evaluate(workdir: Path) -> None:
    try:
        conventions = parse(_CONVENTIONS.value)
    except ValueError as error:
        raise UserError(f"--{error}") from error
    baseline = _BASELINE.value
    result = evaluate_workdir(
        workdir, data_dir=_DATA_DIR.value, checkpoint=_CHECKPOINT.value, baseline=baseline,
        conventions=conventions, report=_REPORT.value,
    )  # fmt: skip
    if _RESULT.value:
        write_json(Path(_RESULT.value), result)
    for name in ("dataset", "protocol", "codes", "num_bits", "num_queries", "num_database"):
        print(f"{name:26} {result[name]}")
    if "unseen_classes" in result:
        print(f"{'unseen_classes':26} {short(', '.join(result['unseen_classes']), 200)}")
    for name in ("map", "precision_at_100", "precision_at_1000", "precision_within_radius_2"):
        print(f"{name:26} {result[name]:.4f}")
    for asked, taken in result["clipped_cuts"].items():
        print(f"at {asked}: measured at {taken:,}, the size of the database")
    for warning in result["warnings"]:
        print(f"warning: {warning}", file=sys.stderr)
    if _REPORT.value:
        print(f"report: {report_path(workdir, baseline)}")


if __name__ == "__main__":
    cli.run(main, positional=True)

"""Evaluates a trained workdir: `python eval.py --workdir DIR`.

Writes `DIR/eval.json` and `DIR/codes.npz`, and prints a table; `--report` adds `DIR/report/`.
`python eval.py --encoder FILE --config configs/X.py` measures an encoder file on a config's split.
`python eval.py --compare DIR1 DIR2 ...` compares evaluated workdirs.
`python eval.py --codes FILE.npz` measures codes that any program has saved.
"""

# ruff: noqa: E402
from __future__ import annotations

from dsh_jax import interrupt

interrupt.stop_at_once()  # before anything that is slow to import

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from dsh_jax import cli, host_flags
from dsh_jax.baselines import BASELINES
from dsh_jax.errors import UserError
from dsh_jax.files import write_json
from dsh_jax.report.codes import meaning
from dsh_jax.report.names import FORMATS, short

if TYPE_CHECKING:  # imported where they are used: they take time, which --help has not
    from dsh_jax.retrieval.conventions import Conventions

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
_JUDGE = flags.DEFINE_string(
    "judge", None, "Encoder file or workdir that judges synthetic images, instead of the config's; "
    "empty for none.",
)  # fmt: skip
_METRICS = flags.DEFINE_list(
    "metrics", None, "Metrics of your own, module:function,..., instead of the config's; empty for "
    "none.",
)  # fmt: skip
_RESULT = flags.DEFINE_string("result", "", "Also write the result to this file.")
_COMPARE = flags.DEFINE_multi_string("compare", [], "Evaluated workdirs to compare.")
_GROUP = flags.DEFINE_bool(
    "group", False, "Of --compare: means and standard deviations over runs that differ only in "
    "their seeds, by method and number of bits, with a plot of mAP over bits.",
)  # fmt: skip
_FORMAT = flags.DEFINE_enum("format", "png", FORMATS, "Of the pictures of --report and --compare.")
_OUTPUT = flags.DEFINE_string(
    "output", "", "Where --compare writes table and plot (comparison), and --encoder its result, "
    "codes and report (nowhere).",
)  # fmt: skip
_CODES = flags.DEFINE_multi_string(
    "codes", [], "Codes and labels to measure, from any program: a .npz file with query_codes, "
    "database_codes, query_labels and database_labels, or four .npy files in this order.",
)  # fmt: skip
_NUM_BITS = flags.DEFINE_integer(
    "num_bits", None, "Of --codes that are packed: their length; all bits of the bytes if not "
    "given. Of --encoder with --baseline features_itq: the length of the codes.", lower_bound=1,
)  # fmt: skip
_ENCODER = flags.DEFINE_string("encoder", "", "An encoder file to measure; needs --config.")
_DISTRIBUTED = flags.DEFINE_bool(
    "distributed", False, "Of --workdir: several processes, on one machine or many, share the "
    "encoding and the counting (docs/hosts.md).",
)  # fmt: skip
_CONFIG = cli.config_file_flag("config", "Of --encoder: whose data and split to measure on.")


def main(argv: Sequence[str]) -> None:
    more = argv[1:]  # --compare A B C: the flag takes A and leaves the rest
    given = {"--workdir": _WORKDIR.value, "--compare": _COMPARE.value, "--encoder": _ENCODER.value,
             "--codes": _CODES.value}  # fmt: skip
    chosen = [name for name, value in given.items() if value]
    if len(chosen) > 1:
        raise UserError(f"{' and '.join(chosen)} exclude each other; leave one out.")
    if _CONFIG.value is not None and not _ENCODER.value:
        raise UserError("--config is for --encoder, and a workdir has its own; leave it out.")
    if _COMPARE.value:
        _compare([Path(name) for name in (*_COMPARE.value, *more)])
        return
    if _GROUP.value:
        raise UserError("--group is for --compare; add --compare DIR1 DIR2 ... or leave it out.")
    if _NUM_BITS.value and not (_CODES.value or _ENCODER.value):
        raise UserError("--num_bits is for --codes and --encoder; leave it out.")
    if _DISTRIBUTED.value and not _WORKDIR.value:
        raise UserError("--distributed is for --workdir; leave it out.")
    if more and not _CODES.value:
        raise UserError(f"unexpected argument {more[0]!r}; flags begin with --.")
    if not chosen:
        raise UserError(
            "--workdir is missing; name a workdir written by train.py, or --encoder FILE, or "
            "--codes FILE."
        )
    from dsh_jax.measuring import report_path
    from dsh_jax.retrieval.conventions import parse

    try:
        conventions = parse(_CONVENTIONS.value)
    except ValueError as error:
        raise UserError(f"--{error}") from error
    if _CODES.value:
        result, folder = _evaluate_codes([*_CODES.value, *more], conventions), None
    elif _ENCODER.value:
        result, folder = _evaluate_encoder(conventions)
    else:
        with host_flags.joined(_DISTRIBUTED.value, "--distributed", takes_requests=False):
            result, folder = _evaluate_workdir(conventions)
        if not result:  # process 0 has it
            return
    if _RESULT.value:
        write_json(Path(_RESULT.value), result)
    _show(result)
    if _REPORT.value and folder is not None:
        print(f"report: {report_path(folder, _BASELINE.value)}")


def _compare(workdirs: list[Path]) -> None:
    from dsh_jax.report import comparison, groups

    output = Path(_OUTPUT.value or "comparison")
    files = comparison.result_files(workdirs)
    results = comparison.load_results(files, several_splits=_GROUP.value)
    if _GROUP.value:
        found = groups.group(results, files)
        groups.write(found, output, _FORMAT.value)
        text, picture = groups.render(found), "map"
    else:
        comparison.write_comparison(results, output, _FORMAT.value)
        text, picture = comparison.table(results), "compare"
    print(f"{text}\nAlso in {output}: compare.md, {picture}.{_FORMAT.value}")


def _evaluate_codes(files: list[str], conventions: Conventions) -> dict[str, Any]:
    from dsh_jax.codes_evaluation import evaluate_codes

    for name in ("data_dir", "checkpoint", "baseline", "report", "judge", "output", "metrics"):
        if flags.FLAGS[name].present:
            raise UserError(f"--{name} is not for --codes; leave it out.")
    paths = [Path(file).expanduser() for file in files]
    return evaluate_codes(paths, num_bits=_NUM_BITS.value, conventions=conventions)


def _evaluate_workdir(conventions: Conventions) -> tuple[dict[str, Any], Path | None]:
    from dsh_jax.evaluation import evaluate_workdir

    workdir = Path(_WORKDIR.value or "")
    result = evaluate_workdir(
        workdir, data_dir=_DATA_DIR.value, checkpoint=_CHECKPOINT.value,
        baseline=_BASELINE.value, conventions=conventions, report=_REPORT.value,
        image_format=_FORMAT.value, judge=_JUDGE.value, metrics=_METRICS.value,
    )  # fmt: skip
    return result, workdir


def _evaluate_encoder(conventions: Conventions) -> tuple[dict[str, Any], Path | None]:
    if _CONFIG.value is None:
        raise UserError(
            "--config is missing; name the config whose data and split to measure the encoder on."
        )
    if _CHECKPOINT.value != "best":
        raise UserError("--checkpoint is for a workdir, and an encoder file has one; leave it out.")
    if _JUDGE.value:
        raise UserError("--judge is for a workdir, and an encoder draws no images; leave it out.")
    if _REPORT.value and not _OUTPUT.value:
        raise UserError("--report needs a folder here; add --output DIR.")
    from dsh_jax.encoder_evaluation import evaluate_encoder
    from dsh_jax.overrides import config_overrides
    from dsh_jax.training import workdir

    run = workdir.describe_run(workdir.command_line(), config_overrides(sys.argv[1:]))
    folder = Path(_OUTPUT.value) if _OUTPUT.value else None
    result = evaluate_encoder(
        Path(_ENCODER.value).expanduser(), _CONFIG.value, data_dir=_DATA_DIR.value,
        baseline=_BASELINE.value, num_bits=_NUM_BITS.value, conventions=conventions,
        folder=folder, report=_REPORT.value, image_format=_FORMAT.value, metrics=_METRICS.value,
        run=run,
    )  # fmt: skip
    return result, folder


def _show(result: dict[str, Any]) -> None:
    """Prints what matters most in a result."""
    for line in result.get("changes", []):
        print(line)
    shown = result | {"codes": meaning(result["codes"])}
    for name in ("dataset", "protocol", "codes", "database_codes", "labels", "num_bits",
                 "num_queries", "num_database", "num_items"):  # fmt: skip
        if name in shown:
            print(f"{name:26} {shown[name]}")
    if "unseen_classes" in result:
        print(f"{'unseen_classes':26} {short(', '.join(result['unseen_classes']), 200)}")
    if "trained_on_this_split" in result:
        same = "yes" if result["trained_on_this_split"] else "unknown"
        print(f"{'trained_on_this_split':26} {same}")
    for name in ("map", "precision_at_100", "precision_at_1000", "precision_within_radius_2"):
        if name in result:  # floats have no radius in bits
            print(f"{name:26} {result[name]:.4f}")
    for name in ("weighted_map", "ndcg_at_100", "frechet_distance", "judged_accuracy"):
        if name in result:
            print(f"{name:26} {result[name]:.4f}")
    for name, value in result.get("metrics", {}).items():
        print(f"{name:26} {value:.4f}")
    for asked, taken in result["clipped_cuts"].items():
        print(f"at {asked}: measured at {taken:,}, the size of the database")
    for warning in result["warnings"]:
        print(f"warning: {warning}", file=sys.stderr)


if __name__ == "__main__":
    cli.run(main, positional=True, about=__doc__)

"""The README's table of results: each method with the fewest overrides, at one code length."""

from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

from dsh_jax.report.markdown import table
from dsh_jax.report.spread import score
from tools import cells, differences, documents_table
from tools.result_files import BASELINES, Result, ordered, plainest, rows

DATASETS = {"cifar10": "CIFAR-10 (JPEG)", "cifar10_features": "Embeddings of CIFAR-10",
            "digits": "Handwritten digits",
            "multi_digits": "Several handwritten digits per image"}  # fmt: skip
HEADER = ("data (queries / labeled / database)", "method", "config", "bits",
          "labels (+ validation)", "mAP", "s.e. over queries", "precision@100")  # fmt: skip
# What is shown: data set, bits, number of labeled items (None: any), kinds of codes or, after a
# colon, arms of a config of arms.
_IMAGE_CODES = ("network", "features_itq", "graded", ":gan+consistency", ":gan_real+consistency",
                ":network+consistency", ":gan", ":gan_real", ":network", "synthetic", "gan_real",
                "real", "cnnh_plus", "itq")  # fmt: skip
_DOCUMENT_CODES = (":all", ":all_linear_decoder", "shttm_neural", ":rotated", "shttm_rotated",
                   ":rotated_learned", ":nash_supervised", "itq")  # fmt: skip
# Arm of documents -> the configs that have its settings, one for each collection.
_CONFIGS = {"rotated": "shttm", "published": "shttm_published",
            "nash_supervised": "nash_supervised",
            "vdsh_supervised": "vdsh_supervised"}  # fmt: skip
_NEURAL_CONFIGS = {"reuters": "all", "newsgroups": "all_linear_decoder"}
_SHOWN: tuple[tuple[str, int, int | None, tuple[str, ...]], ...] = (
    ("cifar10", 48, None, _IMAGE_CODES),
    # Other rows with 200 labels are of version 0.2, on one split.
    ("digits", 16, 200, ("network", "features_itq")),
    ("digits", 16, 50, _IMAGE_CODES),
    ("reuters21578", 32, None, _DOCUMENT_CODES),
    ("20newsgroups", 32, None, _DOCUMENT_CODES),
)
_LABELED_DIGITS = 50
# A base, a test, the user's own images.
_NO_RESULT_EXPECTED = ("default", "smoke", "documents_arms", "image_folder", "features", "resnet50",
                       "vit")  # fmt: skip


def render(results: Iterable[Result]) -> str:
    """The table as Markdown; empty without results."""
    every = list(results)
    lines = []
    for dataset, num_bits, num_labeled, shown in _SHOWN:
        chosen = [
            result
            for result in ordered(every)
            if result.content["dataset"] == dataset
            and result.content["num_bits"] == num_bits
            and result.content["num_labeled"] == (num_labeled or result.content["num_labeled"])
            and not _is_another_arm(result)
        ]
        for _, of_table in groupby(chosen, lambda r: r.table):
            in_table = list(of_table)
            for codes in shown:
                of_codes = rows(r for r in in_table if _kind(r) == codes)
                lines += [_line(runs) for runs in plainest(of_codes)]
    return table(HEADER, lines) if lines else ""


def _kind(result: Result) -> str:
    """The arm of a result after a colon, or else its kind of codes."""
    return f":{result.arm}" if result.arm else result.content["codes"]


def _is_another_arm(result: Result) -> bool:
    """Whether a result is of neural SHTTM with other improvements than its config has."""
    collection, _, arm = result.config_file.partition(":")[2].partition("-")
    return arm in _NEURAL_CONFIGS.values() and _NEURAL_CONFIGS.get(collection) != arm


def _config(result: Result) -> str:
    """The config with the settings of a result; empty for a baseline."""
    file, _, argument = result.config_file.partition(":")
    collection, _, arm = argument.partition("-")
    name = "shttm_neural" if _NEURAL_CONFIGS.get(collection) == arm else _CONFIGS.get(arm)
    if file == "documents_arms" and name:
        return f"{name}_{collection}_32bit"
    return result.config_file


def _line(runs: list[Result]) -> list[object]:
    first, contents = runs[0], [run.content for run in runs]
    (dataset, protocol), codes = first.table, first.content["codes"]
    name = first.method
    return [
        f"{(DATASETS | documents_table.COLLECTIONS).get(dataset, dataset)}, {protocol}",
        name + (f" on {first.features}" if codes in BASELINES and not first.is_text else ""),
        _config(first) or cells.GAP,
        first.content["num_bits"],
        cells.labels(first.content),
        score([content["map"] for content in contents]),
        cells.query_error(contents),
        score([content["precision_at_100"] for content in contents]),
    ]


def without_result(results: Iterable[Result], configs: Path) -> str:
    """A sentence that names the configs without a result; empty if all have one."""
    measured = {_config(result).partition(":")[0] for result in results}
    names = [
        f"`{path.stem}`"
        for path in sorted(configs.glob("*.py"))
        # An experiment's header has its command; other files are bases of experiments.
        if f"--config configs/{path.name}" in path.read_text()
        and path.stem not in measured | {*_NO_RESULT_EXPECTED}
    ]
    return f"Configs without a result so far: {', '.join(names)}." if names else ""


def synthetic_images(results: Iterable[Result]) -> str:
    """A sentence that says what the game with synthetic images gains; empty if not measured."""
    arms: dict[str, list[Result]] = {}
    for result in results:
        content = result.content
        if (content["dataset"], content["num_labeled"]) == ("digits", _LABELED_DIGITS):
            arms.setdefault(result.arm, []).append(result)
    parts = []
    for suffix, words in (("", "without consistency"), ("+consistency", "with it")):
        game, alone = (arms.get(f"{arm}{suffix}", []) for arm in ("gan", "network"))
        found = differences.difference(game, alone)
        if found is None or found.over_draws is None:
            return ""
        interval = cells.interval(found.over_draws)[0]
        parts.append(f"{found.mean:+.3f} {words} (95 %: {interval})")
    return (
        "**What synthetic images are worth**, on digits with 5 labels a class: mAP of the game "
        f"minus that of the network alone is {' and '.join(parts)}; "
        "[more](docs/results.md#what-they-show)."
    )

"""Paired differences between the arms of a comparison, on the draws that both were measured on."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from dsh_jax.errors import UserError
from dsh_jax.report.markdown import table
from dsh_jax.report.spread import mean_and_deviation, splits
from tools import cells, documents_table
from tools.intervals import FEWEST_DRAWS, Interval, bootstrap, t_interval
from tools.result_files import Result, plainest, rows

# The kind of codes of a reference -> the kinds that it is compared with, in this order. Its own
# kind stands for its variants: the same config file with other settings.
COMPARISONS = {
    "synthetic": ("synthetic", "gan_real", "real", "network", "features_itq", "classifier",
                  "graded", "cnnh_plus", "cnnh", "itq"),
    "network": ("network", "features_itq", "classifier", "graded"),
    "shttm_neural": ("shttm_neural", "shttm_rotated", "shttm", "vdsh_supervised",
                     "nash_supervised", "itq"),
    "shttm_rotated": ("shttm", "vdsh_supervised", "nash_supervised", "itq"),
    "vdsh_supervised": ("vdsh",),
    "nash_supervised": ("nash",),
    "vdsh": ("nash", "itq"),
}  # fmt: skip
ARMS = {
    "all": ("rotated", "linear", "nonlinear_encoder", "nonlinear_decoder", "binary_codes",
            "nonlinear", "learned_uncertainty", "neural_correlated_tags", "joint_topics",
            "all_linear_decoder", "vdsh_supervised", "nash_supervised"),
    "all_linear_decoder": ("rotated", "nonlinear_encoder", "binary_codes"),
    "rotated": ("published", "mean_thresholds", "rotation", "fitted_to_function",
                "rotated_learned", "exposure", "correlated_tags", "exposure_correlated",
                "vdsh_supervised", "nash_supervised"),
    "published": ("published_learned",),
    "vdsh": ("nash",),
    "gan": ("gan_real", "network", "gan, loss.unlabeled=zero"),
    "gan+consistency": ("gan_real+consistency", "network+consistency", "gan"),
}
"""The same of the arms of `configs/documents_arms.py` and of images, by their names."""
HEADER = ("arm", "minus", "bits", "labeled", "draws", "difference of mAP", "95 %, t over draws",
          "p", "95 %, bootstrap", "p")  # fmt: skip
NONE = ("No paired differences: they need the average precision of each query, or three draws, and "
        "the results above have neither.")  # fmt: skip


@dataclass(frozen=True)
class Difference:
    """mAP of one arm minus that of another.

    Attributes:
      mean: over the draws.
      draws: seed and split of each, in order.
      over_draws: t interval; None for fewer than three draws.
      resampled: bootstrap over draws and queries, of the queries alone where there is one draw;
        None if the results do not hold the average precision of each query.
    """

    mean: float
    draws: list[tuple[int, str]]
    over_draws: Interval | None
    resampled: Interval | None


def difference(one: Iterable[Result], other: Iterable[Result]) -> Difference | None:
    """The paired difference of two arms on their common draws.

    Args:
      one, other: results of an arm, one for each draw.

    Returns:
      None if the arms have no draw in common, or nothing but one or two means.

    Raises:
      UserError: results on one split have different numbers of queries.
    """
    ones, others = ({result.draw: result for result in arm} for arm in (one, other))
    draws = sorted(ones.keys() & others.keys())
    pairs = [(ones[draw], others[draw]) for draw in draws]
    means = [a.content["map"] - b.content["map"] for a, b in pairs]
    of_queries = [_of_queries(a, b) for a, b in pairs]
    over_draws = t_interval(means) if len(draws) >= FEWEST_DRAWS else None
    resampled = None
    whole = [values for values in of_queries if values is not None]
    if whole and len(whole) == len(draws):
        queries = {a.content.get("query_checksum", a.content["split_checksum"]) for a, _ in pairs}
        resampled = bootstrap(whole, same_queries=len(queries) == 1)
    if over_draws is None and resampled is None:
        return None
    return Difference(mean_and_deviation(means)[0], draws, over_draws, resampled)


def _of_queries(one: Result, other: Result) -> np.ndarray | None:
    """The difference of each query `[n_query]`; None if a result does not have them."""
    values, others = (r.content.get("query_average_precision") for r in (one, other))
    if values is None or others is None:
        return None
    if len(values) != len(others):
        raise UserError(
            f"{one.path} and {other.path} have the same split but {len(values)} and "
            f"{len(others)} queries; write both again with eval.py --result."
        )
    return np.subtract(values, others)


def pairs(results: Iterable[Result]) -> list[tuple[list[Result], list[Result]]]:
    """The arms that `COMPARISONS` names, of equal bits and labels: (reference, other).

    A reference is the config with the fewest overrides. Of another kind of codes those of the same
    config file count, if there are any.
    """
    every = rows(results)
    arms = [arm for arm in every if not arm[0].arm]
    named = {(_key(arm), arm[0].arm): arm for arm in every}
    found = [
        (named[key, reference], named[key, other])
        for reference, others in ARMS.items()
        for key, name in named
        if name == reference
        for other in others
        if (key, other) in named
    ]
    for kind, others in COMPARISONS.items():
        keys = dict.fromkeys(_key(arm) for arm in arms if arm[0].content["codes"] == kind)
        for key in keys:
            alike = [arm for arm in arms if _key(arm) == key]
            for reference in plainest(a for a in alike if a[0].content["codes"] == kind):
                rest = [arm for arm in alike if arm != reference]
                for other in others:
                    of_kind = [arm for arm in rest if arm[0].content["codes"] == other]
                    own = [a for a in of_kind if a[0].config_file == reference[0].config_file]
                    # Variants of another config file have a reference of their own.
                    found += [(reference, a) for a in (own if other == kind else own or of_kind)]
    return found


def _key(arm: Sequence[Result]) -> tuple[tuple[str, str], int, int]:
    content = arm[0].content
    return arm[0].table, content["num_labeled"], content["num_bits"]


def render(results: Iterable[Result]) -> str:
    """The paired differences between the results of one table, as Markdown.

    Returns:
      Empty if the table has no arms that are to be compared.

    Raises:
      UserError: as `difference`.
    """
    compared = pairs(results)
    lines = []
    for reference, other in compared:
        if (found := difference(reference, other)) is not None:
            content = reference[0].content
            seeds = ", ".join(str(seed) for seed, _ in found.draws)
            lines.append(
                [
                    name(reference[0]),
                    name(other[0]),
                    content["num_bits"],
                    content["num_labeled"],
                    seeds + splits([split for _, split in found.draws]),
                    f"{found.mean:+.3f}",
                    *cells.interval(found.over_draws),
                    *cells.interval(found.resampled),
                ]
            )
    if not compared:
        return ""
    if not lines:
        return NONE
    parts = ["Paired differences:", table(HEADER, lines)]
    if any("," not in str(line[4]) for line in lines):
        parts.append("With one draw the bootstrap is over the queries alone.")
    return "\n\n".join(parts)


def name(result: Result) -> str:
    """An arm in words: its method, and what differs from its config file."""
    if result.is_text:
        return documents_table.row_name(result.content)
    return ", ".join([result.method, *result.changes])

"""Cuts, radii and numbers of bits are integers, or `evaluate` says so."""

import numpy as np
import pytest

from dsh_jax.retrieval import evaluate, ranking

CODES, LABELS = np.zeros((3, 2), np.uint8), np.zeros(3, int)
GOOD = {
    "query_codes": CODES, "query_labels": LABELS, "database_codes": CODES,
    "database_labels": LABELS, "num_bits": 12,
}  # fmt: skip
WRONG = [float("nan"), 1.5, 2.0, np.float64(2), True, np.True_, "2", None, 0, -1, 10**30, [2]]


@pytest.mark.parametrize("value", WRONG)
@pytest.mark.parametrize("name", ["num_bits", "cuts", "radius"])
def test_no_integer(name, value):
    if name == "radius" and value == 0 and value is not False:
        return  # the only one that is valid
    changed = GOOD | {name: (5, value) if name == "cuts" else value}
    with pytest.raises(ValueError, match=f"{name} must be an integer from [01] to .*, got") as told:
        evaluate(**changed)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("cuts", [5, None, "55", 5.0])
def test_cuts_are_a_sequence(cuts):
    with pytest.raises(ValueError, match="cuts must be a sequence of integers"):
        evaluate(**GOOD, cuts=cuts)


@pytest.mark.parametrize("conventions", [3, None, ("stable",)])
def test_conventions_are_words(conventions):
    with pytest.raises(ValueError, match="conventions must be words"):
        evaluate(**GOOD, conventions=conventions)


@pytest.mark.parametrize("cut", [float("nan"), 1.5, True, "2", 0])
def test_ranked_metrics_refuse_the_same_cuts(cut):
    counts = np.ones((2, 3, 2), int)
    for metric in (ranking.average_precision, ranking.precision_at, ranking.recall_at,
                   ranking.ndcg, ranking.average_cumulative_gain):  # fmt: skip
        with pytest.raises(ValueError, match="cut must be an integer"):
            metric(counts, cut)


def test_any_kind_of_integer_is_taken():
    plain = evaluate(**GOOD, cuts=(1, 2**31 - 1), radius=1)
    kinds = {"num_bits": np.asarray(12), "cuts": iter([np.int8(1), 2**31 - 1]),
             "radius": np.uint8(1)}  # fmt: skip
    assert evaluate(**(GOOD | kinds)) == plain
    assert plain["clipped_cuts"] == {"2147483647": 3}

"""Ranked metrics from counts of items by distance, exact about ties.

Codes of K bits have only K + 1 distances, so most of a ranking is ties, and the codes do not
determine the order within a tie. Every function here gives the expectation under a uniformly random
order of the items at the same distance (McSherry & Najork, "Computing information retrieval
performance measures efficiently in the presence of tied scores", ECIR 2008). For the best or the
worst order of ties, pass the counts through `in_order` first.

`counts[q, b, l]` is the number of items in the b-th nearest bucket of query q that share l labels
with it: integers `[n_query, buckets, levels]` from `counts.distance_counts`, where each bucket is a
distance. An item is relevant if it shares a label. Results are float64 `[n_query]`. `cut` is the
last rank considered, clipped to the size of the database. Invalid counts, or a cut that is no
integer of 1 or more, raise a ValueError.
"""

import numpy as np
import scipy  # loads scipy.special when it is first used

from dsh_jax.retrieval.arguments import as_integer

DENOMINATORS = ("reachable", "all_relevant", "hits_in_top_k")


def in_order(counts: np.ndarray, order: str) -> np.ndarray:
    """Breaks the ties between items of different levels.

    Args:
      counts: `[n_query, buckets, levels]`.
      order: "best": the most similar items first within each bucket; "worst": last.

    Returns:
      `[n_query, buckets * levels, levels]`, where all items of a bucket have the same level.
    """
    n_query, buckets, levels = check_counts(counts).shape
    step = {"best": -1, "worst": 1}[order]
    split = counts[..., None] * np.eye(levels, dtype=counts.dtype)
    return split[:, :, ::step].reshape(n_query, buckets * levels, levels)


def average_precision(
    counts: np.ndarray,
    cut: int | None = None,
    *,
    denominator: str = "reachable",
    graded: bool = False,
) -> np.ndarray:
    """Average precision; graded: weighted by shared labels ("weighted mAP").

    The precision at the rank of each relevant item up to rank `cut` (graded: the mean number of
    labels shared by the items up to that rank, ACG), summed and divided by a number of items.

    Args:
      counts: see above.
      cut: None for the whole database.
      denominator: "reachable": min(cut, relevant items in the database), so that 1 is the best
        possible ranking; "all_relevant": all of them; "hits_in_top_k": those found up to the cut,
        as in most published hashing code; finding fewer may then raise the score. Without a cut
        the three are equal.
      graded: use the number of shared labels in place of relevance.

    Returns:
      `[n_query]`; 0 where the denominator is 0.

    Raises:
      ValueError: invalid counts, a cut below 1, an unknown denominator.
    """
    if denominator not in DENOMINATORS:
        raise ValueError(f"denominator is one of {DENOMINATORS}, not {denominator!r}")
    total, relevant, gain = _sums(counts)
    if not graded:
        gain = relevant
    before, inside = _before(total), _inside(total, cut)
    mean_gain = _ratio(gain, relevant)
    terms = _precisions(before, _before(gain), total, relevant, mean_gain, inside)
    if denominator == "hits_in_top_k" and cut is not None:
        return _over_hits(total, relevant, gain, terms, inside)
    divisor = relevant.sum(axis=1)
    if denominator == "reachable" and cut is not None:
        divisor = np.minimum(divisor, cut)
    return _ratio(terms.sum(axis=1), divisor)


def average_precision_bounds_over_hits(
    counts: np.ndarray, cut: int
) -> tuple[np.ndarray, np.ndarray]:
    """Bounds of average precision over all orders of ties, with denominator "hits_in_top_k".

    With this denominator an additional hit may lower the score, so the best order is not always
    that with the relevant items first.

    Returns:
      (worst, best), each `[n_query]`.
    """
    total, relevant, _ = _sums(counts)
    inside = _inside(total, cut)
    result = np.zeros((2, len(total)))
    for query, last in enumerate(_last_bucket(inside)):
        n, r, m = (int(x[query, last]) for x in (total, relevant, inside))
        hits, _ = _hypergeometric(n, r, m)
        items, found = total[query, :last].sum(), relevant[query, :last].sum()
        full = counts[query : query + 1, :last]
        # Whatever the number of hits in the last bucket, hits first is best and hits last is worst.
        for bound, order, missed in ((0, "worst", m - hits), (1, "best", 0 * hits)):
            before = average_precision(in_order(full, order)) * found if last else 0.0
            start = items + missed
            digamma = scipy.special.digamma
            harmonic = digamma(start + hits + 1.0) - digamma(start + 1.0)
            scores = _ratio(before + hits + (found - start) * harmonic, found + hits)
            result[bound, query] = scores.min() if bound == 0 else scores.max()
    return result[0], result[1]


def hit_probability(counts: np.ndarray, cut: int | None = None) -> np.ndarray:
    """Probability of a relevant item in the first `cut` ranks; 0 or 1 unless ties decide."""
    total, relevant, _ = _sums(counts)
    inside = _inside(total, cut)
    surely = np.any((inside == total) & (relevant > 0), axis=1)
    result = surely.astype(float)
    for query in np.flatnonzero(~surely):
        last = _last_bucket(inside[query : query + 1])[0]
        n, r, m = (int(x[query, last]) for x in (total, relevant, inside))
        hits, probability = _hypergeometric(n, r, m)
        result[query] = 1 - probability[0] if hits[0] == 0 else 1.0
    return result


def precision_at(counts: np.ndarray, cut: int) -> np.ndarray:
    """Share of relevant items in the first `cut` ranks."""
    total, relevant, _ = _sums(counts)
    inside = _inside(total, cut)
    return _ratio(_found(total, relevant, inside), inside.sum(axis=1))


def recall_at(counts: np.ndarray, cut: int) -> np.ndarray:
    """Share of all relevant items found in the first `cut` ranks; 0 without relevant items."""
    total, relevant, _ = _sums(counts)
    return _ratio(_found(total, relevant, _inside(total, cut)), relevant.sum(axis=1))


def average_cumulative_gain(counts: np.ndarray, cut: int) -> np.ndarray:
    """ACG: mean number of labels shared with the query in the first `cut` ranks."""
    total, _, gain = _sums(counts)
    inside = _inside(total, cut)
    return _ratio(_found(total, gain, inside), inside.sum(axis=1))


def ndcg(counts: np.ndarray, cut: int | None = None) -> np.ndarray:
    """Normalised discounted cumulative gain: gain 2^shared - 1, discount 1 / log2(rank + 1).

    Source: Jaervelin & Kekaelaeinen, "Cumulated gain-based evaluation of IR techniques" (TOIS
    2002), with the exponential gain that the hashing literature uses. 0 without relevant items.
    """
    ideal = in_order(check_counts(counts).sum(axis=1, keepdims=True), "best")
    return _ratio(_dcg(counts, cut), _dcg(ideal, cut))


def within_radius(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lookup of all items at most r bits away, for every radius r; independent of ties.

    Args:
      counts: with one bucket per distance.

    Returns:
      (precision, recall, empty), each `[n_query, num_bits + 1]`: `empty` (bool) is true where no
      item lies within the radius; precision is 0 there.
    """
    total, relevant, _ = (np.cumsum(x, axis=1) for x in _sums(counts))
    return _ratio(relevant, total), _ratio(relevant, relevant[:, -1:]), total == 0


def check_counts(counts: np.ndarray) -> np.ndarray:
    """Checks counts and returns them.

    Raises:
      ValueError: they are not integers `[n_query, buckets, levels >= 2]`, or are negative.
    """
    if counts.ndim != 3 or counts.shape[2] < 2 or counts.dtype.kind not in "iu":
        raise ValueError(
            "counts must be integers [n_query, buckets, levels] with 2 levels or more, "
            f"got {counts.dtype} {counts.shape}"
        )
    if counts.size and counts.min() < 0:
        raise ValueError(f"counts {counts.shape} must not be negative")
    return counts


def _sums(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Items, relevant items and shared labels of each bucket, int64 `[n_query, buckets]`."""
    counts = check_counts(counts)
    levels = np.arange(counts.shape[2])
    # A product by BLAS, several times faster than sums over a short axis; exact below 2^53.
    weights = np.stack([np.ones_like(levels), levels > 0, levels]).astype(float)
    sums = weights @ counts.reshape(-1, len(levels)).T.astype(float)
    total, relevant, gain = sums.reshape(3, *counts.shape[:2]).astype(np.int64)
    return total, relevant, gain


def _before(values: np.ndarray) -> np.ndarray:
    """Sums over the buckets before each bucket."""
    return np.asarray(np.cumsum(values, axis=-1) - values)


def _inside(total: np.ndarray, cut: int | None) -> np.ndarray:
    """Number of items of each bucket within the first `cut` ranks."""
    if cut is None:
        return total
    return np.clip(as_integer(cut, "cut", least=1) - _before(total), 0, total)


def _found(total: np.ndarray, values: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Expected sum of the values of the items inside the cut, `[n_query]`."""
    return np.sum(_ratio(values * inside, total), axis=1)


def _precisions(
    before: np.ndarray | np.integer,
    gain_before: np.ndarray | np.integer,
    total: np.ndarray,
    relevant: np.ndarray,
    mean_gain: np.ndarray | float,
    inside: np.ndarray,
) -> np.ndarray:
    """Expected sum of the precisions at the relevant items in the first places of a bucket.

    The arguments broadcast: N items with a total gain of G come before a bucket of n items, of
    which r are relevant with a mean gain of g (1 if not graded), and n' are inside the cut.
    """
    # The i-th place has a relevant item with probability r / n; then (i - 1)(r - 1) / (n - 1) more
    # are expected before it in the bucket. With slope = g (r - 1) / (n - 1) the precision is
    # (G + g + (i - 1) slope) / (N + i), and as (i - 1) / (N + i) = 1 - (N + 1) / (N + i), the sum
    # over i = 1..n' is n' slope + (G + g - (N + 1) slope) (H[N + n'] - H[N]), H harmonic numbers.
    slope = mean_gain * (relevant - 1) / np.maximum(total - 1, 1)
    digamma = scipy.special.digamma
    harmonic = digamma(before + inside + 1.0) - digamma(before + 1.0)
    summed = inside * slope + (gain_before + mean_gain - (before + 1) * slope) * harmonic
    return _ratio(relevant, total) * summed


def _over_hits(
    total: np.ndarray, relevant: np.ndarray, gain: np.ndarray, terms: np.ndarray, inside: np.ndarray
) -> np.ndarray:
    """Expected AP over the hits inside the cut, whose number is itself random."""
    result = np.zeros(len(total))
    for query, last in enumerate(_last_bucket(inside)):
        n, r, m = (int(x[query, last]) for x in (total, relevant, inside))
        hits, probability = _hypergeometric(n, r, m)
        # Given h hits, the first m places are a bucket of m items with h relevant ones.
        found = _precisions(
            total[query, :last].sum(), gain[query, :last].sum(), np.full_like(hits, m), hits,
            gain[query, last] / max(r, 1), np.full_like(hits, m),
        )  # fmt: skip
        found = found + terms[query, :last].sum()
        result[query] = probability @ _ratio(found, relevant[query, :last].sum() + hits)
    return result


def _last_bucket(inside: np.ndarray) -> np.ndarray:
    """Index of the last bucket with items inside the cut, `[n_query]`."""
    return inside.shape[1] - 1 - np.argmax(inside[:, ::-1] > 0, axis=1)


def _hypergeometric(n: int, r: int, m: int) -> tuple[np.ndarray, np.ndarray]:
    """Possible numbers of hits when m of n items are drawn, r of the n relevant; probabilities."""
    hits = np.arange(max(0, m - (n - r)), min(m, r) + 1)

    def log_choose(a: int, b: np.ndarray) -> np.ndarray:
        gammaln = scipy.special.gammaln
        return np.asarray(gammaln(a + 1) - gammaln(b + 1) - gammaln(a - b + 1))

    logs = log_choose(r, hits) + log_choose(n - r, m - hits)
    weights = np.exp(logs - logs.max())
    return hits, weights / weights.sum()


def _dcg(counts: np.ndarray, cut: int | None) -> np.ndarray:
    counts = check_counts(counts)
    total = counts.sum(axis=2)
    gain = counts @ (2.0 ** np.arange(counts.shape[2]) - 1)
    before, inside = _before(total), _inside(total, cut)
    last_rank = int((before + inside).max(initial=0, where=inside > 0))
    discounts = 1 / np.log2(np.arange(2, last_rank + 2))
    cumulative = np.concatenate([[0.0], np.cumsum(discounts)])
    before = np.minimum(before, last_rank)
    discount = cumulative[np.minimum(before + inside, last_rank)] - cumulative[before]
    return np.sum(_ratio(gain, total) * discount, axis=1)


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """numerator / denominator, 0 where the denominator is 0."""
    return np.asarray(numerator / np.maximum(denominator, 1) * (denominator > 0))

"""SHTTM's codes: relaxed codes of documents that explain their tags and stay near their topics.

Minimises sum_ij c_ij (T_ij - u_i . y_j)^2 + C |U|^2 + gamma |Y - theta|^2, alternating between the
tag factors U and the codes Y. T_ij is 1 where document j has tag i, and c_ij is `present` there and
`missing` elsewhere. With one side fixed, every row of the other is an independent ridge regression.
All share the system M = missing F^T F + ridge I, where F is the fixed side, and a row adds only
(present - missing) G^T G, where G are the rows of F that it shares a tag with. So M is solved once
per side, and each row needs only a small system for its own few tags.

Soft targets of missing tags (`tag_correlation`) change right-hand sides only. With learned
exposure (`shttm_exposure`) every row has a system of its own.

Source: Wang, Zhang & Si, "Semantic hashing using tags and topic modeling" (SIGIR 2013).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy  # loads scipy.sparse when it is first used
from jax import lax

from dsh_jax.methods import shttm_exposure
from dsh_jax.methods.shttm_exposure import Exposure
from dsh_jax.methods.small_systems import solve

_BATCH_ELEMENTS = 2**20  # of an array in a batch of rows: limits memory, and fits in a cache

_matmul = partial(jnp.matmul, precision="highest")  # no TF32: gains of late steps are small


@dataclass(frozen=True)
class ShttmCodes:
    """Codes of n documents and factors of their tags.

    Attributes:
      codes: Y, relaxed, float `[n, k]`.
      tag_factors: U, float `[tags, k]`.
      objectives: the objective after each iteration, never rising.
      exposure: mu, each tag's probability of exposure, float64 `[tags]`; None where not learned.
    """

    codes: np.ndarray
    tag_factors: np.ndarray
    objectives: list[float]
    exposure: np.ndarray | None = None


Iterate = Callable[[ShttmCodes], tuple[ShttmCodes, float]]
"""One iteration: from what was learned to what follows (its `objectives` are left alone), and the
objective of that."""


def learn_codes(
    tags: Any,
    topics: np.ndarray,
    *,
    present: float,
    missing: float,
    tag_ridge: float,
    topic_weight: float,
    iterations: int,
    tolerance: float,
    dtype: str = "float32",
    soft: np.ndarray | None = None,
    exposure: Exposure | None = None,
    report: Callable[[int, float], None] | None = None,
) -> ShttmCodes:
    """Learns the codes and the tag factors, starting from the topics as codes.

    The codes of documents without tags differ from their topics only because of `missing`. If no
    document has tags, the codes are the topics.

    Args:
      tags: T^T, multi-hot {0, 1} `[n, tags]`, an array or any SciPy sparse matrix.
      topics: theta, real `[n, k]`: as many topics as bits.
      present: a, the confidence in a present tag, above `missing`; with `exposure` that in every
        tag that the document is exposed to.
      missing: b, the confidence in a missing tag, above 0; with `exposure` it is learned instead.
      tag_ridge: C, the weight of |U|^2, above 0.
      topic_weight: gamma, the weight of |Y - theta|^2, above 0.
      iterations: the most to run, >= 1; each solves all tag factors and then all codes.
      tolerance: stop after an iteration that lowers the objective by at most this share of it; with
        `exposure`, whose objective has no natural zero, of its fall so far.
      dtype: of the solver, "float32" or "float64", which is better for ridges below a hundredth of
        `present`; the objective is always summed in float64.
      soft: what the products of missing tags are drawn to instead of 0, `[n, tags]` in [0, 1], for
        example `tag_correlation.soft_targets`; its values at present tags are not used.
      exposure: what is assumed of tagging uncertainty, if it is to be learned.
      report: called after each iteration with its number, from 1, and the objective.

    Returns:
      An iteration that raises the objective, as only rounding can, is discarded and ends the fit.

    Raises:
      ValueError: `present`, `missing`, `tag_ridge`, `topic_weight`, `iterations` or `exposure` out
        of range, or so far apart that `dtype` is not precise enough; tags, topics or soft targets
        of a wrong shape or with invalid values; or an unknown dtype.
    """
    _check_settings(present, missing, tag_ridge, topic_weight, iterations, exposure)
    if dtype not in ("float32", "float64"):
        raise ValueError(f"dtype must be float32 or float64, got {dtype!r}")
    tags, topics = _as_tags(tags), np.asarray(topics)
    if topics.ndim != 2 or 0 in topics.shape or len(topics) != tags.shape[0]:
        raise ValueError(f"topics must be a non-empty [n, k] for tags [n, tags], got "
                         f"{topics.shape} for {tags.shape}")  # fmt: skip
    if not np.isfinite(topics).all():
        raise ValueError(f"topics {topics.shape} hold NaN or infinity")
    if soft is not None:
        soft = _as_soft(soft, tags)

    topics = topics.astype(dtype)
    weights = {"present": present, "missing": missing, "tag_ridge": tag_ridge,
               "topic_weight": topic_weight}  # fmt: skip
    # What the tag factors stay near, and start from.
    origin = np.zeros((tags.shape[1], topics.shape[1]), dtype)
    result = ShttmCodes(topics, origin, [])
    if exposure is None:
        iterate, at_start = _weighted(tags, topics, soft, **weights)
    else:
        iterate, at_start, start = _exposed(tags, topics, soft, exposure, **weights)
        result = replace(result, exposure=start)
    previous = np.inf
    for iteration in range(1, iterations + 1):
        found, objective = iterate(result)
        slack = 1e-6 * abs(at_start)
        if iteration == 1 and tags.nnz and not objective <= at_start + slack:
            raise ValueError(
                f"{dtype} is too coarse for codes.present {present}, codes.missing {missing}, "
                f"codes.tag_ridge {tag_ridge} and codes.topic_weight {topic_weight}: choose "
                "weights closer to each other, or float64."
            )
        if not objective <= previous:
            break
        result = replace(found, objectives=[*result.objectives, objective])
        if report is not None:
            report(iteration, objective)
        scale = objective if exposure is None else at_start - objective
        if previous - objective <= tolerance * scale:
            break
        previous = objective
    return result


def _weighted(
    tags: scipy.sparse.csr_array,
    topics: np.ndarray,
    soft: np.ndarray | None,
    *,
    present: float,
    missing: float,
    tag_ridge: float,
    topic_weight: float,
) -> tuple[Iterate, float]:
    """An iteration with confidences that are given, and the objective before the first one."""
    dtype = topics.dtype
    origin = np.zeros((tags.shape[1], topics.shape[1]), dtype)
    pulls: tuple[np.ndarray | None, np.ndarray | None] = None, None
    at_start = present * tags.nnz  # with tag factors of 0 and the topics as codes
    if soft is not None:
        pull = missing * soft.astype(dtype)
        pulls = pull, pull.T
        at_start += missing * float(np.sum(np.square(soft)))
    by_document, by_tag, pairs, of_documents, of_tags = jax.device_put(
        (_joined(tags), _joined(tags.T.tocsr()), tags.nonzero(), *pulls)
    )

    def iterate(result: ShttmCodes) -> tuple[ShttmCodes, float]:
        with jax.enable_x64(dtype == np.float64):
            factors = _solve_side(
                result.codes, origin, by_tag, present, missing, tag_ridge, of_tags
            )
            codes = _solve_side(
                factors, topics, by_document, present, missing, topic_weight, of_documents
            )
        with jax.enable_x64(True):
            weights = present, missing, tag_ridge, topic_weight
            objective = _objective(codes, factors, topics, pairs, soft, *weights)
        return ShttmCodes(np.asarray(codes), np.asarray(factors), []), float(objective)

    return iterate, at_start


def _exposed(
    tags: scipy.sparse.csr_array,
    topics: np.ndarray,
    soft: np.ndarray | None,
    settings: Exposure,
    *,
    present: float,
    missing: float,
    tag_ridge: float,
    topic_weight: float,
) -> tuple[Iterate, float, np.ndarray]:
    """An iteration that learns confidences, the objective before the first one, and first mu."""
    del missing
    n, dtype = len(topics), topics.dtype
    origin = np.zeros((tags.shape[1], topics.shape[1]), dtype)
    given = tags.toarray() > 0
    targets = given.astype(dtype) if soft is None else np.where(given, 1, soft).astype(dtype)
    by_tag = given.T.copy(), targets.T.copy()
    measure = partial(
        shttm_exposure.objective, topics=topics, targets=targets, given=given, settings=settings,
        present=present, tag_ridge=tag_ridge, topic_weight=topic_weight,
    )  # fmt: skip

    def iterate(result: ShttmCodes) -> tuple[ShttmCodes, float]:
        mu = result.exposure
        assert mu is not None
        odds = _log_odds(mu).astype(dtype)
        with jax.enable_x64(dtype == np.float64):
            none = np.zeros(n, dtype)
            factors = shttm_exposure.solve_side(
                result.codes, origin, result.tag_factors, *by_tag, (odds, none),
                settings.precision, present, tag_ridge,
            )  # fmt: skip
            codes = shttm_exposure.solve_side(
                factors, topics, result.codes, given, targets, (none, odds),
                settings.precision, present, topic_weight,
            )  # fmt: skip
            exposed = shttm_exposure.expected_exposures(
                codes, factors, targets, given, odds, settings.precision
            )
        mu = settings.mode(exposed, n)
        return ShttmCodes(codes, factors, [], mu), measure(codes, factors, mu=mu)

    start = settings.mode(given.sum(axis=0), n)
    return iterate, measure(topics, origin, mu=start), start


def _log_odds(probability: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):  # 0 and 1 have infinite odds
        return np.log(probability) - np.log1p(-probability)


def _joined(tags: scipy.sparse.csr_array) -> list[tuple[np.ndarray, np.ndarray]]:
    """The columns of each row's ones, with rows of similar counts in one group.

    The counts differ a thousandfold, so one length for all would take too much memory; but each
    length is compiled separately, so there are few.

    Returns:
      For each power L of 4 that is needed, the rows with more than L / 4 and up to L ones, int32
      `[rows]`, and their columns, int32 `[rows, L]`, padded with the number of columns.
    """
    counts = np.diff(tags.indptr)
    lengths = 4 ** np.ceil(np.log2(np.maximum(counts, 1)) / 2).astype(int)
    groups = []
    for length in np.unique(lengths[counts > 0]):
        rows = np.flatnonzero((lengths == length) & (counts > 0))
        columns = np.full((len(rows), length), tags.shape[1], np.int32)
        columns[np.arange(length) < counts[rows, None]] = tags[rows].indices
        groups.append((rows.astype(np.int32), columns))
    return groups


@jax.jit
def _solve_side(
    fixed: jax.Array,
    prior: jax.Array,
    joined: list[tuple[jax.Array, jax.Array]],
    present: float,
    missing: float,
    ridge: float,
    pull: jax.Array | None = None,
) -> jax.Array:
    """Solves for all rows of one side, with the other side fixed.

    A row x minimises sum_s c_s (t_s - f_s . x)^2 + ridge |x - prior|^2 over the rows f_s of F.
    Let M x0 = ridge prior + F^T pull, its solution without any present tag, and
    d = present - missing; then x = x0 + (M + d G^T G)^-1 G^T r with r = present - d G x0. By
    Woodbury's identity the second term is M^-1 G^T (I + d G M^-1 G^T)^-1 r, the smaller system
    where tags are fewer than bits.

    Args:
      fixed: F `[m, k]`.
      prior: `[rows, k]`.
      joined: the rows of F that each row has a tag with, as `_joined` gives them.
      present, missing, ridge: the weights.
      pull: `missing` times the targets of missing tags, 0 at present ones, `[rows, m]`; None if
        all are 0.
    """
    bits, extra = fixed.shape[1], present - missing
    identity = partial(jnp.eye, dtype=fixed.dtype)
    shared = missing * _matmul(fixed.T, fixed) + ridge * identity(bits)
    inverse = solve(shared, identity(bits))

    def solve_shared(right):
        coarse = _matmul(right, inverse)  # in float32, hence the refinement
        return coarse + _matmul(right - _matmul(coarse, shared), inverse)

    right = ridge * prior if pull is None else ridge * prior + _matmul(pull, fixed)
    fixed_solved, start = solve_shared(fixed), solve_shared(right)

    def correction(row):
        columns, start = row
        # Padding in `columns` takes rows of zeros, which change nothing.
        near = jnp.take(fixed, columns, axis=0, mode="fill", fill_value=0)
        residual = present - extra * _matmul(near, start)
        if len(columns) <= bits:
            near_solved = jnp.take(fixed_solved, columns, axis=0, mode="fill", fill_value=0)
            small = identity(len(columns)) + extra * _matmul(near, near_solved.T)
            return _matmul(solve(small, residual[:, None])[:, 0], near_solved)
        large = shared + extra * _matmul(near.T, near)
        return solve(large, _matmul(residual, near)[:, None])[:, 0]

    result = start
    for rows, columns in joined:
        batch = max(1, _BATCH_ELEMENTS // (columns.shape[1] * bits))
        change = lax.map(correction, (columns, start[rows]), batch_size=batch)
        result = result.at[rows].add(change)
    return result


@jax.jit
def _objective(
    codes: jax.Array,
    factors: jax.Array,
    topics: jax.Array,
    pairs: tuple[jax.Array, jax.Array],
    soft: jax.Array | None,
    present: float,
    missing: float,
    tag_ridge: float,
    topic_weight: float,
) -> jax.Array:
    """The objective in float64: all pairs as if no tag were present, corrected where one is.

    Args:
      codes, topics: `[n, k]`.
      factors: `[tags, k]`.
      pairs: document and tag where a tag is present, each int32 `[present]`.
      soft: targets of missing tags, 0 at present ones, `[n, tags]`; None if all are 0.
      present, missing, tag_ridge, topic_weight: the weights.
    """
    codes, factors, topics = (values.astype(float) for values in (codes, factors, topics))
    documents, tags = pairs
    products = jnp.sum(codes[documents] * factors[tags], axis=1)
    softness = jnp.zeros(())
    if soft is not None:
        soft = soft.astype(float)
        softness = jnp.sum(jnp.square(soft)) - 2 * jnp.sum((soft @ factors) * codes)
    return (
        missing * softness
        + missing * jnp.sum((factors.T @ factors) * (codes.T @ codes))
        + jnp.sum(present * jnp.square(1 - products) - missing * jnp.square(products))
        + tag_ridge * jnp.sum(jnp.square(factors))
        + topic_weight * jnp.sum(jnp.square(codes - topics))
    )


def _as_tags(tags: Any) -> scipy.sparse.csr_array:
    """A sparse copy of the tags, checked to be 0 and 1."""
    if np.ndim(tags) != 2 and not scipy.sparse.issparse(tags):
        raise ValueError(f"tags must be [n, tags], got {np.shape(tags)}")
    tags = scipy.sparse.csr_array(tags, copy=True)
    tags.sum_duplicates()
    tags.eliminate_zeros()
    if np.any(tags.data != 1):
        raise ValueError("tags must be 0 and 1")
    return tags


def _as_soft(soft: np.ndarray, tags: scipy.sparse.csr_array) -> np.ndarray:
    """Targets of missing tags, float32, 0 at those that are present."""
    soft = np.array(soft, np.float32)
    if soft.shape != tags.shape or not ((soft >= 0) & (soft <= 1)).all():
        raise ValueError(f"soft targets must be {tags.shape} in [0, 1], got {soft.shape}")
    soft[tags.nonzero()] = 0
    return soft


def _check_settings(
    present: float, missing: float, tag_ridge: float, topic_weight: float, iterations: int,
    exposure: Exposure | None,
) -> None:  # fmt: skip
    above_zero = {"missing": missing, "tag_ridge": tag_ridge, "topic_weight": topic_weight}
    for name, value in above_zero.items():
        if not 0 < value < np.inf:
            raise ValueError(f"codes.{name} is {value}: choose a number above 0.")
    if exposure is None and not missing < present < np.inf:
        raise ValueError(
            f"codes.present is {present}: choose a number above codes.missing, {missing}, as a "
            "tag that is present says more than one that is missing."
        )
    if iterations < 1:
        raise ValueError(f"codes.iterations is {iterations}: choose at least 1.")
    if exposure is None:
        return
    if not 0 < exposure.precision < np.inf:
        raise ValueError(f"exposure.precision is {exposure.precision}: choose a number above 0.")
    for name in ("alpha", "beta"):
        if not 1 <= getattr(exposure, name) < np.inf:
            raise ValueError(f"exposure.{name} is {getattr(exposure, name)}: choose 1 or more.")

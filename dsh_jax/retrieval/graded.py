"""Fits graded class codes to validation items: their temperature and their thresholds."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np

from dsh_jax import hamming
from dsh_jax.forward import sigmoid, softmax
from dsh_jax.networks.graded import Graded
from dsh_jax.retrieval.counts import distance_counts, without_self
from dsh_jax.retrieval.ranking import average_precision

_MIDDLES = (-2.0, -1.5, -1.0, -0.5, 0.0, 0.5)
_STEPS = (0.4, 0.6, 0.9, 1.3, 1.8, 2.5)


def fit_graded(logits: np.ndarray, labels: np.ndarray, *, num_bits: int) -> Graded:
    """Fits temperature and thresholds to validation items.

    The temperature minimises their negative log-likelihood (Guo et al.: "On calibration of modern
    neural networks", ICML 2017). The thresholds, the same for every class, maximise the mAP of the
    items among themselves on a small grid.

    Args:
      logits: `[n, classes]`.
      labels: class ids `[n]`, or multi-hot `[n, classes]`.
      num_bits: length of a code, at least one bit per class.

    Raises:
      ValueError: fewer bits than classes, or fewer than two items.
    """
    if len(logits) < 2:
        raise ValueError(f"graded codes are fitted to validation items: there are {len(logits)}")
    temperature = fit_temperature(logits, labels)

    def score(graded: Graded) -> float:
        codes = graded(jnp.asarray(logits), num_bits=num_bits, single=labels.ndim == 1)
        packed = hamming.pack(np.asarray(codes > 0))
        counts = distance_counts(packed, labels, packed, labels, num_bits=num_bits)
        return float(average_precision(without_self(counts, labels)).mean())

    return max((Graded(temperature, m, s) for m in _MIDDLES for s in _STEPS), key=score)


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature that makes the labels likeliest, between 0.05 and 20.

    Args:
      logits: `[n, classes]`.
      labels: class ids `[n]`, or multi-hot `[n, classes]`.
    """
    from scipy.optimize import minimize_scalar  # slow to import

    single = labels.ndim == 1
    probabilities: Callable[[np.ndarray], np.ndarray] = softmax if single else sigmoid
    truth = np.eye(logits.shape[1])[labels] if single else labels

    def loss(log_temperature: float) -> float:
        chance = probabilities(np.asarray(logits, np.float64) / np.exp(log_temperature))
        likelihood = truth * np.log(chance + 1e-12)
        if not single:
            likelihood += (1 - truth) * np.log(1 - chance + 1e-12)
        return -float(likelihood.sum())

    found = minimize_scalar(loss, bounds=(np.log(0.05), np.log(20.0)), method="bounded")
    return float(np.exp(found.x))

"""Graded class codes: bits that say how likely each class is, not only which one is likeliest.

Each bit belongs to a class and is 1 where the class's calibrated probability is above the bit's
threshold. Two items that are unsure between the same classes then lie near each other. It is the
strongest control that a closed set of classes allows: codes that only know the classes should be
compared with it (Sablayrolles, Douze, Usunier, Jegou: "How should we evaluate supervised hashing?",
ICASSP 2017). Temperature and thresholds are fitted to validation items.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dsh_jax import hamming
from dsh_jax.forward import sigmoid, softmax
from dsh_jax.retrieval.counts import distance_counts, without_self
from dsh_jax.retrieval.ranking import average_precision

# Thresholds of a class, as log-odds, lie evenly about a middle.
_MIDDLES = (-1.5, -1.0, -0.5, 0.0, 0.5)
_STEPS = (0.4, 0.6, 0.9, 1.3, 1.8, 2.5)


@dataclass(frozen=True)
class GradedCodes:
    """A function from class logits to codes.

    Attributes:
      temperature: that divides the logits, so that the probabilities are calibrated.
      thresholds: of each bit, in (0, 1), `[num_bits]`.
      classes: the class of each bit, `[num_bits]`.
      single: whether an item has one label, so that the probabilities are a softmax.
    """

    temperature: float
    thresholds: np.ndarray
    classes: np.ndarray
    single: bool

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Calibrated probabilities of class logits, `[n, classes]`."""
        return _probabilities(logits, self.temperature, self.single)

    def __call__(self, logits: np.ndarray) -> np.ndarray:
        """Bits uint8 `[n, num_bits]` of class logits `[n, classes]`."""
        return (self.probabilities(logits)[:, self.classes] > self.thresholds).astype(np.uint8)


def fit_graded(
    logits: np.ndarray, labels: np.ndarray, *, num_bits: int
) -> GradedCodes:
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
    n, classes = logits.shape
    if num_bits < classes:
        raise ValueError(
            f"graded codes of {classes} classes need {classes} bits or more, not {num_bits}."
        )
    if n < 2:
        raise ValueError(f"graded codes are fitted to validation items, and there are {n}.")
    single = labels.ndim == 1
    temperature = fit_temperature(logits, labels)

    def codes_for(middle: float, step: float) -> GradedCodes:
        thresholds, of_class = spread(classes, num_bits, middle=middle, step=step)
        return GradedCodes(temperature, thresholds, of_class, single)

    def score(codes: GradedCodes) -> float:
        packed = hamming.pack(codes(logits))
        counts = distance_counts(packed, labels, packed, labels, num_bits=num_bits)
        return float(average_precision(without_self(counts, labels)).mean())

    candidates = [codes_for(middle, step) for middle in _MIDDLES for step in _STEPS]
    return max(candidates, key=score)


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature that makes the labels likeliest, between 0.05 and 20.

    Args:
      logits: `[n, classes]`.
      labels: class ids `[n]`, or multi-hot `[n, classes]`.
    """
    from scipy.optimize import minimize_scalar  # slow to import

    single = labels.ndim == 1
    truth = np.eye(logits.shape[1])[labels] if single else labels

    def loss(log_temperature: float) -> float:
        chance = _probabilities(logits, np.exp(log_temperature), single)
        likelihood = truth * np.log(chance + 1e-12)
        if not single:
            likelihood += (1 - truth) * np.log(1 - chance + 1e-12)
        return -float(likelihood.sum())

    found = minimize_scalar(loss, bounds=(np.log(0.05), np.log(20.0)), method="bounded")
    return float(np.exp(found.x))


def spread(
    num_classes: int, num_bits: int, *, middle: float, step: float
) -> tuple[np.ndarray, np.ndarray]:
    """Thresholds whose log-odds are `step` apart about `middle`, shared out among the classes.

    Returns:
      The threshold of each bit and its class, both `[num_bits]`. The first classes have one bit
      more than the others where the bits do not divide evenly.
    """
    thresholds, of_class = [], []
    for label in range(num_classes):
        levels = num_bits // num_classes + (label < num_bits % num_classes)
        odds = middle + step * (np.arange(levels) - (levels - 1) / 2)
        thresholds.append(sigmoid(odds))
        of_class.append(np.full(levels, label))
    return np.concatenate(thresholds), np.concatenate(of_class)


def _probabilities(logits: np.ndarray, temperature: float, single: bool) -> np.ndarray:
    scaled = np.asarray(logits, np.float64) / temperature
    make: Callable[[np.ndarray], np.ndarray] = softmax if single else sigmoid
    return make(scaled)

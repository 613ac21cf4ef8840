"""Graded class codes: bits that say how likely each class is, not only which one is likeliest.

Each bit belongs to a class and is 1 where the class's calibrated probability is above the bit's
threshold. Two items that are unsure between the same classes then lie near each other. It is the
strongest control that a closed set of classes allows: codes that only know the classes should be
compared with it (Sablayrolles, Douze, Usunier, Jegou: "How should we evaluate supervised hashing?",
ICASSP 2017).
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np


@dataclass(frozen=True)
class Graded:
    """From class logits to code logits.

    Attributes:
      temperature: divides the class logits, so that the probabilities are calibrated.
      middle: of a class's thresholds, as log-odds.
      step: from one threshold of a class to the next, as log-odds.
    """

    temperature: float
    middle: float
    step: float

    def __call__(self, logits: jax.Array, *, num_bits: int, single: bool) -> jax.Array:
        """Code logits `[batch, num_bits]`, positive where a bit is 1.

        Args:
          logits: `[batch, classes]`.
          num_bits: length of a code.
          single: whether an item has one label (softmax) or may have several (sigmoids).

        Raises:
          ValueError: fewer bits than classes.
        """
        classes, thresholds = self.bits(logits.shape[-1], num_bits)
        odds = log_odds(logits / self.temperature, single=single)
        return odds[:, classes] - jnp.asarray(thresholds, odds.dtype)

    def bits(self, num_classes: int, num_bits: int) -> tuple[np.ndarray, np.ndarray]:
        """The class of each bit and its threshold, as log-odds, both `[num_bits]`.

        The first classes have one bit more than the others where the bits do not divide evenly.

        Raises:
          ValueError: fewer bits than classes.
        """
        if num_bits < num_classes:
            raise ValueError(
                f"graded codes of {num_classes} classes need {num_classes} bits or more, not "
                f"{num_bits}"
            )
        levels = [num_bits // num_classes + (c < num_bits % num_classes)
                  for c in range(num_classes)]  # fmt: skip
        ladders = [self.middle + self.step * (np.arange(n) - (n - 1) / 2) for n in levels]
        return np.repeat(np.arange(num_classes), levels), np.concatenate(ladders)


def log_odds(logits: jax.Array, *, single: bool) -> jax.Array:
    """`log(p / (1 - p))` of each class's probability, `[batch, classes]`."""
    if not single:
        return logits
    is_self = np.eye(logits.shape[-1], dtype=bool)  # ONNX Runtime can make none of its own
    others = jnp.where(is_self, -jnp.inf, logits[:, None, :])
    return logits - jax.nn.logsumexp(others, axis=-1)

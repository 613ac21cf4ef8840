"""The losses of deep semantic hashing, as pure functions of one sample.

Each takes one sample and returns one number, unreduced; lift it over a batch with `jax.vmap` and
average where it is used. A config names a loss by its name here (`"triplet_ranking"`) or as
`"module:function"`, so a loss of your own needs no edit in this package; `slots.SLOTS` says what
each place for a loss hands to it.
"""

from dsh_jax.losses.adversarial import (
    Game,
    adversarial,
    adversarial_hinge,
    generator_hinge,
    generator_minimax,
    generator_non_saturating,
    hinge,
    minimax,
    non_saturating,
)
from dsh_jax.losses.centers import csq, dpn, orthohash
from dsh_jax.losses.classification import (
    sigmoid_classification,
    softmax_classification,
    softmax_or_none,
)
from dsh_jax.losses.codes import code_cross_entropy, quantization
from dsh_jax.losses.documents import tag_loss, topic_distance, vector_loss, word_loss
from dsh_jax.losses.slots import Loss, find
from dsh_jax.losses.triplet import triplet_ranking

__all__ = [
    "Game",
    "Loss",
    "adversarial",
    "adversarial_hinge",
    "code_cross_entropy",
    "csq",
    "dpn",
    "find",
    "generator_hinge",
    "generator_minimax",
    "generator_non_saturating",
    "hinge",
    "minimax",
    "non_saturating",
    "orthohash",
    "quantization",
    "sigmoid_classification",
    "softmax_classification",
    "softmax_or_none",
    "tag_loss",
    "topic_distance",
    "triplet_ranking",
    "vector_loss",
    "word_loss",
]

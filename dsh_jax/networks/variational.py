"""Networks of variational hashing: from words to features, codes and their variances."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from dsh_jax.networks.words import WordLayer

_MOMENTUM = 0.95  # of a running median, per step
_MOST_LOG = 2.0  # by which a log-variance leaves its first value


class WordFeatures(nn.Module):
    """Hidden layers on rows of words, dropout after the last.

    Attributes:
      num_words: length of the vocabulary.
      hidden: width of each layer.
      layers: how many there are, 1 or more.
      dropout: probability for a unit of the last layer.
      word_dropout: probability for a word of a document.
    """

    num_words: int
    hidden: int
    layers: int
    dropout: float
    word_dropout: float

    @nn.compact
    def __call__(self, word: jax.Array, tfidf: jax.Array, *, train: bool) -> jax.Array:
        """Maps rows of words `[batch, width]` to features `[batch, hidden]`."""
        tfidf = nn.Dropout(self.word_dropout, deterministic=not train)(tfidf)
        # A tf-idf row has norm 1 and some dozens of entries; this scales the entries to about 1.
        x = WordLayer(self.num_words, self.hidden, name="words")(word, 8.0 * tfidf, train=train)
        x = nn.relu(x + self.param("bias", nn.initializers.zeros, (self.hidden,)))
        for _ in range(self.layers - 1):
            x = nn.relu(nn.Dense(self.hidden)(x))
        return nn.Dropout(self.dropout, deterministic=not train)(x)


class CodeStream(nn.Module):
    """The code of a document: a mean for each bit, and a threshold.

    Attributes:
      num_bits: length of the code.
      median: whether thresholds are the running medians of the training batches; else they are 0.
      sharpness: standard deviation of a mean over the batch, as for `streams.HashStream`, where
        means are 0 in the average; 0 for a plain dense layer.
      axis_name: device axis over which statistics are averaged.
    """

    num_bits: int
    median: bool
    sharpness: float
    axis_name: str | None = None

    @nn.compact
    def __call__(self, features: jax.Array, *, train: bool) -> jax.Array:
        """Maps features `[batch, hidden]` to means `[batch, num_bits]`; not in training, to means
        above the thresholds."""
        means = nn.Dense(self.num_bits, use_bias=not self.sharpness)(features)
        if self.sharpness:
            means = self.sharpness * nn.BatchNorm(
                use_running_average=not train, momentum=0.9, use_bias=False, use_scale=False,
                axis_name=self.axis_name,
            )(means)  # fmt: skip
        if not self.median:
            return means
        threshold = self.variable("batch_stats", "median", jnp.zeros, (self.num_bits,))
        if not train:
            return means - threshold.value
        if not self.is_initializing():
            now = jnp.median(jax.lax.stop_gradient(means), axis=0)
            now = jax.lax.pmean(now, self.axis_name) if self.axis_name else now
            threshold.value = _MOMENTUM * threshold.value + (1 - _MOMENTUM) * now
        return means


class LogVariance(nn.Module):
    """The logarithm of a variance, from features.

    It stays near its first value: a step changes hundreds of weights, and an exponential of their
    sum would soon be huge.

    Attributes:
      outputs: how many variances.
      first: its value at the beginning.
    """

    outputs: int
    first: float

    @nn.compact
    def __call__(self, features: jax.Array, *, train: bool) -> jax.Array:
        """Maps features `[batch, hidden]` to `[batch, outputs]`."""
        del train  # all networks have the same signature
        x = nn.Dense(self.outputs, kernel_init=nn.initializers.zeros)(features)
        return self.first + _MOST_LOG * jnp.tanh(x / _MOST_LOG)

"""Networks for documents. They read sparse rows of words; a corpus is never a dense array."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from dsh_jax.networks.code_encoder import CodeEncoder


class WordLayer(nn.Module):
    """A dense layer without bias on rows of words.

    Attributes:
      num_words: length of the vocabulary.
      features: outputs.
    """

    num_words: int
    features: int

    @nn.compact
    def __call__(self, word: jax.Array, weight: jax.Array, *, train: bool) -> jax.Array:
        """Maps `word` int `[batch, width]` and `weight` `[batch, width]` to `[batch, features]`."""
        kernel = self.param(
            "kernel", nn.initializers.lecun_normal(), (self.num_words, self.features)
        )
        if not train:
            return bag(kernel, word, weight)
        # The gradient of a gather is a slow row-by-row scatter; that of a matrix product is fast.
        return as_dense(word, weight, self.num_words) @ kernel


def bag(kernel: jax.Array, word: jax.Array, weight: jax.Array) -> jax.Array:
    """The weighted sum of the kernel rows of a document's words.

    Args:
      kernel: `[words, features]`.
      word: int `[batch, width]`, rows of the kernel.
      weight: `[batch, width]`; 0 for padding.

    Returns:
      `[batch, features]`.
    """

    def add(total: jax.Array, column: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        word, weight = column
        return total + weight[:, None] * jnp.take(kernel, word, axis=0), None

    # One word per iteration, so that no array [batch, width, features] is made.
    total = jnp.zeros((len(word), kernel.shape[1]), kernel.dtype)
    return jax.lax.scan(add, total, (word.T, weight.T))[0]


def as_dense(word: jax.Array, weight: jax.Array, num_words: int) -> jax.Array:
    """One batch as a dense array: both `[batch, width]` -> `[batch, num_words]`."""
    rows = jnp.arange(len(word))[:, None]
    return jnp.zeros((len(word), num_words), weight.dtype).at[rows, word].add(weight)


class WordEncoder(CodeEncoder):
    """Maps words to code logits.

    Attributes:
      num_words: length of the vocabulary.
    """

    num_words: int

    @nn.compact
    def __call__(self, word: jax.Array, tfidf: jax.Array, *, train: bool) -> jax.Array:
        """Maps rows of words `[batch, width]` to logits `[batch, num_bits]`."""
        tfidf = nn.Dropout(self.word_dropout, deterministic=not train)(tfidf)
        layer = WordLayer(self.num_words, self.hidden or self.num_bits, name="words")
        # A tf-idf row has norm 1 and some dozens of entries; this scales the entries to about 1.
        return self.logits(layer(word, 8.0 * tfidf, train=train), train=train)


class LinearHash(nn.Module):
    """SHTTM's hash function: a linear map of tf-idf, and a threshold for each bit.

    Attributes:
      num_words: length of the vocabulary.
      num_bits: length of the code.
    """

    num_words: int
    num_bits: int

    @nn.compact
    def __call__(self, word: jax.Array, tfidf: jax.Array, *, train: bool) -> jax.Array:
        """Maps rows of words `[batch, width]` to logits `[batch, num_bits]`."""
        del train
        zeros = nn.initializers.zeros
        kernel = self.param("kernel", zeros, (self.num_words, self.num_bits))
        return bag(kernel, word, tfidf) - self.param("threshold", zeros, (self.num_bits,))


class TagExposure(nn.Module):
    """The probability mu that a tag is given where it applies.

    It follows from running sums over documents, in `batch_stats`: how often a tag was `given`, and
    how often it was `missed`: not given, though the other networks expect it to apply.

    Attributes:
      num_tags: number of tags.
      alpha, beta: added to the sums of `given` and of `missed`.
    """

    num_tags: int
    alpha: float
    beta: float

    @nn.compact
    def __call__(self, codes: jax.Array, *, train: bool) -> jax.Array:
        """mu in (0, 1), `[tags]`; `codes` are not looked at."""
        del codes, train
        given, missed = (
            self.variable("batch_stats", name, jnp.zeros, (self.num_tags,)).value
            for name in ("given", "missed")
        )
        return (given + self.alpha) / (given + missed + self.alpha + self.beta)


class TagShares(nn.Module):
    """How likely a tag is beside another one; set from the data, in `batch_stats`, not trained.

    Attributes:
      num_tags: number of tags.
    """

    num_tags: int

    @nn.compact
    def __call__(self, codes: jax.Array, *, train: bool) -> jax.Array:
        """What `methods.tag_correlation.shares` returned, `[tags, tags]`."""
        del codes, train
        return self.variable("batch_stats", "shares", jnp.zeros, (self.num_tags,) * 2).value


class TagDecoder(nn.Module):
    """Maps codes to tag logits: inner products of tag factors with the code or a hidden layer.

    Attributes:
      num_tags: number of tags.
      hidden: width of the hidden layer; 0 for none.
    """

    num_tags: int
    hidden: int

    @nn.compact
    def __call__(self, codes: jax.Array, *, train: bool) -> jax.Array:
        """Maps codes `[batch, num_bits]` to logits `[batch, tags]`."""
        del train  # all networks have the same signature
        if self.hidden:
            codes = nn.relu(nn.Dense(self.hidden)(codes))
        return nn.Dense(self.num_tags, name="factors")(codes)


class TopicDecoder(nn.Module):
    """Maps codes to a distribution over words; each bit is a topic that raises or lowers words.

    Two arrays in `batch_stats` are set from the data and not trained: `unigram`, log-frequencies of
    words in all documents, so that a code need not explain what these share; and their mean
    `length` in words, by which the loss is divided.

    Attributes:
      num_words: length of the vocabulary.
    """

    num_words: int

    @nn.compact
    def __call__(self, codes: jax.Array, *, train: bool) -> jax.Array:
        """Maps codes `[batch, num_bits]` to log-probabilities `[batch, words]`."""
        del train  # all networks have the same signature
        unigram = self.variable("batch_stats", "unigram", jnp.zeros, (self.num_words,)).value
        self.variable("batch_stats", "length", jnp.ones, ())
        logits = nn.Dense(self.num_words, use_bias=False, name="topics")(codes)
        return nn.log_softmax(logits + unigram)

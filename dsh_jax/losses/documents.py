"""The losses of neural SHTTM, as pure functions of one document; see `losses` for how to use them.

The terms of SHTTM's objective (Wang, Zhang & Si, SIGIR 2013) with a logistic link between codes and
tags, and the improvements that its reviewers asked for.
"""

import jax
import jax.numpy as jnp


def tag_loss(
    logits: jax.Array, tags: jax.Array, confidence: jax.Array, recall: jax.Array
) -> jax.Array:
    """Negative log-likelihood of a document's tags, weighted by the confidence in each.

    A tag that applies is given with the probability `recall`, and one that does not apply is never
    given: P(given) = recall * sigmoid(logit). With a recall of 1 it is the cross-entropy; with less
    a missing tag costs at most -log(1 - recall).

    Args:
      logits: of the tags that apply, `[tags]`.
      tags: those that are given, {0, 1} `[tags]`; or soft targets in between, which weigh the two
        cases.
      confidence: c, above 0, `[tags]`.
      recall: in (0, 1], `[tags]`.

    Returns:
      A scalar, in nats.
    """
    log_given = jnp.log(recall) + jax.nn.log_sigmoid(logits)
    # 1 - r s = (1 - s) + (1 - r) s, without cancellation where both are near 1.
    log_missing = jnp.logaddexp(
        jax.nn.log_sigmoid(-logits),
        jnp.log1p(-jnp.minimum(recall, 1 - 1e-7)) + jax.nn.log_sigmoid(logits),
    )
    return -jnp.sum(confidence * (tags * log_given + (1 - tags) * log_missing))


def missed(logits: jax.Array, tags: jax.Array, recall: jax.Array) -> jax.Array:
    """The probability that a tag applies and was not given, under the model of `tag_loss`.

    Args:
      logits, tags, recall: as there; tags between 0 and 1 count as not given.

    Returns:
      `(1 - recall) s / (1 - recall s)` with s = sigmoid(logit), 0 where a tag is given, `[tags]`.
    """
    log_odds = logits + jnp.log1p(-jnp.minimum(recall, 1 - 1e-7))
    return jnp.where(tags == 1, 0.0, jax.nn.sigmoid(log_odds))


def topic_distance(code: jax.Array, topics: jax.Array) -> jax.Array:
    """Mean squared distance of a code from the document's topics.

    Args:
      code: `[num_bits]`.
      topics: standardised over the training documents, `[num_bits]`.
    """
    return jnp.mean(jnp.square(code - topics))


def word_loss(log_probabilities: jax.Array, word: jax.Array, count: jax.Array) -> jax.Array:
    """Negative log-likelihood of a document's words.

    Args:
      log_probabilities: of the vocabulary, `[words]`.
      word: columns of the vocabulary, int `[width]`.
      count: how often each is there, `[width]`; 0 where a row is only filled up.

    Returns:
      A scalar, in nats; 0 for a document without words.
    """
    return -jnp.sum(count * log_probabilities[word])


def vector_loss(mean: jax.Array, vector: jax.Array) -> jax.Array:
    """Negative log-likelihood of a vector under a Gaussian of variance 1, up to a constant.

    Args:
      mean: of the Gaussian, `[width]`.
      vector: standardised over the training vectors, `[width]`.

    Returns:
      A scalar, in nats.
    """
    return 0.5 * jnp.sum(jnp.square(vector - mean))


def code_divergence(logits: jax.Array) -> jax.Array:
    """KL(q || Bern(1/2)) of bits that are 1 with the probabilities q = sigmoid(logits).

    Args:
      logits: `[num_bits]`.

    Returns:
      A scalar, in nats: the sum over bits, each between 0 and log 2.
    """
    entropy = jax.nn.softplus(logits) - logits * jax.nn.sigmoid(logits)
    return jnp.sum(jnp.log(2.0) - entropy)


def to_bits(logits: jax.Array) -> jax.Array:
    """Bits of -1 and 1 with the gradient of the relaxed code 2 sigmoid - 1, straight-through."""
    relaxed = jnp.tanh(logits / 2)
    return relaxed + jax.lax.stop_gradient(jnp.where(logits > 0, 1.0, -1.0) - relaxed)

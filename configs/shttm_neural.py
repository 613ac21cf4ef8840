"""Shared by the configs of neural SHTTM; every field has a comment. All values are ours."""

from ml_collections import ConfigDict

from configs import default, shttm


def get_config(source: str, num_bits: int) -> ConfigDict:
    """Neural SHTTM with all its improvements.

    Args:
      source: reuters21578 | 20newsgroups | jsonl.
      num_bits: code length.
    """
    config = shttm.documents(source, num_bits)
    config.method = "shttm_neural"

    config.improvements = ConfigDict()
    # Hidden layers between words and code, and between code and tags. Off: linear maps.
    config.improvements.nonlinear_encoder = True
    config.improvements.nonlinear_decoder = True
    # Codes are bits in training too. Off: they are relaxed.
    config.improvements.binary_codes = True
    # Learns each tag's probability of being given where it applies. Off: it is 1.
    config.improvements.learned_uncertainty = True
    # A missing tag is partly expected beside tags that it often comes with. Off: not at all.
    config.improvements.correlated_tags = True
    # Topics are learned with the codes, from the words. Off: codes stay near LDA's topics.
    config.improvements.joint_topics = True

    config.encoder = ConfigDict()
    config.encoder.hidden = 512  # units, if non-linear
    config.encoder.dropout = 0.5  # probability for a hidden unit
    config.encoder.word_dropout = 0.3  # probability for a word of a document
    config.encoder.sharpness = 2.0  # standard deviation of a bit's logit over a batch
    config.decoder = ConfigDict()
    config.decoder.hidden = 128  # units, if non-linear

    config.loss = ConfigDict()
    # Names of dsh_jax.losses, or "module:function".
    config.loss.tags = "tag_loss"
    config.loss.words = "word_loss"
    config.loss.topics = "topic_distance"
    config.loss.present = 1.0  # a: confidence in a present tag
    config.loss.missing = 0.03  # b: confidence in a missing tag, below a
    config.loss.topic_weight = 0.01  # of the distance from LDA's topics
    # If topics are learned jointly: of the words' likelihood, for a document of mean length, and of
    # the codes' divergence from fair coins.
    config.loss.word_weight = 0.01
    config.loss.kl_weight = 0.0

    # Learned uncertainty: given and missed tags that are added to what is counted.
    config.exposure = ConfigDict({"alpha": 19.0, "beta": 1.0})
    # Correlated tags: the weight of what is expected, and documents without a second tag that are
    # added to each tag's.
    config.correlation = ConfigDict({"weight": 0.5, "smoothing": 5.0})

    config.batch_size = 256  # tagged documents per step, over all devices
    config.unlabeled_batch_size = 64  # untagged ones; 0 if there are none
    config.num_steps = 500
    config.optimizer = ConfigDict({"network": default.adam(1e-3)})
    config.optimizer.network.b1 = 0.9
    config.ema_decay = 0.99  # of the encoder, used by evaluation; 0 is off
    return config

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
    # Hidden layers between words and code and between code and tags, and binary codes in training.
    # Off: both maps are linear, and codes are relaxed.
    config.improvements.nonlinear = True
    # Learns each tag's probability of being given where it applies. Off: it is 1.
    config.improvements.learned_uncertainty = True
    # A missing tag counts less if a similar one is present. Off: all missing tags count equally.
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
    config.loss.word_weight = 0.01  # of the word loss, if topics are learned jointly

    config.batch_size = 256  # tagged documents per step, over all devices
    config.unlabeled_batch_size = 64  # untagged ones; 0 if there are none
    config.num_steps = 500
    config.optimizer = ConfigDict({"network": default.adam(1e-3)})
    config.optimizer.network.b1 = 0.9
    config.ema_decay = 0.99  # of the encoder, used by evaluation; 0 is off
    return config

"""Shared by the configs of VDSH and NASH; every field has a comment."""

from ml_collections import ConfigDict

from configs import default, shttm


def get_config(source: str, num_bits: int, *, supervised: bool) -> ConfigDict:
    """The fields that both methods share.

    Args:
      source: reuters21578 | 20newsgroups | jsonl | vdsh | ...
      num_bits: code length.
      supervised: whether codes explain the tags, too.
    """
    config = shttm.documents(source, num_bits)
    config.supervised = supervised  # whether codes explain the tags as well as the words

    config.encoder = ConfigDict()
    config.encoder.hidden = 500  # units of a hidden layer; VDSH's public code: 500
    config.encoder.layers = 2  # hidden layers; both papers: 2
    config.encoder.dropout = 0.1  # probability for a unit of the last hidden layer
    config.encoder.word_dropout = 0.0  # probability for a word of a document; ours
    config.codes = ConfigDict()
    # median: of each bit over the training documents, so that bits are balanced | middle: 0, where
    # NASH's probability of a bit is one half.
    config.codes.thresholds = "median"
    # Standard deviation over a batch of a bit's mean, or logit; 0: the papers, which leave it free.
    config.codes.sharpness = 0.0

    config.loss = ConfigDict()
    # Names of dsh_jax.losses, or "module:function".
    config.loss.words = "word_loss"
    # What a word of a document counts in the loss of words: count | presence, 1 | tfidf
    config.loss.word_weights = "tfidf"
    config.loss.kl_weight = 0.3  # of the divergence from the prior
    config.loss.kl_steps = 250  # over which that weight rises from 0; 0 is none
    # auto: softmax_classification or sigmoid_classification, depending on the labels
    config.loss.classification = "auto"
    config.loss.tag_weight = 30.0  # of the loss of tags, if supervised; VDSH-S: 1

    config.batch_size = 128  # tagged documents per step, over all devices; ours
    config.unlabeled_batch_size = 32  # untagged ones; 0 if there are none
    # Without labels codes go on improving for long.
    config.num_steps = 500 if supervised else 3000
    config.optimizer = ConfigDict({"network": default.adam(2e-3)})
    config.optimizer.network.b1 = 0.9
    config.ema_decay = 0.97  # of the encoder, used by evaluation; 0 is off; ours
    return config

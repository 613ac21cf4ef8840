"""Shared by the configs of CNNH and CNNH+: `cnnh_cifar10.py` and `cnnh_plus_cifar10.py`.

Data: CIFAR-10 through TFDS, protocol 1000/5000/59000; no unlabeled image is used. Machine: any; on
one CPU core about a quarter of an hour. Scores: docs/results.md.
"""

from ml_collections import ConfigDict

from configs import default

# Fields of `default.py` for the generator and its triplets.
_NOT_USED = ("anchor_every", "negatives_per_anchor", "unlabeled_batch_size", "pretraining_steps",
             "triplets", "generator", "adversary", "loss", "optimizer", "gan",
             "consistency", "judge")  # fmt: skip


def get_config(num_bits: int, class_outputs: bool) -> ConfigDict:
    """The fields of `default.py` that all methods share, and those of CNNH.

    Args:
      num_bits: code length.
      class_outputs: whether to add class outputs (CNNH+).
    """
    config = default.get_config()
    for field in _NOT_USED:
        del config[field]
    del config.augment.synthetic
    del config.augment.cutout

    config.method = "cnnh"
    config.num_bits = num_bits
    config.class_outputs = class_outputs  # CNNH+: class outputs in addition to code outputs

    config.codes = ConfigDict()  # stage 1
    # classes: exact, for one label per image | full: the full similarity matrix, for several
    # | auto: depends on the labels
    config.codes.form = "classes"
    config.codes.sweeps = 5  # over all entries; the paper runs 3 to 5

    config.batch_size = 64  # labeled images per step, over all devices; ours
    config.num_steps = 8000  # of stage 2; ours
    config.representation.name = "conv3"
    config.representation.width = 32
    config.representation.features = 500
    config.representation.dropout = 0.5
    config.representation.norm = "none"
    config.hash_stream.sharpness = 0.0  # a plain dense layer, as in the paper

    config.loss = ConfigDict()
    config.loss.labels = "single"  # single: softmax | multi: sum of sigmoids
    # Names of dsh_jax.losses, or "module:function"; auto depends on `labels`.
    config.loss.code = "code_cross_entropy"
    config.loss.classification = "auto"
    # Weights of the two terms; ours.
    config.loss.weights = ConfigDict({"code": 1.0, "classification": 1.0})

    config.optimizer = ConfigDict({"network": default.adam(1e-3)})
    config.optimizer.network.b1 = 0.9
    config.eval_every_steps = 500
    return config

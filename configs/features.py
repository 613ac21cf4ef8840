"""Vectors that something else has computed, such as embeddings, 48 bits, with few labels or many.

    python train.py --config configs/features.py --workdir runs/mine --config.data.root=DIR

Data: DIR is a folder with `vectors.npy` and `labels.npy` (and perhaps `ids.npy`, `test.npy`,
`paths.txt`, `class_names.txt`), or a .npz or Parquet file with columns of these names, or a .npy
file; see docs/data.md. To see counts and every warning first: `--config.data.dry_run=True`. A tenth
of each class are queries and a tenth validation items, unless there are test items.

Other choices, each by its fields:

    --config.method=cnnh                                   CNNH+; add class_outputs=False for CNNH
    --config.gan=False --config.triplets=real              the network alone, on real triplets
    --config.representation.depth=0                        codes linear in the vectors

Machine: a few minutes on one CPU core, whatever the number of vectors.
"""

from ml_collections import ConfigDict

from configs import cnnh, default
from configs.image_folder import add_fields

_OF_IMAGES = ("rotate", "shear", "scale", "shift", "colour", "grey", "negative")


def get_config() -> ConfigDict:
    """DSH-GANs on vectors, with the fields of CNNH beside theirs."""
    config = default.get_config()
    data = config.data
    data.source = "features"
    # A folder of .npy and .txt files, a .npz or Parquet file, or a .npy file of vectors alone.
    data.root = ""
    # Columns, or .npy or .txt files beside the root; empty is the column of the same name, if any.
    data.vectors = ""  # floats [n, width]
    data.labels = ""  # class ids, rows of 0 and 1, names, or lists of them; -1 or "" is no label
    data.ids = ""  # strings or integers, each its own
    data.test = ""  # True for the queries
    data.paths = ""  # of pictures, for reports
    data.class_names = ""  # of labels that are class ids
    data.name = ""  # what results call the data; empty is "features"
    data.normalise = "l2"  # none | l2 | standardise; fitted to training items
    data.cache_dir = "~/.cache/dsh_jax/features"  # where vectors of Parquet files are kept
    # Limit for vectors kept in memory, in 10^9 bytes; more are read from their file by row.
    data.memory_limit_gb = 1.0
    data.queries_per_class = -1
    data.labeled_per_class = 0  # all that have labels
    data.validation_per_class = -1
    data.validation_from = "labeled"

    config.augment.crop_padding = 0
    config.augment.flip = False
    config.augment.noise = 0.5  # standard deviation, as a share of a vector's root mean square
    config.augment.drop = 0.0  # probability that a number becomes 0
    config.augment.synthetic = False
    for name in _OF_IMAGES:
        config.consistency[name] = 0.0
    config.consistency.cutout = 0
    config.consistency.noise = 0.5  # of strong views, on top of the weak ones
    config.consistency.drop = 0.2
    config.consistency.threshold = 0.8

    config.batch_size = 128
    config.unlabeled_batch_size = 128
    config.pretraining_steps = 300
    config.num_steps = 1500
    config.generator.name = "dense"
    config.generator.width = 256  # outputs of a hidden layer
    config.representation.name = "mlp"
    config.representation.depth = 1  # layers, 0 to 3
    config.representation.width = 512  # outputs of a layer
    config.representation.features = 0
    config.representation.norm = "layer"  # none | batch | layer
    config.loss.labels = "auto"
    config.loss.unlabeled = "mask"
    config.loss.adversarial = "non_saturating"
    config.loss.triplet_options.margin = 12.0
    config.loss.weights.triplet = 0.1
    config.ema_decay = 0.99
    config.eval_every_steps = 150
    add_fields(config, cnnh.get_config(config.num_bits, class_outputs=True))
    config.codes.form = "auto"
    return config

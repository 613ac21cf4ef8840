"""Your own images, 48 bits, with few labels or many: the best recipe, for a CPU.

    python train.py --config configs/image_folder.py --workdir runs/mine --config.data.root=DIR

Data: DIR has a sub-folder for each class, and one named "unlabeled" for images without a label; or
train/CLASS and test/CLASS; or it is a CSV or JSONL file of paths and labels. To see the images, the
sizes and every warning first: `--config.data.dry_run=True`. A tenth of each class are queries and a
tenth validation images, unless there are test images.

Recipe: no GAN (`best.py`). From few labels this gives better codes and takes less time: with 5
labels for each digit its mAP is above DSH-GANs' by more than ten points (docs/results.md). Images
of 64x64 pixels, at the cost of 32x32. Other choices, each by its fields:

    --config.method=cnnh                                   CNNH+; add class_outputs=False for CNNH
    --config.gan=True --config.triplets=synthetic          with the GAN; sizes 8, 16, 32, 64, 128
    --config.data.image_size=128                           any size; four times the time
    --config.representation.name=resnet50                  pretrained, see docs/own_images.md; or
                                                           vit_s16, dinov2_s14, clip_b32 ...
    --config.representation.name=wide_resnet               or conv3, alexnet; from random weights

Machine: about 20 minutes on one CPU core, whatever the number of images. Thousands of labels are
worth more steps: `--config.num_steps=7000`.
"""

from ml_collections import ConfigDict

from configs import best, cnnh, default, image_files


def get_config() -> ConfigDict:
    """`best.py` on image files, with the fields of CNNH beside those of DSH-GANs."""
    config = best.get_config(default.get_config(), learning_rate=0.1, warmup_steps=50)
    config = image_files.get_config(config, "image_files", image_size=-1)
    config.data.queries_per_class = -1
    config.data.labeled_per_class = 0  # all that have labels
    config.data.validation_per_class = -1
    config.data.validation_from = "labeled"
    config.augment.crop_padding = -1  # an eighth of the image's size
    config.batch_size = 32
    config.unlabeled_batch_size = 32  # of the GAN
    config.pretraining_steps = 300
    config.num_steps = 1500
    config.mirrored = True
    config.consistency.batch_size = -1
    config.consistency.threshold = 0.8
    config.consistency.cutout = -1  # half of it
    config.generator.width = 32
    config.representation.width = 32
    config.representation.features = -1
    config.pretrained.frozen = True
    config.loss.unlabeled = "mask"
    config.loss.adversarial = "non_saturating"
    config.ema_decay = 0.99
    config.eval_every_steps = 300
    add_fields(config, cnnh.get_config(config.num_bits, class_outputs=True))
    config.codes.form = "auto"
    return config


def add_fields(config: ConfigDict, other: ConfigDict) -> None:
    """Adds the fields that only the other config has."""
    for name, value in other.items():
        if name not in config:
            config[name] = value
        elif isinstance(value, ConfigDict):
            add_fields(config[name], value)

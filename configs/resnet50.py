"""Your own images, 48 bits: a ResNet-50 of ImageNet, fine-tuned.

    python train.py --config configs/resnet50.py --workdir runs/mine --config.data.root=DIR

Data: as for `image_folder.py`, whose default is the same network frozen, for a CPU. The weights
are torchvision's, downloaded once; `--config.pretrained.weights=FILE` takes other ones.

Recipe: Adam, the network at a tenth of the streams' learning rate, its batch statistics kept;
random resized crops, flips and colours. No GAN; `--config.gan=True --config.triplets=synthetic` has
one that draws images of 64x64 pixels.

Machine: one GPU. The settings are usual ones, not chosen by a search.
"""

from ml_collections import ConfigDict

from configs import image_folder


def get_config() -> ConfigDict:
    """`image_folder.py` with a network that is fine-tuned."""
    config = image_folder.get_config()
    config.representation.name = "resnet50"
    config.pretrained.frozen = False
    config.augment.crop_padding = 0
    config.augment.least_area = 0.35
    config.augment.colour = 0.3
    config.consistency.batch_size = 0
    config.batch_size = 64
    config.num_steps = 3000
    config.optimizer.hash.name = "adam"
    config.optimizer.hash.learning_rate = 1e-3  # of the streams; the network has a tenth
    config.optimizer.hash.weight_decay = 1e-4
    config.optimizer.hash.schedule = "cosine"
    config.optimizer.hash.warmup_steps = 100
    config.ema_decay = 0.999
    return config

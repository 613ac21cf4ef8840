"""Your own images, 48 bits: DINOv2's small vision transformer, fine-tuned.

    python train.py --config configs/vit.py --workdir runs/mine --config.data.root=DIR

Data, recipe and machine: as for `resnet50.py`, with a smaller learning rate in each earlier layer
and larger weight decay, as is usual for these networks. Others by one field:

    --config.representation.name=vit_s16      or vit_b16, dinov2_b14, clip_b16, clip_b32
"""

from ml_collections import ConfigDict

from configs import resnet50


def get_config() -> ConfigDict:
    """`resnet50.py` with a vision transformer."""
    config = resnet50.get_config()
    config.representation.name = "dinov2_s14"
    config.pretrained.layer_decay = 0.75
    config.optimizer.hash.b1 = 0.9
    config.optimizer.hash.weight_decay = 0.05
    config.optimizer.hash.clip_norm = 1.0
    return config

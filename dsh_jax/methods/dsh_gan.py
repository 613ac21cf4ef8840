"""DSH-GANs: hash codes learned from real-synthetic triplets of a semi-supervised conditional GAN.

Qiu, Pan, Yao, Mei: "Deep Semantic Hashing with Generative Adversarial Networks", SIGIR 2017,
arXiv 1804.08275. Stage 1 pre-trains the GAN; stage 2 trains all players jointly, each batch with a
discriminator, a hash and a generator step. The control `triplets="real"` has the hash step alone:
no generator, positives and negatives from the labeled images.
"""

from functools import partial

import jax.numpy as jnp
from ml_collections import ConfigDict

from dsh_jax.data.batches import BatchSpec
from dsh_jax.data.images.augment import augment
from dsh_jax.devices import AXIS
from dsh_jax.errors import UserError
from dsh_jax.losses import images as losses
from dsh_jax.methods.base import Method, Stage, check_choices
from dsh_jax.methods.dsh_gan_steps import DshGan, Losses
from dsh_jax.methods.optimizers import build_optimizer
from dsh_jax.methods.players import Players, build_encoder
from dsh_jax.networks.generator import Generator
from dsh_jax.networks.streams import AdversaryStream


def build(config: ConfigDict, image_shape: tuple[int, int, int], num_classes: int) -> Method:
    """DSH-GANs (or its triplet-only control) as a config describes it.

    Args:
      config: a whole experiment's config.
      image_shape: `(height, width, channels)` of the data.
      num_classes: length of a class vector.

    Raises:
      UserError: a field whose value cannot be.
    """
    networks = build_encoder(config, num_classes, classification=True)
    if config.anchor_every < 1 or config.batch_size % config.anchor_every:
        raise UserError(
            f"anchor_every is {config.anchor_every}; set it to a divisor of batch_size "
            f"{config.batch_size}."
        )
    check_choices(
        {
            "loss.adversarial": (config.loss.adversarial, tuple(losses.ADVERSARIAL)),
            "loss.unlabeled": (config.loss.unlabeled, ("zero", "mask")),
            "loss.labels": (config.loss.labels, ("single", "multi")),
            "triplets": (config.triplets, ("synthetic", "real")),
        }
    )
    discriminate, deceive = losses.ADVERSARIAL[config.loss.adversarial]
    softmax = config.loss.labels == "single"
    no_class = losses.softmax_no_class if softmax else losses.sigmoid_no_class
    terms = Losses(
        triplet=losses.find(config.loss.triplet, config.loss.triplet_options),
        classify=losses.softmax_classification if softmax else losses.sigmoid_classification,
        no_class=no_class if config.loss.unlabeled == "zero" else None,
        discriminate=discriminate,
        deceive=deceive,
        weights=dict(config.loss.weights),
        synthetic_class_weight=config.loss.synthetic_class_weight,
    )
    synthetic = config.triplets == "synthetic"
    updates = {"hash": config.num_steps}
    if synthetic:
        networks["generator"] = Generator(
            image_shape, config.generator.width, AXIS, jnp.dtype(config.dtype)
        )
        networks["adversary"] = AdversaryStream(config.representation.spectral_norm)
        updates["discriminator"] = config.pretraining_steps + config.num_steps
        updates["generator"] = updates["discriminator"]
    gan = DshGan(
        players=Players(
            networks, image_shape, {"generator": ((config.generator.z_dim,), (num_classes,))}
        ),
        losses=terms,
        optimizers={
            name: build_optimizer(config, name, num_steps)
            for name, num_steps in updates.items()
        },
        augment=partial(
            augment, crop_padding=config.augment.crop_padding, flip=config.augment.flip
        ),
        augment_synthetic=config.augment.synthetic,
        anchor_every=config.anchor_every,
        multi_label=not softmax,
        z_dim=config.generator.z_dim,
        ema_decay=config.ema_decay,
    )
    batch = BatchSpec(
        batch_size=config.batch_size,
        unlabeled_batch_size=config.unlabeled_batch_size if synthetic else 0,
        real_triplets=not synthetic,
        seed=config.seed,
    )
    stages: tuple[Stage, ...] = (Stage("triplet", config.num_steps, gan.control_step, batch),)
    if synthetic:
        stages = (
            Stage("pretraining", config.pretraining_steps, gan.pretraining_step, batch),
            Stage("joint", config.num_steps, gan.joint_step, batch),
        )
    return Method(
        codes=config.triplets,
        stages=stages,
        init=gan.init,
        encode=gan.players.encode,
        classify=gan.players.classify,
        synthesize=gan.sample if synthetic else None,
        fit=None,
        learn_targets=None,
        shared={
            "batch_size": config.batch_size,
            "unlabeled_batch_size": batch.unlabeled_batch_size,
            "batch_size / anchor_every": config.batch_size // config.anchor_every,
        },
    )

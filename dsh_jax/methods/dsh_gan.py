"""DSH-GANs: hash codes learned from real-synthetic triplets of a semi-supervised conditional GAN.

Qiu, Pan, Yao, Mei: "Deep Semantic Hashing with Generative Adversarial Networks", SIGIR 2017,
arXiv 1804.08275. Stage 1 pre-trains the GAN; stage 2 trains all players jointly, with a
discriminator, a hash and a generator step per batch. The control `triplets="real"` has only the
hash step: no generator, and positives and negatives from the labeled images.
"""

from functools import partial

import jax.numpy as jnp
from ml_collections import ConfigDict

from dsh_jax.data.batches import BatchSpec
from dsh_jax.data.images.augment import augment
from dsh_jax.data.signature import Signature
from dsh_jax.devices import AXIS
from dsh_jax.errors import UserError
from dsh_jax.fields import Choice, Integer, Number, Rules, Switch
from dsh_jax.losses import slots
from dsh_jax.methods import optimizers
from dsh_jax.methods.base import Method, Recipe, Stage
from dsh_jax.methods.dsh_gan_losses import build_losses
from dsh_jax.methods.dsh_gan_steps import DshGan
from dsh_jax.methods.players import (
    IMAGE_NETWORK,
    image_network,
    image_players,
    with_networks,
)
from dsh_jax.networks.generator import Generator
from dsh_jax.networks.streams import AdversaryStream

SLOTS = ("triplet", "quantization", "pair", "batch")
TERMS = (*SLOTS, "adversarial", "classification")
FIELDS: Rules = {
    "loss.labels": Choice(("single", "multi", "auto")),
    "batch_size": Integer(1, 2**20),
    "anchor_every": Integer(1, 2**20),
    "unlabeled_batch_size": Integer(0, 2**20),
    "pretraining_steps": Integer(0, 10**9),
    "num_steps": Integer(1, 10**9),
    "triplets": Choice(("synthetic", "real")),
    "augment.crop_padding": Integer(0, 2**14),
    "augment.flip": Switch(),
    "augment.synthetic": Switch(),
    "generator.width": Integer(1, 65536),
    "generator.z_dim": Integer(1, 65536),
    "loss.unlabeled": Choice(("zero", "mask")),
    "loss.synthetic_class_weight": Number(least=0),
    "ema_decay": Number(least=0, below=1),
    **slots.fields_of(*SLOTS, "classification", "adversarial"),
    **{f"loss.weights.{term}": Number(least=0) for term in TERMS},
    **optimizers.fields_of("discriminator", "hash", "generator"),
}


def build(config: ConfigDict, signature: Signature) -> Method:
    """DSH-GANs (or the triplet-only control) as a config describes it.

    Args:
      config: of an experiment, with its fields checked.
      signature: of the data.

    Raises:
      UserError: fields that contradict each other, or a loss that is invalid.
    """
    if config.batch_size % config.anchor_every:
        raise UserError(
            f"anchor_every is {config.anchor_every}; set it to a divisor of batch_size "
            f"{config.batch_size}."
        )
    synthetic = config.triplets == "synthetic"
    players = image_players(config, signature)
    updates = {"hash": config.num_steps}
    if synthetic:
        shape, classes = signature.image_shape, signature.num_classes
        generator = Generator(shape, config.generator.width, AXIS, jnp.dtype(config.dtype))
        players = with_networks(
            players,
            {
                "generator": generator,
                "adversary": AdversaryStream(config.representation.spectral_norm),
            },
            {"generator": ((config.generator.z_dim,), (classes,))},
        )
        updates["discriminator"] = config.pretraining_steps + config.num_steps
        updates["generator"] = updates["discriminator"]
    gan = DshGan(
        players=players,
        losses=build_losses(config, signature),
        optimizers={
            name: optimizers.build_optimizer(config, name, num_steps)
            for name, num_steps in updates.items()
        },
        augment=partial(
            augment, crop_padding=config.augment.crop_padding, flip=config.augment.flip
        ),
        augment_synthetic=config.augment.synthetic,
        anchor_every=config.anchor_every,
        multi_label=signature.labels == "multi",
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
        network=image_network(config, signature),
        init=gan.init,
        stages=stages,
        synthesize=gan.sample if synthetic else None,
        shared={
            "batch_size": config.batch_size,
            "unlabeled_batch_size": batch.unlabeled_batch_size,
            "batch_size / anchor_every": config.batch_size // config.anchor_every,
        },
    )


RECIPE = Recipe(build, FIELDS, IMAGE_NETWORK)

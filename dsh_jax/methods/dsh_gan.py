"""DSH-GANs: hash codes learned from real-synthetic triplets of a semi-supervised conditional GAN.

Qiu, Pan, Yao, Mei: "Deep Semantic Hashing with Generative Adversarial Networks", SIGIR 2017,
arXiv 1804.08275. Stage 1 pre-trains the GAN; stage 2 trains all players jointly, with a
discriminator, a hash and a generator step per batch. Controls take real positives and negatives
instead, or leave the GAN out and keep the hash step alone.
"""

from dataclasses import replace
from functools import partial

import jax
from ml_collections import ConfigDict

from dsh_jax.data.batches import BatchSpec
from dsh_jax.data.signature import Signature
from dsh_jax.errors import UserError
from dsh_jax.fields import Choice, Integer, Number, Rules, Switch, Text
from dsh_jax.losses import slots
from dsh_jax.methods import consistency, dsh_gan_generator, kinds, optimizers
from dsh_jax.methods.augmentation import PHOTOGRAPHS
from dsh_jax.methods.base import ImageSource, Method, Recipe, Stage, State, kept_variables
from dsh_jax.methods.dsh_gan_losses import MINING, build_losses
from dsh_jax.methods.dsh_gan_stages import DshGan
from dsh_jax.methods.dsh_gan_steps import TRIPLETS, Steps
from dsh_jax.methods.dsh_gan_synthesis import Synthesis
from dsh_jax.methods.players import (
    ITEM_NETWORK,
    Players,
    image_network,
    image_players,
    with_networks,
)
from dsh_jax.methods.preparation import fit_to_images, precompute
from dsh_jax.networks.streams import AdversaryStream

SLOTS = ("triplet", "quantization", "pair", "batch", "center")
TERMS = (*SLOTS, "adversarial", "classification", "r1")
FIELDS: Rules = {
    "loss.labels": Choice(("single", "multi", "auto")),
    "batch_size": Integer(1, 2**20),
    "anchor_every": Integer(1, 2**20),
    "negatives_per_anchor": Integer(1, 1024),
    "unlabeled_batch_size": Integer(0, 2**20),
    "pretraining_steps": Integer(0, 10**9),
    "num_steps": Integer(1, 10**9),
    "gan": Switch(),
    "triplets": Choice(TRIPLETS),
    "augment.crop_padding": Integer(0, 2**14),
    "augment.flip": Switch(),
    "augment.cutout": Integer(0, 2**14),
    "augment.synthetic": Switch(),
    **dsh_gan_generator.FIELDS,
    "adversary.projection": Switch(),
    "judge": Text(),
    "loss.mining": Choice(MINING),
    "loss.unlabeled": Choice(("zero", "mask")),
    "loss.synthetic_class_weight": Number(least=0),
    "ema_decay": Number(least=0, below=1),
    **slots.fields_of(*SLOTS, "classification", "adversarial"),
    **{f"loss.weights.{term}": Number(least=0) for term in TERMS},
    **consistency.FIELDS,
    **optimizers.fields_of("discriminator", "hash", "generator"),
}


def build(config: ConfigDict, signature: Signature) -> Method:
    """DSH-GANs or one of their controls, as a config describes it.

    Args:
      config: of an experiment, with its fields checked.
      signature: of the data.

    Raises:
      UserError: fields that contradict each other, or a loss that is invalid.
    """
    _check(config)
    views = consistency.batch_size(config, signature.labels)
    consistent = consistency.from_config(config, signature)
    kind = kinds.kind_of(signature)
    kind.check(config)
    players = image_players(config, signature)
    num_updates = {"hash": config.num_steps}
    if config.gan:
        players = _with_gan(players, config, signature)
        both = config.pretraining_steps + config.num_steps
        num_updates |= {"discriminator": both, "generator": both}
    elif consistent:
        num_updates["hash"] += config.pretraining_steps
    weak = kind.weak(config.augment, ("crop_padding", "flip", "cutout", *PHOTOGRAPHS))
    synthesis = Synthesis(
        players=players,
        augment=weak,
        augment_synthetic=config.augment.synthetic,
        anchor_every=config.anchor_every,
        multi_label=signature.labels == "multi",
        z_dim=config.generator.z_dim,
        negatives=config.negatives_per_anchor,
    )
    steps = Steps(
        players=players,
        losses=build_losses(config, signature),
        optimizers={
            name: optimizers.build_optimizer(config, name, num_steps)
            for name, num_steps in num_updates.items()
        },
        triplets=config.triplets,
        synthesis=synthesis,
    )
    gan = DshGan(
        steps=steps,
        augment=weak,
        consistency=consistent,
        discriminate_every=_discriminate_every(config, views),
        ema_decay=config.ema_decay,
        kind=kind,
        to_float=kind.to_float(signature),
    )
    stages, shared = _stages(config, gan, views)
    images = dsh_gan_generator.image_source(config, signature)
    return Method(
        codes=_codes(config),
        network=image_network(config, signature),
        init=gan.init,
        stages=stages,
        synthesize=None if images is None else partial(_synthesize, images),
        prepare=fit_to_images(config),
        precompute=None if _needs_images(config, views) else precompute(config, players),
        learning_rates=optimizers.learning_rates(config, num_updates),
        shared=shared,
    )


def _check(config: ConfigDict) -> None:
    """Refuses fields that contradict each other."""
    if config.batch_size % config.anchor_every:
        raise UserError(
            f"anchor_every is {config.anchor_every}; set it to a divisor of batch_size "
            f"{config.batch_size}."
        )
    if config.triplets == "synthetic" and not config.gan:
        raise UserError(
            "triplets are 'synthetic', but gan is False; set triplets to 'real' or 'none'."
        )
    if config.triplets == "none" and config.gan:
        raise UserError(
            "triplets are 'none', but gan is True; set gan to False, or triplets to 'synthetic'."
        )
    if config.negatives_per_anchor > 1 and config.triplets != "synthetic":
        raise UserError(
            f"negatives_per_anchor is {config.negatives_per_anchor}, but triplets are "
            f"{config.triplets!r}; set it to 1."
        )
    if config.judge and not config.gan:
        raise UserError("judge is set, but gan is False, so nothing is drawn; set judge to ''.")
    if _sees_all(config) and config.gan and config.loss.unlabeled == "zero":
        raise UserError(
            "consistency.batch_size is -1, so labeled images are among the unlabeled ones, but "
            "loss.unlabeled is 'zero', which teaches that these are of no class; set the latter to "
            "'mask'."
        )
    if config.loss.mining != "none" and config.triplets == "none":
        raise UserError(
            f"loss.mining is {config.loss.mining!r}, but triplets are 'none'; set it to 'none'."
        )


def _with_gan(players: Players, config: ConfigDict, signature: Signature) -> Players:
    """The players with generator and adversary stream."""
    generator = dsh_gan_generator.build_generator(config, signature)
    projected = signature.num_classes if config.adversary.projection else 0
    adversary = AdversaryStream(config.representation.spectral_norm, projected)
    return with_networks(
        players,
        {"generator": generator, "adversary": adversary},
        {"generator": ((config.generator.z_dim,), (signature.num_classes,))},
    )


def _needs_images(config: ConfigDict, views: int) -> bool:
    """Whether features of real images do not suffice, as for `views` strong views."""
    return bool(views or config.loss.weights.r1 or config.judge)


def _synthesize(
    images: ImageSource, state: State, key: jax.Array, label: jax.Array
) -> jax.Array:
    return images.draw(kept_variables(state), key, label)


def _discriminate_every(config: ConfigDict, drawn: int) -> int:
    """The discriminator step sees every n-th of the unlabeled images of a batch, `drawn` in all."""
    seen = config.unlabeled_batch_size
    if not (config.gan and drawn):
        return 1
    if not seen or drawn % seen:
        raise UserError(
            f"consistency.batch_size is {drawn}, but unlabeled_batch_size is {seen}; set the "
            "latter to a divisor of the former."
        )
    return drawn // seen


def _stages(
    config: ConfigDict, gan: DshGan, drawn: int
) -> tuple[tuple[Stage, ...], dict[str, int]]:
    """The stages, with `drawn` strong views per step, and the sizes that devices share equally."""
    every = bool(drawn) and _sees_all(config)
    field = "consistency.batch_size" if drawn else "unlabeled_batch_size"
    alone = BatchSpec(config.batch_size, 0, config.triplets == "real", config.seed, every, field)
    shared = {"batch_size": config.batch_size, "consistency.batch_size": drawn}
    if not config.gan:
        if not drawn:
            return (Stage("triplet", config.num_steps, gan.supervised_step, alone),), shared
        both = replace(alone, unlabeled_batch_size=drawn)
        return (
            Stage("supervised", config.pretraining_steps, gan.supervised_step, alone),
            Stage("consistency", config.num_steps, gan.network_step, both),
        ), shared
    both = replace(alone, unlabeled_batch_size=drawn or config.unlabeled_batch_size)
    shared["unlabeled_batch_size"] = config.unlabeled_batch_size
    shared["batch_size / anchor_every"] = config.batch_size // config.anchor_every
    return (
        Stage("pretraining", config.pretraining_steps, gan.pretraining_step, both),
        Stage("joint", config.num_steps, gan.joint_step, both),
    ), shared


def _sees_all(config: ConfigDict) -> bool:
    """Whether strong views are drawn of all training images, labeled ones too."""
    return bool(config.consistency.batch_size == consistency.AUTOMATIC)


def _codes(config: ConfigDict) -> str:
    """What the codes are learned from, as results name it."""
    if config.gan:
        return "synthetic" if config.triplets == "synthetic" else "gan_real"
    return {"real": "real", "none": "network"}[config.triplets]


RECIPE = Recipe(build, FIELDS, ITEM_NETWORK, dsh_gan_generator.image_source)

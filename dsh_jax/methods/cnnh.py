"""CNNH and CNNH+: codes learned from the similarity matrix, then a CNN that learns the codes.

Xia, Pan, Lai, Liu, Yan: "Supervised Hashing for Image Retrieval via Image Representation Learning",
AAAI 2014. Stage 1 (`cnnh_codes`) runs once, before the first step; stage 2 trains the network on
raw pixels from scratch. CNNH+ has class outputs in addition to the code outputs. The paper does not
state the loss of the code outputs clearly; here it is the logistic cross-entropy of each bit.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from dsh_jax import fields
from dsh_jax.data.batches import BatchSpec
from dsh_jax.data.images.augment import to_float
from dsh_jax.data.signature import Signature
from dsh_jax.devices import Batch
from dsh_jax.errors import UserError
from dsh_jax.fields import Choice, Integer, Number, Rules, Switch
from dsh_jax.losses import Loss, slots
from dsh_jax.methods import optimizers
from dsh_jax.methods.augmentation import PHOTOGRAPHS
from dsh_jax.methods.base import (
    Method,
    Metrics,
    Params,
    Recipe,
    Stage,
    State,
    advance,
    augmented,
    update,
)
from dsh_jax.methods.cnnh_codes import learn_class_codes, learn_codes
from dsh_jax.methods.kinds import IMAGES, Kind, kind_of
from dsh_jax.methods.players import (
    ENCODER,
    ITEM_NETWORK,
    Players,
    image_network,
    image_players,
)
from dsh_jax.methods.preparation import fit_to_images, precompute
from dsh_jax.methods.similarity import similarity_from_labels
from dsh_jax.rng import named_key


@dataclass(frozen=True)
class Cnnh:
    """The network of stage 2 and its step.

    Attributes:
      players: representation, hash stream (code outputs) and, for CNNH+, classification stream.
      code_loss: (code logits, target code of -1 and 1) -> loss.
      classify: (class logits, label) -> loss.
      weights: weight of each term: code, classification.
      tx: the optimizer of all players.
      augment: keys `[batch]`, images -> images of the same shape and range.
      ema_decay: decay per step of the players' averages; 0 is off.
      kind: of the items.
      to_float: from items of a raw batch to what networks take.
    """

    players: Players
    code_loss: Loss
    classify: Loss
    weights: dict[str, float]
    tx: optax.GradientTransformation
    augment: Callable[[jax.Array, jax.Array], jax.Array]
    ema_decay: float
    kind: Kind = IMAGES
    to_float: Callable[[jax.Array], jax.Array] = to_float

    def init(self, key: jax.Array) -> State:
        """The state before the first step."""
        averaged = ENCODER if self.ema_decay else ()
        owners = {"network": tuple(self.players.networks)}
        return self.players.init(key, {"network": self.tx}, owners, averaged)

    def step(self, state: State, batch: Batch, key: jax.Array) -> tuple[State, Metrics]:
        """One update on labeled images and their target codes.

        Args:
          state: the state before.
          batch: `image` uint8 or `vector`, `label`, `target` -1 or 1 `[batch, num_bits]`,
            `position`.
          key: the run's key.
        """
        key = jax.random.fold_in(key, state.step)
        batch = augmented(self.augment, self.kind.as_images(batch), key, self.to_float)

        def loss_fn(params: dict[str, Params]) -> tuple[jax.Array, tuple[Metrics, dict]]:
            features, stats = self.players.represent(
                state, params["representation"], batch["image"], key=named_key(key, "dropout")
            )
            code_logits, hash_stats = self.players.apply(state, "hash", params["hash"], features)
            terms = {"code": jax.vmap(self.code_loss)(code_logits, batch["target"]).mean()}
            if "classification" in params:
                logits, _ = self.players.apply(
                    state, "classification", params["classification"], features
                )
                terms["classification"] = jax.vmap(self.classify)(logits, batch["label"]).mean()
            loss = jnp.asarray(sum(self.weights[name] * term for name, term in terms.items()))
            right = (code_logits > 0) == (batch["target"] > 0)
            return loss, (terms | {"right_bits": right.mean()}, stats | hash_stats)

        players = tuple(self.players.networks)
        state, metrics = update(state, "network", players, self.tx, loss_fn)
        return advance(state, self.ema_decay), metrics


FIELDS: Rules = {
    "loss.labels": Choice(("single", "multi", "auto")),
    "batch_size": Integer(1, 2**20),
    "num_steps": Integer(1, 10**9),
    "augment.crop_padding": Integer(0, 2**14),
    "augment.flip": Switch(),
    "codes.form": Choice(("auto", "classes", "full")),
    "codes.sweeps": Integer(1, 10**9),
    "loss.weights.code": Number(least=0),
    "loss.weights.classification": Number(least=0),
    "ema_decay": Number(least=0, below=1),
    **slots.fields_of("code", "classification"),
    **optimizers.fields_of("network"),
}


def build(config: ConfigDict, signature: Signature) -> Method:
    """CNNH or CNNH+ as a config describes it.

    Args:
      config: of an experiment, with its fields checked.
      signature: of the data.

    Raises:
      UserError: fields that contradict each other, or a loss that is invalid.
    """
    form = config.codes.form
    if form == "auto":
        form = "classes" if signature.labels == "single" else "full"
    if form == "classes" and signature.labels != "single":
        raise UserError(
            "codes.form is 'classes', which needs one label per image; set it to 'full'."
        )
    sizes = {"num_bits": config.num_bits, "classes": signature.num_classes}
    kind = kind_of(signature)
    cnnh = Cnnh(
        players=image_players(config, signature),
        code_loss=slots.from_config(config, "code", **sizes),
        classify=slots.classification(config, signature.labels, **sizes),
        weights=fields.floats(config.loss.weights),
        tx=optimizers.build_optimizer(config, "network", config.num_steps),
        augment=kind.weak(config.augment, ("crop_padding", "flip", *PHOTOGRAPHS)),
        ema_decay=config.ema_decay,
        kind=kind,
        to_float=kind.to_float(signature),
    )
    batch = BatchSpec(config.batch_size, 0, False, config.seed)
    return Method(
        codes="cnnh_plus" if config.class_outputs else "cnnh",
        network=image_network(config, signature),
        init=cnnh.init,
        learning_rates=optimizers.learning_rates(config, {"network": config.num_steps}),
        stages=(Stage("network", config.num_steps, cnnh.step, batch),),
        learn_targets=lambda dataset, ids: learn_targets(
            dataset.labels[ids],
            num_classes=signature.num_classes,
            num_bits=config.num_bits,
            seed=config.seed,
            sweeps=config.codes.sweeps,
            form=form,
        ),
        prepare=fit_to_images(config),
        precompute=precompute(config, cnnh.players),
        shared={"batch_size": config.batch_size},
    )


def learn_targets(
    labels: np.ndarray, *, num_classes: int, num_bits: int, seed: int, sweeps: int, form: str
) -> tuple[np.ndarray, str]:
    """Stage 1: a target code for each labeled image.

    Args:
      labels: class ids `[n]` or multi-hot `[n, classes]`.
      num_classes: number of classes.
      num_bits, seed, sweeps: as for `cnnh_codes.learn_codes`.
      form: "classes": the exact reduced form for class ids; "full": the whole similarity matrix.

    Returns:
      int8 of -1 and 1 `[n, num_bits]`, row k for `labels[k]`; and a line for the log.

    Raises:
      ValueError: a class without images, or a matrix that does not fit in memory.
    """
    if form == "classes":
        counts = np.bincount(labels, minlength=num_classes)
        result = learn_class_codes(counts, num_bits=num_bits, seed=seed, sweeps=sweeps)
        codes = result.codes[labels]
    else:
        similarity = similarity_from_labels(labels)
        result = learn_codes(similarity, num_bits=num_bits, seed=seed, sweeps=sweeps)
        codes = result.codes
    scale = float(len(labels)) ** 2
    by_sweep = " ".join(f"{objective / scale:.4f}" for objective in result.objectives)
    report = (
        f"|S - HH'/q|^2 per pair by sweep {by_sweep}; for the signs "
        f"{result.quantized_objective / scale:.4f}, quantisation gap {result.quantization_gap:.4f}"
    )
    return codes, report


RECIPE = Recipe(
    build,
    FIELDS,
    replace(ITEM_NETWORK, fields={**ITEM_NETWORK.fields, "class_outputs": Switch()}),
)

"""The sentence with which a training stops where a value is not finite."""

import jax.numpy as jnp
import numpy as np
import pytest

from configs import smoke
from dsh_jax.data.signature import ImageInputs, Signature
from dsh_jax.training.blame import check_finite

SIGNATURE = Signature(ImageInputs(8, 8, 1), "single", tuple("abc"))
NAN, INF = float("nan"), float("inf")
MINE = f"{__name__}:far"


def far(a, b, similar):
    """Its gradient is NaN where a = b."""
    return similar * jnp.linalg.norm(a - b)


def row(**changes):
    """The metrics of a step of DSH-GAN, as JAX returns them: sorted."""
    terms = {
        "discriminator": ("adversarial", "classification", "real_accuracy"),
        "generator": ("adversarial", "classification", "triplet"),
        "hash": ("active_triplets", "classification", "pair", "triplet", "quantization"),
    }
    values = {
        f"{player}/{name}": 0.5
        for player, names in terms.items()
        for name in (*names, "loss", "grad_norm")
    }
    changes = {name.replace("__", "/"): value for name, value in changes.items()}
    assert changes.keys() <= values.keys()
    return dict(sorted((values | changes).items()))


def every(player, value):
    names = [name for name in row() if name.startswith(f"{player}/")]
    return {name.replace("/", "__"): value for name in names}


def said(values, step=120):
    config = smoke.get_config()
    config.loss.pair = MINE
    sentence = check_finite(config, SIGNATURE, step, values)
    assert "\n" not in sentence and (not sentence or sentence.endswith("."))
    return sentence


def test_finite_values():
    assert said(row()) == ""
    assert said({name: np.float32(value) for name, value in row().items()}) == ""


def test_the_term_and_not_its_sum_or_its_gradient():
    values = row(hash__pair=NAN, hash__loss=NAN, hash__grad_norm=NAN)
    assert said(values).startswith(f"loss.pair {MINE!r} became NaN at step 120; make the function")
    values = row(discriminator__adversarial=INF, discriminator__loss=INF)
    sentence = said(values, 3)
    assert sentence.startswith("loss.adversarial 'non_saturating' became infinite at step 3;")


def test_what_a_broken_player_hands_to_the_next_is_not_to_blame():
    """The hash step is before the generator's, whose metrics come first."""
    values = row(hash__triplet=NAN, hash__loss=NAN, **every("generator", NAN))
    assert said(values).startswith("loss.triplet 'triplet_ranking' became NaN at step 120;")
    values = row(hash__grad_norm=NAN, **every("generator", NAN))
    assert said(values).startswith("the gradient of hash/loss became NaN at step 120")


def test_a_gradient_is_traced_to_a_loss_that_has_none():
    sentence = said(row(hash__grad_norm=NAN))
    assert f"not finite for loss.pair {MINE!r}, where all its arguments are equal;" in sentence
    assert "triplet_ranking" not in sentence


def test_everything_at_once():
    values = {**row(), **dict.fromkeys(row(), NAN)}
    sentence = said(values)
    assert "all at once, because the network's outputs did" in sentence
    assert "loss.triplet 'triplet_ranking'" in sentence and sentence.count("loss.triplet") == 1


@pytest.mark.parametrize("name", ["objective", "network/right_bits"])
def test_a_value_that_is_no_term(name):
    assert said({name: NAN}).startswith(f"{name} became NaN at step 120; lower a learning rate")
    assert said({"network/code": NAN, "network/loss": NAN}).startswith("network/code became NaN")

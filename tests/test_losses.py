"""Losses against numbers worked out by hand; the arithmetic stands beside each."""

import inspect
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dsh_jax import losses
from dsh_jax.errors import UserError

ONE, ZERO = jnp.float32(1), jnp.float32(0)


def near(value):
    return pytest.approx(value, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize(
    ("margin", "expected"),
    # |h - h+|^2 = 0.25 + 0 = 0.25; |h - h-|^2 = 0.25 + 1 = 1.25; difference -1
    [(1.0, 0.0), (1.5, 0.5), (0.0, 0.0), (4.0, 3.0)],
)
def test_triplet_ranking_by_hand(margin, expected):
    anchor, positive, negative = jnp.array([[0.5, 1.0], [1.0, 1.0], [0.0, 0.0]])
    value = losses.triplet_ranking(anchor, positive, negative, margin=margin)
    assert float(value) == near(expected)


def test_triplet_ranking_has_the_papers_margin():
    # Equal distances leave the margin of one bit: 1 + 0 - 0.
    assert float(losses.triplet_ranking(*jnp.zeros((3, 4)))) == 1.0


def test_triplet_ranking_gradient_by_hand():
    # Active: d/dh (|h - h+|^2 - |h - h-|^2) = 2 (h- - h+), d/dh+ = 2 (h+ - h), d/dh- = 2 (h - h-).
    h, p, n = jnp.array([[0.5, 0.2], [1.0, 0.0], [0.0, 1.0]])
    gradients = jax.grad(lambda *c: losses.triplet_ranking(*c, margin=9.0), (0, 1, 2))(h, p, n)
    for gradient, expected in zip(gradients, (2 * (n - p), 2 * (p - h), 2 * (h - n)), strict=True):
        np.testing.assert_allclose(gradient, expected, atol=1e-6)


def test_triplet_ranking_of_binary_codes_counts_bits():
    anchor, positive, negative = jnp.array([[0, 0, 0, 0], [1, 1, 1, 0], [0, 0, 0, 1]], jnp.float32)
    assert float(losses.triplet_ranking(anchor, positive, negative)) == 1 + 3 - 1


def test_softmax_classification_by_hand():
    # softmax of [0, log 3] is [1/4, 3/4].
    logits = jnp.array([0.0, math.log(3)])
    assert float(losses.softmax_classification(logits, jnp.array([1.0, 0.0]))) == near(math.log(4))
    assert float(losses.softmax_classification(logits, jnp.array([0.0, 1.0]))) == near(
        math.log(4 / 3)
    )


def test_sigmoid_classification_by_hand():
    # sigmoids of [0, log 3] are 1/2 and 3/4: for label [1, 0] -log(1/2) - log(1/4) = log 8,
    # for [1, 1] -log(1/2) - log(3/4) = log(8/3), for [0, 0] -log(1/2) - log(1/4) = log 8.
    logits = jnp.array([0.0, math.log(3)])
    for label, expected in (([1, 0], 8), ([1, 1], 8 / 3), ([0, 0], 8)):
        value = losses.sigmoid_classification(logits, jnp.array(label, jnp.float32))
        assert float(value) == near(math.log(expected))


def test_softmax_or_none_by_hand():
    # One more class of logit 0 beside [0, log 3]: the probabilities are 1/5, 3/5, and 1/5 of none.
    logits = jnp.array([0.0, math.log(3)])
    for label, expected in (([1, 0], 5), ([0, 1], 5 / 3), ([0, 0], 5)):
        value = losses.softmax_or_none(logits, jnp.array(label, jnp.float32))
        assert float(value) == near(math.log(expected))


def test_only_none_sees_a_shift_of_all_logits():
    logits, label = jnp.array([0.5, -1.0, 2.0]), jnp.array([0.0, 1.0, 0.0])
    shifted = losses.softmax_classification(logits + 3, label)
    assert float(shifted) == near(float(losses.softmax_classification(logits, label)))
    assert float(losses.softmax_or_none(logits - 50, 0 * label)) == near(0)
    assert float(losses.softmax_or_none(logits - 50, label)) > 49


def test_label_smoothing_by_hand():
    # Of the target [1, 0] with 0.2 smoothed, [0.9, 0.1] is left; the softmax is [1/4, 3/4].
    logits, label = jnp.array([0.0, math.log(3)]), jnp.array([1.0, 0.0])
    wanted = 0.9 * math.log(4) + 0.1 * math.log(4 / 3)
    assert float(losses.softmax_classification(logits, label, smoothing=0.2)) == near(wanted)
    # With "none" the probabilities are [1/5, 3/5, 1/5], and nothing of a label is spread to none.
    wanted = 0.9 * math.log(5) + 0.1 * math.log(5 / 3)
    assert float(losses.softmax_or_none(logits, label, smoothing=0.2)) == near(wanted)
    none = losses.softmax_or_none(logits, jnp.zeros(2), smoothing=0.2)
    assert float(none) == near(math.log(5))


CENTERS = jnp.array([[1.0, 1, 1, -1], [-1, -1, 1, 1], [1, -1, -1, -1]])


def test_csq_by_hand():
    # Sigmoids of the logits are 1/2, 3/4, 3/4, 1/4; the bits of center 0 are 1, 1, 1, 0.
    logits, label = math.log(3) * jnp.array([0.0, 1, 1, -1]), jnp.array([1.0, 0, 0])
    wanted = (math.log(2) + 3 * math.log(4 / 3)) / 4
    assert float(losses.csq(logits, label, CENTERS)) == near(wanted)
    # |2h - 1| is 0, 1/2, 1/2, 1/2, and (|2h - 1| - 1)^2 is 1, 1/4, 1/4, 1/4.
    value = losses.csq(logits, label, CENTERS, quantization=2.0)
    assert float(value) == near(wanted + 2 * 1.75 / 4)


def test_csq_of_several_labels_by_hand():
    # Centers 0 and 1 add up to [0, 0, 2, 0]: where they disagree, the first one decides.
    logits = jnp.array([1.0, -2.0, 0.5, 3.0])
    several = losses.csq(logits, jnp.array([1.0, 1, 0]), CENTERS)
    assert float(several) == near(float(losses.csq(logits, jnp.array([1.0, 0, 0]), CENTERS)))
    # All three: [1, -1, 1, -1].
    wanted = np.mean(np.log1p(np.exp(-np.array([1, -1, 1, -1]) * logits)))
    assert float(losses.csq(logits, jnp.ones(3), CENTERS)) == near(float(wanted))


def test_dpn_by_hand():
    # Bit times center: 0.5, -2, 2, -3. Hinges 1 - x: 0.5, 3, 0, 4; squares 0.25, 4, 4, 9.
    logits, label = jnp.array([0.5, -2.0, 2.0, 3.0]), jnp.array([1.0, 0, 0])
    assert float(losses.dpn(logits, label, CENTERS)) == near((7.5 + 0.1 * 17.25) / 4)
    # With a margin of 2: 1.5, 4, 0, 5.
    value = losses.dpn(logits, label, CENTERS, margin=2.0, magnitude=0.0)
    assert float(value) == near(10.5 / 4)


def test_orthohash_by_hand():
    # The logits have length 2, a center has 2: cosines are (2 0 0 0) . center / 4.
    logits, label = jnp.array([2.0, 0, 0, 0]), jnp.array([0.0, 1, 0])
    # Cosines 1/2, -1/2, 1/2; less the margin of 1/2, times 2: 1, -2, 1.
    wanted = math.log(2 * math.exp(1) + math.exp(-2)) + 2
    value = losses.orthohash(logits, label, CENTERS, scale=2.0, margin=0.5)
    assert float(value) == near(wanted)
    longer = losses.orthohash(3 * logits, label, CENTERS, scale=2.0, margin=0.5)
    assert float(longer) == near(wanted)
    # Two labels share the target: cosines less the margin are 0, -1, 1/2.
    both = losses.orthohash(logits, jnp.array([1.0, 1, 0]), CENTERS, scale=2.0, margin=0.5)
    total = math.log(1 + math.exp(-2) + math.exp(1))
    assert float(both) == near(total - (0 - 2) / 2)


@pytest.mark.parametrize("name", ["csq", "dpn", "orthohash"])
def test_the_own_center_costs_least(name):
    loss = jax.vmap(getattr(losses, name), (0, None, None))
    values = np.stack([loss(CENTERS, label, CENTERS) for label in np.eye(3, dtype=np.float32)])
    assert (values.argmin(axis=1) == np.arange(3)).all()


def test_adversarial_by_hand():
    # P(real) = sigmoid(log 3) = 3/4.
    logit = jnp.float32(math.log(3))
    assert float(losses.adversarial(logit, ONE)) == near(-math.log(3 / 4))
    assert float(losses.adversarial(logit, ZERO)) == near(-math.log(1 / 4))
    assert float(losses.generator_minimax(logit)) == near(math.log(1 / 4))
    assert float(losses.generator_non_saturating(logit)) == near(-math.log(3 / 4))


@pytest.mark.parametrize(
    # real: max(0, 1 - x); synthetic: max(0, 1 + x); generator: -x.
    ("logit", "real", "synthetic"),
    [(0.25, 0.75, 1.25), (2.0, 0.0, 3.0), (-2.0, 3.0, 0.0)],
)
def test_hinge_by_hand(logit, real, synthetic):
    logit = jnp.float32(logit)
    assert float(losses.adversarial_hinge(logit, ONE)) == real
    assert float(losses.adversarial_hinge(logit, ZERO)) == synthetic
    assert float(losses.generator_hinge(logit)) == -logit


def test_quantization_by_hand():
    # (|2h - 1| - 1)^2 is 0 at 0 and 1, 1 at 1/2, and (1/2 - 1)^2 = 1/4 at 1/4 and 3/4.
    assert float(losses.quantization(jnp.array([0.0, 1.0, 1.0]))) == 0
    assert float(losses.quantization(jnp.full(6, 0.5))) == 6
    assert float(losses.quantization(jnp.array([0.0, 0.25, 0.5, 0.75]))) == near(1.5)


def test_code_cross_entropy_by_hand():
    # -log of the probability of the right bit: 1/2, then sigmoid(ln 3) = 3/4, wrong and right.
    logits = jnp.array([0.0, math.log(3), math.log(3)])
    wanted = -(math.log(1 / 2) + math.log(1 / 4) + math.log(3 / 4)) / 3
    assert float(losses.code_cross_entropy(logits, jnp.array([1.0, -1.0, 1.0]))) == near(wanted)


@pytest.mark.parametrize("logit", [-7.0, -0.5, 0.0, 3.0])
def test_minimax_generator_gradient_is_minus_the_discriminators(logit):
    generator = jax.grad(losses.generator_minimax)(logit)
    assert float(generator) == -float(jax.grad(losses.adversarial)(logit, 0.0)) != 0


def test_games_pair_the_discriminators_loss_with_the_generators():
    assert losses.minimax() == (losses.adversarial, losses.generator_minimax)
    assert losses.non_saturating() == (losses.adversarial, losses.generator_non_saturating)
    assert losses.hinge() == (losses.adversarial_hinge, losses.generator_hinge)


# Arguments of one sample as shapes: "code" and "class" vectors, labels, a scalar, a 0/1 scalar.
SIGNATURES = {
    "triplet_ranking": ("code", "code", "code"),
    "softmax_classification": ("class", "label"),
    "sigmoid_classification": ("class", "label"),
    "softmax_or_none": ("class", "label"),
    "csq": ("class", "label", "centers"),
    "dpn": ("class", "label", "centers"),
    "orthohash": ("class", "label", "centers"),
    "adversarial": ("logit", "source"),
    "adversarial_hinge": ("logit", "source"),
    "generator_minimax": ("logit",),
    "generator_non_saturating": ("logit",),
    "generator_hinge": ("logit",),
    "quantization": ("code",),
    "code_cross_entropy": ("class", "bits"),
}
SHAPES = {"code": (5,), "class": (4,), "label": (4,), "logit": (), "source": (), "bits": (4,),
          "centers": (4, 4)}  # fmt: skip


def test_every_loss_is_tested_here():
    names = {name for name in losses.__all__ if inspect.isfunction(getattr(losses, name))}
    games = {"minimax", "non_saturating", "hinge"}
    # Tested with neural SHTTM.
    of_documents = {"tag_loss", "topic_distance", "word_loss", "vector_loss"}
    assert names - games - of_documents - {"find"} == set(SIGNATURES)


@st.composite
def batches(draw, name):
    size = 3  # of one size, so that it is compiled once
    elements = {
        "code": st.floats(0, 1, width=32),
        "class": st.floats(-50, 50, width=32),
        "logit": st.floats(-50, 50, width=32),
        "label": st.sampled_from([0.0, 1.0]),
        "source": st.sampled_from([0.0, 1.0]),
        "bits": st.sampled_from([-1.0, 1.0]),
        "centers": st.sampled_from([-1.0, 1.0]),
    }
    return [
        draw(hnp.arrays(np.float32, (size, *SHAPES[kind]), elements=elements[kind]))
        for kind in SIGNATURES[name]
    ]


@pytest.mark.parametrize("name", SIGNATURES)
@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_vmap_is_a_loop(name, data):
    loss, batch = getattr(losses, name), data.draw(batches(name))
    lifted = jax.vmap(loss)(*batch)
    looped = [float(loss(*map(jnp.asarray, sample))) for sample in zip(*batch, strict=True)]
    assert lifted.shape == (len(looped),)
    np.testing.assert_allclose(lifted, looped, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("name", [n for n, kinds in SIGNATURES.items() if "code" not in kinds])
def test_big_logits_stay_finite(name, sign):
    kinds = SIGNATURES[name]
    for target in (0.0, 1.0):
        logits = jnp.full(SHAPES[kinds[0]], sign * 1e4)
        logits = logits if logits.ndim == 0 else logits.at[0].set(-sign * 1e4)
        others = [jnp.full(SHAPES[kind], target) for kind in kinds[1:]]
        value, gradient = jax.value_and_grad(getattr(losses, name))(logits, *others)
        assert np.isfinite(value) and np.isfinite(gradient).all()


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("triplet_ranking", [(3,), (3,), (4,)]),
        ("triplet_ranking", [(2, 3)] * 3),
        ("softmax_classification", [(3,), (4,)]),
        ("softmax_classification", [(2, 3), (2, 3)]),
        ("sigmoid_classification", [(3,), (1,)]),
        ("softmax_or_none", [(3,), (4,)]),
        ("softmax_or_none", [(2, 3), (2, 3)]),
        ("csq", [(2, 5), (2, 3), (3, 5)]),
        ("csq", [(5,), (3,), (3, 4)]),
        ("dpn", [(5,), (3,), (5, 3)]),
        ("dpn", [(5,), (1, 3), (3, 5)]),
        ("orthohash", [(5,), (3,), (2, 3, 5)]),
        ("orthohash", [(2, 5), (3,), (3, 5)]),
        ("quantization", [(2, 3)]),
        ("adversarial", [(2,), (2,)]),
        ("adversarial", [(), (2,)]),
        ("adversarial_hinge", [(2,), (2,)]),
        ("generator_minimax", [(2,)]),
        ("generator_non_saturating", [(2,)]),
        ("generator_hinge", [(2,)]),
    ],
)
def test_a_whole_batch_is_refused_with_its_shape(name, shapes):
    # Whichever argument is wrong, its shape must stand in the message.
    with pytest.raises(ValueError) as error:
        getattr(losses, name)(*map(jnp.ones, shapes))
    assert any(str(shape) in str(error.value) for shape in shapes if shape)


def own_loss(anchor, positive, negative, *, scale=1.0):
    return scale * jnp.sum(anchor + positive + negative)


def test_find_binds_the_options():
    found = losses.find("loss.triplet", "triplet_ranking", {"margin": 3.0})
    assert float(found(*jnp.zeros((3, 2)))) == 3.0
    assert float(losses.find("loss.triplet", "triplet_ranking", {})(*jnp.zeros((3, 2)))) == 1.0


def test_find_takes_a_users_function():
    found = losses.find("loss.triplet", f"{__name__}:own_loss", {"scale": 0.5})
    assert float(found(*jnp.ones((3, 2)))) == 0.5 * 6


@pytest.mark.parametrize(
    "name",
    ["no_such_loss", "no_such_module:loss", f"{__name__}:no_such_loss", "", ":", "..losses:x",
     "math:pi", "jnp", "Game"],
)  # fmt: skip
def test_find_names_a_loss_that_is_not_there(name):
    with pytest.raises(UserError) as error:
        losses.find("loss.triplet", name, {})
    assert repr(name) in str(error.value)


# "anchor" is a parameter too, but the codes take its place. (It would be bound, and the first step
# ends with a TypeError.)
@pytest.mark.parametrize("option", ["margins", "anchor"])
def test_find_names_an_option_that_is_not_there(option):
    with pytest.raises(UserError, match=f"'triplet_ranking'.*'{option}'.*'margin'"):
        losses.find("loss.triplet", "triplet_ranking", {option: 1.0})

"""Losses by name: what a mistake in one is told, and the losses of pairs and batches by loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from configs import cnnh_plus_digits_16bit, smoke
from dsh_jax.devices import AXIS
from dsh_jax.errors import UserError
from dsh_jax.fields import nest
from dsh_jax.losses import slots
from dsh_jax.losses.pairs import mean_over_pairs, of_batch
from dsh_jax.methods import METHODS
from dsh_jax.training.experiment import prepare

SIZES = {"num_bits": 5, "classes": 4, "words": 7, "width": 3, "batch": 6}
every_slot = pytest.mark.parametrize("slot", slots.SLOTS)


def total(*arrays):
    return sum(jnp.sum(array * 1.0) for array in arrays)


def scaled(*arrays, scale=1.0):
    return scale * total(*arrays)


jitted = jax.jit(total)


def misspelt(*arrays):
    return no_such_name(*arrays)  # noqa: F821


def of_its_value(*arrays):
    return total(*arrays) if total(*arrays) > 0 else 0.0


def without_gradient(*arrays):
    return jax.lax.while_loop(lambda x: x < 1, lambda x: x * 2, total(*arrays))


def without_message(*arrays):
    raise RuntimeError


def of_five(one, two, three, four, five):
    return total(one, two, three, four, five)


def two_numbers(*arrays):
    return jnp.stack([total(*arrays)] * 2)


def an_integer(*arrays):
    return jnp.int32(total(*arrays))


def a_tuple(*arrays):
    return total(*arrays), total(*arrays)


def nothing(*arrays):
    return None


number = 3


class AClass:
    pass


def config_of(slot, name, options=None):
    fields = {f"loss.{slot}": name} | ({f"loss.{slot}_options": options} if options else {})
    return ConfigDict(nest(fields))


def refusal(call, *arguments, **named):
    with pytest.raises(UserError) as caught:
        call(*arguments, **named)
    sentence = str(caught.value)
    assert sentence.endswith(".") and "\n" not in sentence
    return sentence


# Mistakes.

MISTAKES = {
    "misspelt": ["'no_such_name' is not defined, in line ", " of test_loss_slots.py"],
    "of_five": ["argument"],
    "of_its_value": ["use jnp.where", "in line "],
    "without_gradient": ["gradient", "while_loop"],
    "without_message": ["it gave no message, in line "],
    "two_numbers": ["float32 [2]", "one float"],
    "an_integer": ["int32 []", "one float"],
    "a_tuple": ["a tuple", "one float"],
    "nothing": ["nothing", "one float"],
    "number": ["not a function"],
    "AClass": ["not a function"],
    "absent": ["absent"],
}


@every_slot
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_a_loss_is_one_sentence(slot, mistake):
    name = f"{__name__}:{mistake}"
    sentence = refusal(slots.from_config, config_of(slot, name), slot, **SIZES)
    assert f"loss.{slot} " in sentence and name in sentence and "Error" not in sentence
    assert all(part in sentence for part in MISTAKES[mistake])


@every_slot
@pytest.mark.parametrize("name", ["no_such_module:loss", "no_such_loss", "..x:y", ":", ""])
def test_a_name_that_leads_nowhere(slot, name):
    sentence = refusal(slots.from_config, config_of(slot, name), slot, **SIZES)
    assert sentence.startswith(f"loss.{slot} is {name!r}") and "module:function" in sentence


@every_slot
def test_options_that_a_loss_does_not_take(slot):
    loss = f"{__name__}:scaled"
    sentence = refusal(slots.from_config, config_of(slot, loss, {"sclae": 2.0}), slot, **SIZES)
    assert sentence.startswith(f"loss.{slot} ")
    assert "'sclae'" in sentence and "['scale']" in sentence
    sentence = refusal(slots.from_config, config_of(slot, loss, 2.0), slot, **SIZES)
    assert sentence.startswith(f"loss.{slot}_options is 2.0")


@every_slot
def test_a_right_loss_is_taken_with_its_options(slot):
    arguments = [jnp.ones([SIZES[size] for size in shape]) for shape in slots.SLOTS[slot].values()]
    config = config_of(slot, f"{__name__}:scaled", {"scale": 2.0})
    loss = slots.from_config(config, slot, **SIZES)
    assert float(loss(*arguments)) == 2 * float(total(*arguments))
    assert slots.from_config(config_of(slot, f"{__name__}:jitted"), slot, **SIZES)


def integers():
    return slots.Game(lambda logit, is_real: jnp.int32(logit), lambda logit: -logit)


def vectors():
    return slots.Game(lambda logit, is_real: logit * is_real, lambda logit: jnp.stack([logit] * 2))


def broken():
    return slots.Game(lambda logit, is_real: logit * is_real, misspelt)


def other_arguments():
    return slots.Game(lambda logit: logit, lambda logit: logit)


@pytest.mark.parametrize(
    ("name", "named"),
    [("integers", "discriminate of loss.adversarial"), ("integers", "int32 []"),
     ("vectors", "deceive of loss.adversarial"), ("vectors", "float32 [2]"),
     ("nothing", "not a game, as it returns nothing"), ("total", "not a game"),
     ("misspelt", "'no_such_name' is not defined, in line "),
     ("broken", "deceive of loss.adversarial"), ("broken", "(logit []): name 'no_such_name'"),
     ("other_arguments", "discriminate of loss.adversarial")],
)  # fmt: skip
def test_a_mistake_in_a_game_is_one_sentence(name, named):
    sentence = refusal(slots.game, config_of("adversarial", f"{__name__}:{name}"))
    assert "loss.adversarial " in sentence and named in sentence and "Error" not in sentence


@pytest.mark.parametrize("slot", ["triplet", "classification", "quantization", "pair", "batch",
                                  "center", "adversarial", "code"])  # fmt: skip
def test_a_mistake_is_told_before_anything_is_written(slot, tmp_path):
    config = smoke.get_config()
    if slot == "code":
        config = smoke.shrink(cnnh_plus_digits_16bit.get_config())
    config.loss[slot] = f"{__name__}:misspelt"
    assert refusal(prepare, config, tmp_path / "run").startswith(f"loss.{slot} ")
    assert not list(tmp_path.iterdir())


def test_every_slot_is_a_field_of_a_method():
    fields = {field for recipe in METHODS.values()
              for field in {**recipe.fields, **recipe.optional}}  # fmt: skip
    assert {f"loss.{slot}" for slot in slots.SLOTS} <= fields


@pytest.mark.parametrize(
    ("gan", "triplets", "rows"),
    [(True, "synthetic", 3 * 4), (True, "real", 3 * 4), (False, "real", 3 * 8), (False, "none", 8)],
)
def test_a_loss_of_a_batch_is_tried_on_the_batch_that_it_will_get(gan, triplets, rows, tmp_path):
    config = smoke.get_config()
    config.update(batch_size=8, anchor_every=2, gan=gan, triplets=triplets)
    config.loss.batch = f"{__name__}:of_rows"
    config.loss.batch_options = {"rows": rows}
    prepare(config, tmp_path)
    config.loss.batch_options = {"rows": 5}
    assert f"{rows} rows" in refusal(prepare, config, tmp_path)


def of_rows(code_logits, labels, *, rows):
    if len(code_logits) != rows or len(labels) != rows:
        raise ValueError(f"{len(code_logits)} rows")
    return code_logits.sum()


# Pairs and batches against loops. Two devices are two rows of one axis, which vmap names.

RNG = np.random.default_rng(0)
CODES = RNG.normal(size=(6, 5)).astype(np.float32)
LABELS = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 1], [0, 1, 0], [0, 0, 0], [1, 0, 1]], np.float32)
devices = pytest.mark.parametrize("devices", [1, 2, 3])


def dpsh(a, b, similar, *, eta=0.0):
    theta = a @ b / 2
    quantization = jnp.sum((jnp.sign(a) - a) ** 2) + jnp.sum((jnp.sign(b) - b) ** 2)
    return jax.nn.softplus(theta) - similar * theta + eta * quantization


def one_sided(a, b, similar):
    """Not symmetric, and not the same for similar and dissimilar items."""
    return (1 + similar) * jnp.tanh(a[0] - 2 * b[1]) + jnp.sum(a * a)


def distance(a, b, similar):
    """Its gradient is NaN where a = b."""
    return similar * jnp.linalg.norm(a - b)


def spread(code_logits, labels):
    """No mean over rows: the whole batch at once."""
    return jnp.linalg.norm(code_logits.T @ labels) + jnp.prod(jnp.tanh(code_logits[:, 0]))


def by_loop(loss, codes, labels):
    """The mean over all ordered pairs."""
    values = [
        loss(a, b, float(la @ lb > 0))
        for i, (a, la) in enumerate(zip(codes, labels, strict=True))
        for j, (b, lb) in enumerate(zip(codes, labels, strict=True))
        if i != j
    ]
    return sum(values) / len(values)


def on_devices(function, devices, *arrays):
    """A function under the axis of the devices, each with its equal share of the rows."""
    shared = [array.reshape(devices, -1, *array.shape[1:]) for array in arrays]
    return jax.jit(jax.vmap(function, axis_name=AXIS))(*shared)


@devices
@pytest.mark.parametrize("loss", [dpsh, one_sided, distance])
def test_the_mean_over_pairs_by_a_loop(loss, devices):
    def mean(codes, labels):
        return mean_over_pairs(loss, codes, labels)

    values = on_devices(mean, devices, CODES, LABELS)
    assert values.shape == (devices,)
    assert float(values.mean()) == pytest.approx(float(by_loop(loss, CODES, LABELS)), rel=1e-5)


@devices
def test_a_batch_is_the_whole_batch_on_every_device(devices):
    values = on_devices(lambda c, y: of_batch(spread, c, y), devices, CODES, LABELS)
    np.testing.assert_allclose(values, [spread(CODES, LABELS)] * devices, rtol=1e-5)


WEIGHTS = RNG.normal(size=(5, 4)).astype(np.float32)


@devices
@pytest.mark.parametrize(
    ("parallel", "whole"),
    [*((lambda c, y, of=of: mean_over_pairs(of, c, y), lambda c, y, of=of: by_loop(of, c, y))
       for of in (dpsh, one_sided, distance)),
     (lambda c, y: of_batch(spread, c, y), spread)],
    ids=["dpsh", "one_sided", "distance", "batch"],
)  # fmt: skip
def test_gradients_averaged_over_devices_are_those_of_the_whole_batch(parallel, whole, devices):
    """As `methods.base.update` averages them: each device has a copy of the parameters."""

    def step(inputs, labels):
        gradient = jax.grad(lambda weights: parallel(inputs @ weights, labels))(WEIGHTS)
        return jax.lax.pmean(gradient, AXIS)

    gradients = on_devices(step, devices, CODES, LABELS)
    wanted = jax.jit(jax.grad(lambda weights: whole(CODES @ weights, LABELS)))(WEIGHTS)
    for gradient in gradients:
        np.testing.assert_allclose(gradient, wanted, rtol=1e-4, atol=1e-5)


def test_similar_items_share_a_label():
    seen = on_devices(
        lambda c, y: mean_over_pairs(lambda a, b, similar: similar, c, y), 1, CODES, LABELS
    )
    # Of 30 ordered pairs those of rows 0-1, 0-5, 1-3, 1-5, 2-5 share one; row 4 has no label.
    assert float(seen[0]) == pytest.approx(2 * 5 / 30)


def test_a_single_item_has_no_pairs():
    value = on_devices(lambda c, y: mean_over_pairs(dpsh, c, y), 1, CODES[:1], LABELS[:1])
    np.testing.assert_array_equal(value, [0.0])

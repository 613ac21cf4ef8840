"""Every config that ships builds and steps; every field says what it means."""

import importlib
import inspect
import re
import sys
from functools import partial
from itertools import product
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl import flags
from ml_collections import ConfigDict, config_flags

from configs import arms, cnnh, default, image_files, image_folder, smoke
from dsh_jax.data.images.dataset import ImageDataset
from dsh_jax.data.images.loading import FILES as IMAGE_FILES
from dsh_jax.data.loading import fields_of
from dsh_jax.data.vectors.dataset import VectorDataset
from dsh_jax.devices import AXIS, compile_step, replicate, shard, unreplicate
from dsh_jax.errors import UserError
from dsh_jax.losses.slots import OPTIONS
from dsh_jax.methods import dsh_gan_steps
from dsh_jax.methods.kinds import OPTIONAL
from dsh_jax.methods.players import ENCODER
from dsh_jax.training.experiment import build_method, signature_of

FOLDER = Path(default.__file__).parent
IMAGE_SHAPES = {"cifar10": (32, 32, 3), "digits": (8, 8, 1), "image_files": (64, 64, 3),
                "multi_digits": (16, 16, 1), "nus_wide": (64, 64, 3)}  # fmt: skip
WIDTH = 12  # of vectors
NUM_CLASSES = 10
PLAYERS = ("generator", "representation", "adversary", "hash", "classification")


ARMS = [name + more for name in arms.NAMES for more in ("", "+consistency")]


def parameters(module):
    return inspect.signature(module.get_config).parameters


def commands(name, module):
    """What may follow `--config`, without the suffix, and the function that it calls."""
    if any(p.default is p.empty for p in parameters(module).values()):
        return {}  # called by other configs alone
    if not parameters(module):
        return {name: module.get_config}
    (argument,) = parameters(module)
    values = {"num_bits": ("12", "48"), "name": ARMS, "arm": ("reuters-rotated", "reuters-all")}
    return {f"{name}:{value}": partial(module.get_config, value) for value in values[argument]}


MODULES = {path.stem: importlib.import_module(f"configs.{path.stem}")
           for path in sorted(FOLDER.glob("*.py")) if path.stem != "__init__"}  # fmt: skip
WITH_BITS = [name for name, module in MODULES.items() if f"{name}:48" in commands(name, module)]
CONFIGS = {command: get_config for name, module in MODULES.items()
           for command, get_config in commands(name, module).items()}  # fmt: skip
# Configs of images; those of documents are tested with their methods.
NAMES = [name for name, get_config in CONFIGS.items()
         if get_config().method in ("dsh_gan", "cnnh")]  # fmt: skip
GAN_NAMES = [name for name in NAMES if CONFIGS[name]().method == "dsh_gan"]


def shrunk(name, triplets=""):
    """The config in small; with the triplets named, and the GAN if they are synthetic."""
    config = smoke.shrink(CONFIGS[name]())
    if name in GAN_NAMES and triplets:
        config.update(triplets=triplets, gan=triplets == "synthetic")
    return config


def items(config, n):
    """Random items as a data set gives them: their name in a batch, and an array."""
    rng = np.random.default_rng(0)
    if config.data.source == "features":
        return "vector", rng.standard_normal((n, WIDTH)).astype(np.float32)
    shape = IMAGE_SHAPES[config.data.source]
    return "image", rng.integers(0, 256, (n, *shape), dtype=np.uint8)


def build(config):
    name, array = items(config, 1)
    common = {"name": config.data.source, "version": "1", "labels": np.zeros(1, np.int32),
              "is_test": np.zeros(1, bool),
              "class_names": tuple(map(str, range(NUM_CLASSES)))}  # fmt: skip
    if name == "image":
        dataset = ImageDataset(images=array, **common)
    else:
        dataset = VectorDataset(vectors=array, normalise="l2", **common).fit(np.arange(1), None)
    return build_method(config, signature_of(config, dataset))


def random_batch(config, stage):
    rng = np.random.default_rng(0)
    size, unlabeled_size = config.batch_size, stage.batch.unlabeled_batch_size
    name, drawn = items(config, 3 * size + unlabeled_size)
    positive, negative, labeled, unlabeled = np.split(drawn, [size, 2 * size, 3 * size])
    label = np.eye(NUM_CLASSES, dtype=np.float32)[rng.integers(0, NUM_CLASSES, size)]
    batch = {name: labeled, "label": label, "position": np.arange(size, dtype=np.int32)}
    if stage.batch.unlabeled_batch_size:
        batch[f"unlabeled_{name}"] = unlabeled
        batch["unlabeled_position"] = np.arange(size, size + unlabeled_size, dtype=np.int32)
    if config.method == "cnnh":
        batch["target"] = rng.choice(np.float32([-1, 1]), (size, config.num_bits))
    if stage.batch.real_triplets:
        others = {"positive": positive, "negative": negative}
        batch |= {f"{role}_{name}": of_role for role, of_role in others.items()}
        batch |= {f"{role}_label": np.roll(label, 1, axis=1) for role in others}
    return batch


def as_shapes(tree):
    return jax.tree.map(lambda leaf: (jnp.shape(leaf), jnp.result_type(leaf)), tree)


def structure(value):
    """A field's value; of a number only whether it is 0, which switches a part off."""
    if isinstance(value, ConfigDict):
        return {name: structure(field) for name, field in value.items()}
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value != 0 if is_number else value


def first_of_their_kind():
    """Names of configs whose steps, once shrunk, differ in more than dtype and sizes."""
    kinds = {}
    for name in NAMES:
        config = shrunk(name)
        config.update(dtype="float32", data=ConfigDict({"source": config.data.source}))
        kinds.setdefault(str(structure(config)), name)
    arms_again = [f"cifar10_arms:{arm}" for arm in ARMS[1:]]  # digits_arms has them all
    return sorted(set(kinds.values()).difference(arms_again))


def test_kinds_are_fewer_than_configs():
    assert 1 < len(first_of_their_kind()) < len(NAMES)
    assert shrunk(first_of_their_kind()[0]).dtype == "bfloat16"  # the harder one


# In the short suite the arm with the whole game and consistency stands for these.
ALIKE = ("nus_wide:12", "cifar10_arms:gan", "digits_arms:gan", "digits_arms:gan_real",
         "digits_arms:gan_real+consistency", "digits_arms:network",
         "digits_arms:network+consistency")  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_every_config_builds_and_encodes(name):
    config = shrunk(name)
    method = build(config)
    two = name in GAN_NAMES and (config.gan or config.consistency.batch_size)
    assert [stage.num_steps for stage in method.stages] == ([2, 4] if two else [4])
    state = jax.eval_shape(method.init, jax.random.key(0))
    name, of_batch = items(config, config.encode_batch_size)
    codes = jax.eval_shape(method.encode, state, {name: of_batch})
    shape = config.encode_batch_size, config.num_bits
    assert (codes.shape, codes.dtype) == (shape, jnp.float32)


def assert_steps_keep_shapes(config):
    """Every step gives a state of the same shapes, and scalars as metrics; returns the state's."""
    method = build(config)
    state = jax.eval_shape(method.init, jax.random.key(0))
    for stage in method.stages:
        # A device axis of one, as the parallel module gives it.
        step = jax.vmap(stage.step, in_axes=(0, 0, None), axis_name=AXIS)
        stacked, batch = (
            jax.tree.map(lambda x: jax.ShapeDtypeStruct((1, *x.shape), x.dtype), tree)
            for tree in (state, random_batch(config, stage))
        )
        after, metrics = jax.eval_shape(step, stacked, batch, jax.random.key(0))
        assert as_shapes(after) == as_shapes(stacked)
        assert metrics and {leaf.shape for leaf in metrics.values()} == {(1,)}
    return state


@pytest.mark.parametrize(
    ("name", "triplets"),
    [*product([name for name in first_of_their_kind() if name not in ALIKE], [""]),
     *(pytest.param(name, "", marks=pytest.mark.long) for name in ALIKE),
     pytest.param("cifar10_48bit_best", "synthetic", marks=pytest.mark.long),
     ("cifar10_48bit_best", "real"), ("digits_16bit", "real"), ("digits_16bit", "none")],
)  # fmt: skip
def test_steps_keep_the_state_in_shape(name, triplets):
    # Traced, not compiled: that takes a part of the time and finds what does not fit.
    config = shrunk(name, triplets)
    assert_steps_keep_shapes(config)


def method_players(name):
    return ENCODER if "plus" in name else ENCODER[:2]


# The small convolutional network with all its players, the wide residual one in bfloat16 with the
# hash step alone, which takes a third of the time to compile. The smoke config is trained from end
# to end elsewhere.
@pytest.mark.parametrize(
    ("name", "triplets"),
    [("cifar10_48bit_cpu", "synthetic"), ("cifar10:12", "real"),
     ("cnnh_plus_digits_16bit", ""), ("cnnh_cifar10:48", "")],
)  # fmt: skip
def test_a_last_stages_step_runs(name, triplets):
    config = shrunk(name, triplets)
    method = build(config)
    stage, devices = method.stages[-1], jax.local_devices()[:1]
    state = jax.tree.map(np.asarray, jax.jit(method.init)(jax.random.key(0)))
    step = compile_step(stage.step, 0, devices)
    batch = shard(random_batch(config, stage), devices)
    after, metrics = unreplicate(step(replicate(state, devices), batch))
    assert all(np.isfinite(value) for value in metrics.values())
    assert after.step == 1
    owned = {"synthetic": PLAYERS, "real": dsh_gan_steps.HASH, "": method_players(name)}
    for player in owned[triplets]:
        for old, new in zip(*(jax.tree.leaves(s.params[player]) for s in (state, after)),
                            strict=True):  # fmt: skip
            assert np.isfinite(new).all() and not np.array_equal(old, new)


@pytest.mark.parametrize("name", GAN_NAMES)
def test_config_has_the_default_fields(name):
    def fields(config, prefix=""):
        return {f for key, value in config.items() for f in
                (fields(value, f"{prefix}{key}.") if isinstance(value, ConfigDict)
                 else {prefix + key})
                if not f.startswith(OPTIONS)}  # fmt: skip

    config = CONFIGS[name]()
    wanted = default.get_config()
    if name.startswith("features"):  # of vectors, with fields of their own
        wanted = fields(wanted) | fields(cnnh.get_config(48, class_outputs=True))
        own = {field for field in fields(config) if field.split(".")[0] != "data"}
        assert own - set(OPTIONAL) == {f for f in wanted if f.split(".")[0] != "data"}
        assert {f for f in fields(config) if f.startswith("data.")} >= {*fields_of(config.data)}
        return
    if config.data.source in IMAGE_FILES:
        wanted = image_files.get_config(wanted, config.data.source, 32)
    if name in ("image_folder", "resnet50", "vit"):  # of any method for images
        assert fields(config) == fields(wanted) | fields(cnnh.get_config(48, class_outputs=True))
        return
    assert fields(config) == fields(wanted)


@pytest.mark.parametrize(
    ("method", "network"),
    [("cnnh", "whitened"), ("cnnh", "conv3"), ("dsh_gan", "alexnet"), ("dsh_gan", "wide_resnet"),
     ("gan", "whitened")],
)  # fmt: skip
def test_own_images_take_any_method_and_network_by_their_fields(method, network):
    config = smoke.shrink(image_folder.get_config())
    config.representation.name = network
    if method == "gan":
        config.update(gan=True, triplets="synthetic")
    else:
        config.method = method
    state = jax.eval_shape(build(config).init, jax.random.key(0))
    features = state.params["hash"]["Dense_0"]["kernel"].shape[0]
    assert features == {"conv3": 500, "alexnet": 4096}.get(network, 32)


@pytest.mark.parametrize(
    "fields",
    [{"method": "cnnh"}, {"method": "cnnh", "class_outputs": False},
     {"gan": False, "triplets": "real"}, {"consistency.batch_size": 8},
     {"representation.depth": 0}, {"representation.norm": "batch", "representation.depth": 3},
     {"representation.spectral_norm": True, "dtype": "bfloat16"}],
    ids=str,
)  # fmt: skip
def test_vectors_take_any_method_by_its_fields(fields):
    config = smoke.shrink(CONFIGS["features"]())
    config.update_from_flattened_dict(fields)
    state = assert_steps_keep_shapes(config)
    layers = len(jax.tree.leaves(state.params["representation"]))
    assert (layers == 0) == (config.representation.depth == 0)


@pytest.mark.parametrize("name", MODULES)
def test_config_says_what_it_is(name):
    assert MODULES[name].__doc__ and MODULES[name].get_config.__doc__


def test_a_config_with_bits_in_its_name_has_them():
    named = {name: int(found[1]) for name in CONFIGS if (found := re.search(r"[_:](\d+)", name))}
    assert {"cifar10_48bit", "digits_16bit", "nus_wide:12"} <= named.keys()
    assert {name: CONFIGS[name]().num_bits for name in named} == named


def test_configs_that_take_bits():
    assert WITH_BITS == ["cifar10", "cnnh_cifar10", "cnnh_plus_cifar10", "nus_wide"]
    assert CONFIGS["cifar10:48"]() == CONFIGS["cifar10_48bit"]()


@pytest.mark.parametrize("bits", ["", "0", "-8", "48bit", "4.8", " 48"])
@pytest.mark.parametrize("name", WITH_BITS)
def test_bits_that_are_missing_or_not_a_number(name, bits):
    error = f"configs/{name}.py takes the number of bits after a colon, as in --config "
    error += f"configs/{name}.py:48" + (f", not {bits!r}." if bits else ".")
    with pytest.raises(UserError, match=f"^{re.escape(error)}$"):
        MODULES[name].get_config(*[bits] * bool(bits))


def test_arms_differ_in_what_their_names_say():
    configs = {name: CONFIGS[f"digits_arms:{name}"]() for name in ARMS}
    game = configs["gan+consistency"]

    def changed(name):
        config = configs[name]
        return {field for field in ("gan", "triplets", "num_steps", "pretraining_steps")
                if config[field] != game[field]} | {
            "consistency" for _ in "a" if config.consistency != game.consistency}  # fmt: skip

    assert changed("gan") == {"consistency"}
    assert changed("gan_real+consistency") == {"triplets"}
    assert changed("network+consistency") == {"gan", "triplets", "num_steps", "consistency"}
    # As many updates of the shared network: one in a step of pre-training, two in a joint one.
    updates = game.pretraining_steps + 2 * game.num_steps
    assert configs["network"].num_steps == updates
    both = configs["network+consistency"]
    assert both.pretraining_steps + both.num_steps == updates
    # And as many strong views.
    views = [c.num_steps * c.consistency.batch_size for c in (game, both)]
    assert views[0] == views[1] > 0
    rest = [c.copy_and_resolve_references() for c in configs.values()]
    for config in rest:
        config.update(gan=True, triplets="", num_steps=0)
        config.consistency.batch_size = 0
        # The two that are tuned for each arm.
        config.optimizer.hash.learning_rate = config.loss.weights.triplet = 1.0
    assert all(config == rest[0] for config in rest)


@pytest.mark.parametrize("name", ["", "gans", "gan+", "+consistency", "network+gan"])
def test_an_arm_that_is_none(name):
    with pytest.raises(UserError, match="takes an arm after a colon, gan, gan_real, network"):
        MODULES["digits_arms"].get_config(name)


def test_cnnh_has_the_fields_that_methods_share():
    plus, without = (CONFIGS[f"{name}:48"]() for name in ("cnnh_plus_cifar10", "cnnh_cifar10"))
    assert plus.class_outputs and not without.class_outputs
    assert plus.data == default.get_config().data
    digits = CONFIGS["cnnh_plus_digits_16bit"]()
    assert digits.data == CONFIGS["digits_16bit"]().data


def test_every_field_has_a_comment():
    # On its line or the one above, which may be shared with the field before. `config.a.b =` and
    # the entries of a dict are fields; what only holds fields is none.
    field = re.compile(r'\s+(config(\.\w+)+ =|"\w+":) (?!ConfigDict\(\)|adam\()')
    lines = Path(default.__file__).read_text().splitlines()
    commented, found = False, 0
    for above, line in zip(lines, lines[1:], strict=False):
        is_field = field.match(line)
        shares = commented and field.match(above) and "#" not in above
        commented = "#" in line or above.lstrip().startswith("#") or bool(is_field and shares)
        if is_field:
            found += 1
            assert commented, line
    assert found > 45


def parsed(monkeypatch, *overrides):
    """The smoke config with overrides, by the flags that `train.py` has."""
    argv = ["train.py", f"--config={smoke.__file__}", *overrides]
    monkeypatch.setattr(sys, "argv", argv)  # where ml_collections looks for overrides
    values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", flag_values=values)
    values(argv)
    return values.config


@pytest.mark.parametrize("field", ["num_bit", "loss.margin", "optimizer.hash.momentum"])
def test_a_field_that_does_not_exist_cannot_be_set(monkeypatch, field):
    assert parsed(monkeypatch, "--config.optimizer.hash.b1=0.25").optimizer.hash.b1 == 0.25
    with pytest.raises(AttributeError, match=field.rpartition(".")[2]):
        parsed(monkeypatch, f"--config.{field}=1")


def test_shrunk_configs_are_small():
    for name in NAMES:
        config = shrunk(name, "synthetic")
        assert config.batch_size <= 8 and config.num_steps <= 4 and config.representation.width <= 8

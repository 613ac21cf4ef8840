"""Training on pretrained networks, frozen and not, with tiny ones."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from ml_collections import ConfigDict
from PIL import Image
from signatures import image_signature

from configs import image_folder, smoke
from dsh_jax import load_encoder
from dsh_jax.checkpoints import Checkpoints
from dsh_jax.data.images.augment import augment
from dsh_jax.data.signature import ImageInputs, Signature, from_dict
from dsh_jax.devices import AXIS
from dsh_jax.errors import UserError
from dsh_jax.methods import optimizers
from dsh_jax.methods.dsh_gan_generator import build_generator
from dsh_jax.networks.resized import Resized
from dsh_jax.pretrained import weights
from dsh_jax.pretrained.settings import Settings, check, of_config
from dsh_jax.training import loop
from dsh_jax.training.automatic import settled
from dsh_jax.training.experiment import build_method, find_recipe, load_data
from dsh_jax.training.features import with_known_features
from dsh_jax.training.preview import preview
from dsh_jax.training.workdir import check_same_config
from tests.pretrained_files import shapes, write


def config_of(**more):
    config = smoke.shrink(image_folder.get_config())
    config.pretrained.weights = ""
    config.update_from_flattened_dict({
        "num_bits": 8, "num_steps": 2, "eval_every_steps": 2, "representation.name": "tiny_vit",
        "data.queries_per_class": 2, "data.validation_per_class": 2, "batch_size": 4, **more,
    })  # fmt: skip
    return config


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A workdir of a frozen network, the folder of its images, and the file of its weights."""
    root = tmp_path_factory.mktemp("frozen")
    rng = np.random.default_rng(0)
    for label in range(2):
        for number in range(8):
            pixels = rng.integers(0, 100, (40, 48, 3)) + 100 * label
            (root / f"photos/{label}").mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).save(root / f"photos/{label}/{number}.png")
    file = write(root / "vit.safetensors", "tiny_vit")
    config = config_of(**{
        "pretrained.weights": str(file), "data.root": str(root / "photos"),
        "data.cache_dir": str(root / "cache"), "optimizer.hash.weight_decay": 0.1,
    })  # fmt: skip
    loop.train(config, root / "run", {"command": ""})
    return root, config, file


def test_a_frozen_network_keeps_its_weights_in_the_workdir(trained):
    root, _, file = trained
    encoder = load_encoder(root / "run")
    backbone = weights.variables(file, "tiny_vit", shapes("tiny_vit", 32))
    found = encoder._variables["representation"]["params"]["backbone"]
    jax.tree.map(np.testing.assert_array_equal, found, backbone["params"])
    assert np.any(encoder._variables["representation"]["batch_stats"]["standardised"]["mean"])


def test_its_optimizer_keeps_nothing_of_it(trained):
    root, _, _ = trained
    leaves = Checkpoints(root / "run/checkpoints").record(2).leaves
    assert any(name.startswith("opt_state/") and "/hash/" in name for name in leaves)
    assert not any(name.startswith("opt_state/") and "backbone" in name for name in leaves)


def test_its_features_are_kept_beside_the_images(trained):
    root, _, file = trained
    (path,) = (root / "cache").glob("photos-*.npy")
    features = np.load(path)
    assert features.shape == (16, 2, 16)  # of each image and its mirror image
    encoder = load_encoder(root / "run")
    assert encoder.signature.inputs.interpolation == "bicubic"
    files = sorted((root / "photos").glob("*/*.png"))
    stats = encoder._variables["representation"]["batch_stats"]["standardised"]
    standardised = (features - stats["mean"]) / stats["std"] * (3 / 4)
    found = encoder.features(files)
    np.testing.assert_allclose(found, standardised.mean(1), atol=1e-3)


def test_evaluation_takes_the_features_that_are_kept(trained, monkeypatch):
    root, config, _ = trained
    encoder = load_encoder(root / "run")
    dataset, split = load_data(config, root / "run")
    known = with_known_features(settled(config), dataset, encoder.variables)
    taken = []
    take = type(known).take
    monkeypatch.setattr(type(known), "take", lambda self, ids: taken.append(ids) or take(self, ids))
    codes = [encoder.encode_dataset(items, split.database, finish=np.asarray)
             for items in (known, dataset)]  # fmt: skip
    np.testing.assert_allclose(*codes, atol=1e-3)
    assert taken and known.take(split.query)["image"].shape == (4, 2, 16)
    # Rows may be others, of a data set that says it is the same.
    moved = dataset.arranged(np.arange(16)[::-1], labels=dataset.labels,
                             contents=dataset.contents[::-1])  # fmt: skip
    assert with_known_features(settled(config), moved, encoder.variables) is moved


def test_features_that_are_cut_off_are_not_used(trained):
    root, config, _ = trained
    (path,) = (root / "cache").glob("photos-*.npy")
    whole = path.read_bytes()
    path.write_bytes(whole[:-8])
    try:
        dataset, _ = load_data(config, root / "run")
        encoder = load_encoder(root / "run")
        assert with_known_features(settled(config), dataset, encoder.variables) is dataset
    finally:
        path.write_bytes(whole)


def test_an_encoder_file_and_a_longer_run_need_the_weights_no_more(trained, tmp_path):
    root, config, file = trained
    encoder = load_encoder(root / "run")
    encoder.save(tmp_path / "a.safetensors")
    files = sorted((root / "photos").glob("*/*.png"))
    again = load_encoder(tmp_path / "a.safetensors")
    np.testing.assert_array_equal(again.encode(files), encoder.encode(files))
    assert again.signature.inputs.mean == (0.5, 0.5, 0.5)
    kept = file.read_bytes()
    file.unlink()
    try:
        config.num_steps = 3
        loop.train(config, root / "run", {"command": ""})
    finally:
        file.write_bytes(kept)
    assert Checkpoints(root / "run/checkpoints").latest() == 3


def test_mistakes_are_found_before_the_data_is_read(tmp_path):
    file = write(tmp_path / "a.safetensors", "tiny_resnet")
    config = config_of(**{"pretrained.weights": str(file), "data.root": str(tmp_path / "none")})
    with pytest.raises(UserError, match="the first missing is blocks.0.attn.proj.bias"):
        loop.train(config, tmp_path / "run", {"command": ""})
    assert not (tmp_path / "run").exists()
    config.pretrained.weights = "default"
    with pytest.raises(UserError, match="none are published for tiny_vit"):
        check(config)
    config.representation.name = "whitened"
    config.pretrained.weights = str(file)
    with pytest.raises(UserError, match="a network without published weights"):
        check(config)


@pytest.mark.parametrize(
    ("field", "value"),
    [("frozen", 1), ("weights", None), ("learning_rate_scale", -0.1), ("layer_decay", 0.0),
     ("frozen_batch_norm", "yes"), ("layer_decay", ConfigDict({"a": 1}))],
)  # fmt: skip
def test_values_that_a_field_cannot_have(field, value):
    config = config_of()
    with config.ignore_type():
        config.pretrained[field] = value
    with pytest.raises(UserError, match=f"^pretrained.{field} is .*; set it to "):
        find_recipe(config)


def test_a_frozen_networks_features_are_of_images_in_their_place():
    config = config_of()
    config.update(shifted=1)
    config.pretrained.frozen = True
    signature = Signature(ImageInputs(32, 32, 3), "single", ("a", "b"))
    with pytest.raises(UserError, match="features of a frozen network are computed once"):
        find_recipe(config).build(config, signature)


def test_automatic_fields():
    config = image_folder.get_config()
    small = settled(config)
    assert (small.data.image_size, small.data.interpolation) == (64, "lanczos")
    assert (small.augment.crop_padding, small.consistency.cutout) == (8, 32)
    assert small.consistency.batch_size == -1  # depends on the data
    config.representation.name = "resnet50"
    large = settled(config)
    assert (large.data.image_size, large.data.interpolation) == (224, "bilinear")
    assert (large.augment.crop_padding, large.consistency.batch_size) == (28, 0)
    assert settled(large).to_dict() == large.to_dict()
    assert (small.encode_batch_size, large.encode_batch_size) == (500, 64)
    config.data.image_size = 128
    assert settled(config).data.image_size == 128


def test_runs_of_earlier_versions_go_on(tmp_path):
    config = settled(image_folder.get_config())
    before = config.to_dict()
    del before["pretrained"], before["generator"]["image_size"], before["data"]["interpolation"]
    del before["augment"]["least_area"], before["augment"]["colour"]
    (tmp_path / "config.json").write_text(json.dumps(before))
    (tmp_path / "checkpoints/5").mkdir(parents=True)
    assert check_same_config(tmp_path, config)
    config.data.interpolation = "bilinear"
    with pytest.raises(UserError, match="data.interpolation \\('lanczos' there, 'bilinear' now\\)"):
        check_same_config(tmp_path, config)


def test_configs_of_earlier_versions_have_none_of_the_fields():
    config = smoke.get_config()
    for group in (config, config.data, config.generator):
        with group.unlocked():
            for name in ("pretrained", "interpolation", "image_size"):
                if name in group:
                    del group[name]
    find_recipe(config)
    assert of_config(config) is None


def parameters():
    names = ("conv1", "layer1_0", "layer4_0")
    backbone = {name: {"kernel": jnp.ones((2, 2))} for name in names}
    return {"representation": {"backbone": backbone}, "hash": {"kernel": jnp.ones((2, 2))}}


def changes(settings):
    """How far each kernel moves in one step of SGD at a rate of 1, with a gradient of 1."""
    params = parameters()
    tx = optimizers.for_backbone(optax.sgd(1.0), settings)
    updates, _ = tx.update(jax.tree.map(jnp.ones_like, params), tx.init(params), params)
    backbone = updates["representation"]["backbone"]
    found = [backbone[name]["kernel"] for name in ("conv1", "layer1_0", "layer4_0")]
    return [-float(x[0, 0]) for x in [*found, updates["hash"]["kernel"]]]


def test_learning_rates_of_the_backbone():
    assert changes(Settings("resnet18")) == [1, 1, 1, 1]
    assert changes(Settings("resnet18", learning_rate_scale=0.5)) == [0.5, 0.5, 0.5, 1]
    assert changes(Settings("resnet18", frozen=True)) == [0, 0, 0, 1]
    # What follows the last of four layers would have a factor of 1.
    decayed = changes(Settings("resnet18", learning_rate_scale=0.5, layer_decay=0.5))
    assert decayed == [0.5 * 0.5**5, 0.5 * 0.5**4, 0.5 * 0.5, 1]


def test_batch_statistics_are_used_only_where_they_are_free():
    assert Settings("resnet18", frozen_batch_norm=False).uses_batch_statistics
    assert not Settings("resnet18", frozen=True, frozen_batch_norm=False).uses_batch_statistics
    assert not Settings("resnet18").uses_batch_statistics
    assert not Settings("vit_s16", frozen_batch_norm=False).uses_batch_statistics


def test_a_view_of_features_is_that_of_the_image_or_of_its_mirror_image():
    features = jnp.stack([jnp.zeros((64, 3)), jnp.ones((64, 3))], axis=1)
    keys = jax.random.split(jax.random.key(0), 64)
    assert not augment(keys, features, crop_padding=4, flip=False).any()
    drawn = np.asarray(augment(keys, features, crop_padding=4, flip=True))
    assert drawn.shape == (64, 3) and 10 < drawn[:, 0].sum() < 54
    images = jnp.tile(jnp.arange(2.0)[None, None, :, None], (64, 2, 1, 1))
    flipped = augment(keys, images, crop_padding=0, flip=True)[:, 0, 0, 0]
    np.testing.assert_array_equal(drawn[:, 0], flipped)


def test_synthetic_images_are_resized_with_gradients():
    config = settled(config_of(gan=True, triplets="synthetic"))
    signature = image_signature((224, 224, 3), 2)
    config.representation.name = "resnet50"
    generator = build_generator(config, signature)
    assert isinstance(generator, Resized) and generator.generator.image_shape == (64, 64, 3)

    class Dots(type(generator.generator)):
        def __call__(self, z, label, *, train):
            return jnp.tanh(z.reshape(1, 2, 2, 1))

    resized = Resized(Dots((8, 8, 1), 8), (6, 6))
    z = jnp.array([[0.1, 0.2, 0.3, 0.4]])
    images = resized.apply({}, z, None, train=False)
    assert images.shape == (1, 6, 6, 1)
    np.testing.assert_allclose(images[0, ::5, ::5, 0], jnp.tanh(z.reshape(2, 2)), atol=1e-6)
    gradient = jax.grad(lambda z: resized.apply({}, z, None, train=False).sum())(z)
    np.testing.assert_allclose(gradient, 9 * (1 - jnp.tanh(z) ** 2), rtol=1e-5)
    config.representation.name = "conv3"
    with pytest.raises(ValueError, match="cannot draw 224x224 images"):
        build_generator(config, signature)
    config.generator.image_size = 32
    assert build_generator(config, signature).generator.image_shape == (32, 32, 3)


def test_signatures_say_how_images_are_resized_and_normalised():
    old = image_signature((8, 8, 3), 2).to_dict()
    assert set(old["inputs"]) == {"height", "width", "channels", "jpeg_quality"}
    inputs = ImageInputs(8, 8, 3, 95, "bilinear", (0.1, 0.2, 0.3), (1.0, 2.0, 3.0))
    new = old | {"inputs": inputs.to_dict()}
    assert from_dict(new).inputs == inputs
    for wrong in ({"interpolation": "box"}, {"mean": [0.1]}, {"std": [1, 0, 1]}, {"mean": []}):
        with pytest.raises(ValueError):
            from_dict(old | {"inputs": inputs.to_dict() | wrong})
    pixels = np.random.default_rng(0).integers(0, 256, (20, 20, 3)).astype(np.uint8)
    image = Image.fromarray(pixels)
    wanted = np.asarray(image.resize((8, 8), Image.Resampling.BILINEAR))
    found = ImageInputs(8, 8, 3, 0, "bilinear").pixels(image)
    np.testing.assert_array_equal(found, wanted)
    assert np.any(found != ImageInputs(8, 8, 3).pixels(image))


@pytest.mark.parametrize(
    ("method", "more"),
    [("dsh_gan", {"gan": True, "triplets": "synthetic"}), ("dsh_gan", {"triplets": "real"}),
     ("dsh_gan", {"gan": True, "triplets": "real", "consistency.batch_size": 8}), ("cnnh", {})],
)  # fmt: skip
@pytest.mark.parametrize("frozen", [True, False])
def test_steps_take_features_of_a_frozen_network_for_images(method, more, frozen):
    # Traced, not compiled: that finds what does not fit.
    config = settled(config_of(
        **more, **{"pretrained.frozen": frozen, "unlabeled_batch_size": 4},
    ))  # fmt: skip
    config.representation.name = "tiny_resnet"
    config.pretrained.frozen_batch_norm = False
    config.method = method
    built = build_method(config, image_signature((32, 32, 3), 2))
    state = jax.eval_shape(built.init, jax.random.key(0))
    has_views = "consistency.batch_size" in more
    assert (built.precompute is not None) == (frozen and not has_views)
    image = jax.ShapeDtypeStruct((8, 32, 32, 3), np.uint8)
    if built.precompute is not None:
        image = jax.eval_shape(built.precompute, state, {"image": image})
        assert (image.shape, image.dtype) == ((8, 2, 64), np.float32)
    codes = jax.eval_shape(built.encode, state, {"image": image})
    assert codes.shape == (8, 8)
    stage = built.stages[-1]
    batch = {name: jax.ShapeDtypeStruct((4, *image.shape[1:]), image.dtype) for name in
             ("image", "positive_image", "negative_image", "unlabeled_image")}  # fmt: skip
    batch |= {f"{role}label": jax.ShapeDtypeStruct((4, 2), np.float32)
              for role in ("", "positive_", "negative_")}  # fmt: skip
    batch |= {name: jax.ShapeDtypeStruct((4,), np.int32)
              for name in ("position", "unlabeled_position")}  # fmt: skip
    batch["target"] = jax.ShapeDtypeStruct((4, 8), np.float32)
    for name in ("unlabeled_image", "unlabeled_position"):
        size = stage.batch.unlabeled_batch_size
        batch[name] = jax.ShapeDtypeStruct((size, *batch[name].shape[1:]), batch[name].dtype)
    step = jax.vmap(stage.step, in_axes=(0, 0, None), axis_name=AXIS)
    stacked, batches = (jax.tree.map(lambda x: jax.ShapeDtypeStruct((1, *x.shape), x.dtype), tree)
                        for tree in (state, batch))  # fmt: skip
    after, metrics = jax.eval_shape(step, stacked, batches, jax.random.key(0))
    assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, stacked) and metrics


def test_a_dry_run_reads_the_weights(trained, tmp_path):
    _, config, _ = trained
    other = config.copy_and_resolve_references()
    other.pretrained.weights = str(write(tmp_path / "r.safetensors", "tiny_resnet"))
    _, problems = preview(other, tmp_path / "run")
    (problem,) = problems
    assert "r.safetensors" in problem
    assert not preview(config, tmp_path / "run")[1]

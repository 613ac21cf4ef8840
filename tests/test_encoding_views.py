"""Views at encoding: outputs are the weighted mean of those of images moved by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs import smoke
from dsh_jax import encoder_files, load_encoder
from dsh_jax import fields as checked
from dsh_jax.data.signature import ImageInputs, Signature
from dsh_jax.devices import pick_devices
from dsh_jax.encoder import Encoder
from dsh_jax.encoder_evaluation import evaluate_encoder
from dsh_jax.errors import UserError
from dsh_jax.methods.players import ITEM_NETWORK, image_network
from dsh_jax.methods.views import Views
from dsh_jax.training.loop import train
from tests import corpus


def encoder(**fields):
    """An untrained one; the same parameters for any fields."""
    config = smoke.get_config()
    config.update(fields)
    description = encoder_files.describe(
        config, Signature(ImageInputs(8, 8, 1), "single", tuple("0123456789")), "synthetic"
    )
    variables = jax.jit(description.build().init)(jax.random.key(0))
    return Encoder(description, jax.tree.map(np.asarray, variables), pick_devices(1, {}))


def moved(images, down, right):
    """Images moved by hand, pixel by pixel; those from outside are reflections at the border."""
    def inside(place, size):
        place = abs(place)
        return place if place < size else 2 * (size - 1) - place

    _, height, width, _ = images.shape
    rows = [inside(row - down, height) for row in range(height)]
    columns = [inside(column - right, width) for column in range(width)]
    return images[:, rows][:, :, columns]


IMAGES = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 1), np.uint8)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("by", [0, 1, 3])
def test_outputs_are_means_over_the_views(mirrored, by):
    plain = encoder()

    def of_sides(images):
        sides = [plain.features(images)]
        if mirrored:
            sides.append(plain.features(images[:, :, ::-1]))
        return np.mean(sides, axis=0)

    expected = of_sides(IMAGES)
    if by:
        others = [of_sides(moved(IMAGES, -by, -by)), of_sides(moved(IMAGES, by, by))]
        expected = expected / 2 + sum(others) / 4
    found = plain.with_views(mirrored=mirrored, shifted=by)
    assert found.views == {"mirrored": mirrored, "shifted": by}
    assert found.fingerprint == encoder(mirrored=mirrored, shifted=by).fingerprint
    np.testing.assert_allclose(found.features(IMAGES), expected, rtol=1e-4, atol=1e-5)
    assert found.relaxed(IMAGES).shape == (5, found.num_bits)
    if by:
        assert np.abs(found.features(IMAGES) - plain.features(IMAGES)).max() > 1e-3


@settings(deadline=None)
@given(st.booleans(), st.integers(0, 4), st.integers(1, 3))
def test_the_mean_of_what_does_not_change_is_itself(mirrored, by, batch):
    views = Views(mirrored, by)
    images = jnp.broadcast_to(jnp.arange(batch, dtype=jnp.float32)[:, None, None, None],
                              (batch, 5, 6, 2))  # fmt: skip
    every = views.of(images)
    assert every.shape == (batch * (3 if by else 1) * (1 + mirrored), 5, 6, 2)
    np.testing.assert_array_equal(views.mean(every), images)


def test_what_cannot_be_moved_so_far():
    with pytest.raises(UserError, match="shifted is 8, but images have 8 pixels; set it to less"):
        smoke_network(shifted=8)
    with pytest.raises(UserError, match="shifted"):
        smoke_network(shifted=-1)


def smoke_network(**fields):
    config = smoke.get_config()
    config.update(fields)
    checked.check(config, ITEM_NETWORK.fields)
    return image_network(config, Signature(ImageInputs(8, 8, 1), "single", tuple("0123456789")))


def test_other_views_than_the_configs_are_not_measured(tmp_path):
    encoder(shifted=1).save(tmp_path / "encoder")
    with pytest.raises(UserError, match="shifted=1, but the config has 0; give --config.shifted=1"):
        evaluate_encoder(tmp_path / "encoder", smoke.get_config())
    config = smoke.get_config()
    config.shifted = 1
    result = evaluate_encoder(tmp_path / "encoder", config)
    assert result["encoder"] == encoder(shifted=1).fingerprint


def test_documents_have_no_views(tmp_path):
    train(corpus.config(corpus.write(tmp_path / "corpus.jsonl")), tmp_path / "run", {})
    of_documents = load_encoder(tmp_path / "run")
    assert of_documents.views == {}
    with pytest.raises(ValueError, match="takes no images"):
        of_documents.with_views(mirrored=True, shifted=0)

"""`python -m tools.embed`: features of an encoder as vectors, with its split."""

import numpy as np

from configs import digits_16bit, features
from dsh_jax import load_encoder
from dsh_jax.data import loading
from dsh_jax.data.splits import drawing
from tests.commands import ROOT
from tools import embed

ENCODER = ROOT / "examples/digits_16bit.safetensors"


def test_vectors_are_the_features_and_draw_the_same_split(tmp_path):
    options = ["--encoder", ENCODER, "--config", ROOT / "configs/digits_16bit.py"]
    assert embed.main([*map(str, options), "--output", str(tmp_path)]) == 0
    own, config = digits_16bit.get_config().data, features.get_config().data
    config.root = str(tmp_path)
    for field in ("queries_per_class", "labeled_per_class", "validation_per_class",
                  "validation_from"):  # fmt: skip
        config[field] = own[field]
    vectors, digits = loading.load_dataset(config), loading.load_dataset(own)
    encoder, rows = load_encoder(ENCODER), np.arange(0, 1797, 300)
    np.testing.assert_allclose(
        vectors.vectors[rows], encoder.features(digits.images[rows]), rtol=1e-4, atol=1e-5
    )
    np.testing.assert_array_equal(vectors.labels, digits.labels)
    splits = [drawing.draw_split(d, s) for d, s in ((config, vectors), (own, digits))]
    np.testing.assert_array_equal(splits[0].query, splits[1].query)
    np.testing.assert_array_equal(splits[0].labeled, splits[1].labeled)


def test_an_encoder_of_other_items_is_refused(tmp_path, capsys):
    options = ["--encoder", ENCODER, "--config", ROOT / "configs/multi_digits_24bit.py"]
    assert embed.main([*map(str, options), "--output", str(tmp_path)]) == 2
    assert "does not encode items as" in capsys.readouterr().err

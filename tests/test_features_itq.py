"""`--baseline features_itq`: ITQ of a trained network's features, in place of its hash stream."""

import json

import numpy as np
import pytest

from configs import smoke
from dsh_jax import hamming, load_encoder
from dsh_jax.cli import read_config
from dsh_jax.errors import UserError
from dsh_jax.evaluation import evaluate_workdir
from dsh_jax.forward import packed_bits
from dsh_jax.retrieval.baselines import fit_itq, itq_projection
from dsh_jax.training.experiment import load_data
from dsh_jax.training.loop import train
from tests import corpus
from tests.commands import run_forked


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    place = tmp_path_factory.mktemp("features_itq") / "run"
    config = smoke.shrink(read_config("configs/cnnh_plus_digits_16bit.py"))
    # A hash stream that standardises, which the layer of ITQ must not do.
    config.update(mirrored=True, num_bits=12)
    config.hash_stream.sharpness = 4.0
    train(config, place, {})
    return place


def test_its_codes_are_those_of_itq_on_the_features(workdir, tmp_path):
    code, error = run_forked(tmp_path, "eval.py", f"--workdir={workdir}", "--baseline=features_itq")
    assert code == 0, error
    result = json.loads((workdir / "eval_features_itq.json").read_text())
    assert result["codes"] == "features_itq" and result["num_bits"] == 12
    assert result["checkpoint"] == "best"
    dataset, split = load_data(read_config("configs/cnnh_plus_digits_16bit.py"), workdir)
    encoder = load_encoder(workdir)
    features = {
        name: encoder.represent_dataset(dataset, ids)
        for name, ids in (("seen", split.training), ("query", split.query))
    }
    itq = fit_itq(features["seen"], num_bits=12, seed=split.seed)
    mean, projection = itq_projection(features["seen"], num_bits=12, seed=split.seed)
    outputs = (features["query"] - mean) @ projection
    with np.load(workdir / "codes_features_itq.npz") as codes:
        differ = hamming.unpack(codes["query_codes"], 12) != itq(features["query"])
    # Only bits within rounding of their threshold may differ.
    assert np.abs(outputs[differ]).max(initial=0) < 1e-5 < np.median(np.abs(outputs)) / 10
    saved = load_encoder(workdir / "encoder_features_itq.safetensors")
    queries = saved.encode_dataset(dataset, split.query, finish=packed_bits)
    with np.load(workdir / "codes_features_itq.npz") as codes:
        assert np.array_equal(queries, codes["query_codes"])
    assert saved.codes == "features_itq"
    assert saved.network_fields["hash_stream.sharpness"] == 0


def test_what_has_no_features(tmp_path):
    train(corpus.config(corpus.write(tmp_path / "corpus.jsonl")), tmp_path / "run", {})
    with pytest.raises(
        UserError,
        match="no hash stream on features of a network; leave out --baseline features_itq",
    ):
        evaluate_workdir(tmp_path / "run", baseline="features_itq")


def test_fewer_features_than_bits(tmp_path):
    config = smoke.shrink(read_config("configs/cnnh_plus_digits_16bit.py"))
    config.num_bits = 24  # of 16 features
    train(config, tmp_path / "run", {})
    with pytest.raises(UserError, match="24 bits from .* 16 features"):
        evaluate_workdir(tmp_path / "run", baseline="features_itq")

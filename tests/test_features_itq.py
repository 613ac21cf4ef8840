"""`--baseline features_itq`: ITQ of a trained network's features, in place of its hash stream."""

import json

import numpy as np
import pytest
from ml_collections import ConfigDict

from configs import smoke
from dsh_jax import hamming, load_encoder
from dsh_jax.cli import read_config
from dsh_jax.encoder_evaluation import evaluate_encoder
from dsh_jax.errors import UserError
from dsh_jax.evaluation import evaluate_workdir
from dsh_jax.forward import packed_bits
from dsh_jax.retrieval.baselines import fit_itq, itq_projection
from dsh_jax.training.experiment import load_data
from dsh_jax.training.loop import train
from tests import corpus
from tests.commands import only_sentence, run_forked


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    place = tmp_path_factory.mktemp("features_itq") / "run"
    config = smoke.shrink(read_config("configs/cnnh_plus_digits_16bit.py"))
    # A hash stream that standardises, which the layer of ITQ must not do.
    config.update(mirrored=True, num_bits=12)
    config.hash_stream.sharpness = 4.0
    train(config, place, {})
    return place


def config_of(workdir):
    return ConfigDict(json.loads((workdir / "config.json").read_text()))


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


def test_codes_of_another_length_than_the_trained_ones(workdir, tmp_path):
    config, path = config_of(workdir), tmp_path / "encoder.safetensors"
    load_encoder(workdir).save(path)
    of_itq = {"baseline": "features_itq", "folder": tmp_path / "out"}
    for asked, length in ((None, 12), (8, 8)):
        result = evaluate_encoder(path, config, num_bits=asked, **of_itq)
        assert result["num_bits"] == length
    saved = load_encoder(tmp_path / "out/encoder_features_itq.safetensors")
    dataset, split = load_data(config, workdir)
    features = [load_encoder(path).represent_dataset(dataset, ids)
                for ids in (split.training, split.query)]  # fmt: skip
    expected = fit_itq(features[0], num_bits=8, seed=split.seed)(features[1])
    codes = saved.encode_dataset(dataset, split.query, finish=packed_bits)
    with np.load(tmp_path / "out/codes_features_itq.npz") as written:
        assert np.array_equal(codes, written["query_codes"])
    assert (hamming.unpack(codes, 8) != expected).mean() < 0.002  # rounding
    for wrong, options in (("--num_bits is for --baseline features_itq", {"num_bits": 8}),
                           ("17 bits from .* 16 features", of_itq | {"num_bits": 17})):
        with pytest.raises(UserError, match=wrong):
            evaluate_encoder(path, config, **options)


def test_a_length_needs_codes_that_can_have_it(workdir, tmp_path):
    code, error = run_forked(tmp_path, "eval.py", f"--workdir={workdir}", "--num_bits=8")
    assert "--num_bits is for --codes and --encoder; leave it out" in only_sentence(code, error)


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

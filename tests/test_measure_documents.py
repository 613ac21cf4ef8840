"""Measuring arms of documents in one process, on a small corpus."""

import json

import pytest

from dsh_jax.errors import UserError
from dsh_jax.evaluation import evaluate_workdir
from dsh_jax.training.loop import train
from tests import corpus
from tools import documents_table, measure_documents

DRAWS = (0, 1)


def config_of(path, draw):
    config = corpus.config(path)
    config.seed = config.data.split_seed = draw
    return config


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with a corpus, which stands in for that of every arm."""
    monkeypatch.chdir(tmp_path)
    path = corpus.write(tmp_path / "corpus.jsonl")

    def read_config(name, overrides):
        assert name == "configs/documents_arms.py:reuters-rotated"
        return config_of(path, int(overrides[0].removeprefix("--config.seed=")))

    monkeypatch.setattr(measure_documents.cli, "read_config", read_config)
    return path


def test_results_are_those_of_train_and_eval(place, monkeypatch, capsys):
    call = ["reuters", "DIR", "--arms", "rotated", "--draws", ",".join(map(str, DRAWS))]
    assert measure_documents.main(call) == 0
    assert capsys.readouterr().out.count("precision@100") == len(DRAWS)
    for draw in DRAWS:
        path = place.parent / f"results/documents/arms_reuters_rotated_draw{draw}.json"
        found = json.loads(path.read_text())
        train(config_of(place, draw), place.parent / f"plain{draw}", {"command": ""})
        expected = evaluate_workdir(place.parent / f"plain{draw}")
        for name in ("map", "precision_at_100", "split_checksum", "tie_band", "seed"):
            assert found[name] == expected[name]
        assert documents_table.arm_of(found) == "rotated"
        assert found["run"]["overrides"][-1] == "--config.data.data_dir=DIR"
    # What is there is kept.
    monkeypatch.setattr(measure_documents, "measure", None)
    assert measure_documents.main(call) == 0


@pytest.mark.parametrize("option", ["--arms=best", "--draws=0-2"])
def test_a_mistake_is_named(option):
    with pytest.raises(UserError, match=f"{option.split('=')[0]} has '{option.split('=')[1]}'"):
        measure_documents.main(["reuters", "DIR", option])

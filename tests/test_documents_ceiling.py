"""What codes of documents can reach, on a small corpus."""

import json

import numpy as np
import pytest

from configs import documents_arms
from dsh_jax.training.experiment import load_data
from tests import corpus
from tools import documents_ceiling


def test_true_tags_as_codes_are_measured(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    config = corpus.config(corpus.write(tmp_path / "corpus.jsonl"))
    monkeypatch.setattr(documents_arms, "untuned", lambda collection, arm: config)
    assert documents_ceiling.main(["reuters", config.data.data_dir, "--draws", "1"]) == 0
    content = json.loads((tmp_path / "results/ceilings/documents_reuters.json").read_text())
    draw, mean = content["draws"][0], content["mean"]
    assert draw["C"] in documents_ceiling.STRENGTHS and 0.5 < draw["first_tag_right"] <= 1
    assert draw["factor"] in documents_ceiling.FACTORS
    assert mean["probabilities"]["map"] > mean["classifier"]["map"]  # they are graded
    printed = capsys.readouterr().out
    for name in ("true_tags", "classifier_and_true_tags", "classifier", "probabilities"):
        assert mean[name] == draw[name] and mean[name]["map"] <= mean["true_tags"]["map"] + 1e-9
        assert name in printed

    # By hand: of the first 100 by distance between tag vectors, ties in all orders at once.
    dataset, split = load_data(config, None)
    tags = dataset.multi_hot(np.arange(len(dataset.labels)))
    scores = []
    for query in tags[split.query]:
        distance = np.abs(tags[split.database] - query).sum(axis=1)
        right = (tags[split.database] @ query > 0).astype(float)
        for at in np.unique(distance):  # items at one distance are all as right as their mean
            right[distance == at] = right[distance == at].mean()
        scores.append(right[np.argsort(distance, kind="stable")][:100].mean())
    assert mean["true_tags"]["precision_at_100"] == pytest.approx(np.mean(scores))

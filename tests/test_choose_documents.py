"""The search that tunes the arms of documents, on made-up scores."""

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs import documents_arms
from dsh_jax import cli, fields
from dsh_jax.errors import UserError
from dsh_jax.training.experiment import find_recipe
from dsh_jax.training.loop import train
from tests import corpus
from tools import choose_documents
from tools.choose_documents import AXES, BASES, Record, start_of, tune
from tools.pattern_search import Decades, Doubled, Ladder, search
from tools.validation import Bench


def test_values_beside_a_value():
    assert Decades().beside(0.01, 1) == 0.03 and Decades().beside(0.01, -1) == 0.003
    assert Decades().beside(0.3, 1) == 1.0 and Decades().beside(2.0, -1) == 1.0
    assert Decades((1, 2, 5)).beside(5e-4, 1) == 1e-3
    assert Decades((1,), 1.0).beside(1.0, -1) is None and Decades((1,), 1.0).beside(19.0, -1) == 10
    assert Doubled().beside(500, 1) == 1000 and Doubled().beside(1, -1) is None
    ladder = Ladder((0.0, 0.1, 0.5))
    assert ladder.beside(0.1, 1) == 0.5 and ladder.beside(0.0, -1) is None
    assert ladder.beside(0.5, 1) is None and ladder.beside(0.3, -1) == 0.1


@settings(max_examples=40, deadline=None)
@given(top=st.tuples(st.floats(-4, 4), st.floats(-4, 4)), start=st.integers(-6, 6))
def test_nothing_beside_what_is_found_is_better(top, start):
    axes = {"a": Decades(), "b": Decades((1, 2, 5))}
    tried = {}

    def score(setting):
        a, b = math.log10(setting["a"]) - top[0], math.log10(setting["b"]) - top[1]
        tried[setting["a"], setting["b"]] = -(a * a + a * b + b * b)
        return tried[setting["a"], setting["b"]]

    best = search({"a": 10.0**start, "b": 1.0, "c": 7}, axes, score)
    assert best["c"] == 7
    found = tried[best["a"], best["b"]]
    assert found == max(tried.values())
    for field, axis in axes.items():
        for sign in (1, -1):
            beside = {**best, field: axis.beside(best[field], sign)}
            assert tried[beside["a"], beside["b"]] <= found


def test_every_arm_can_be_tuned():
    assert set(AXES) == set(documents_arms.ARMS) and set(BASES) <= set(AXES)
    order = list(AXES)
    for arm, axes in AXES.items():
        assert all(order.index(base) < order.index(arm) for base in BASES.get(arm, ()))
        for collection in documents_arms.SOURCES:
            config = documents_arms.get_config(f"{collection}-{arm}")
            find_recipe(config)
            assert all(fields.has(config, field) for field in axes)
            assert config.num_bits == 32


def test_arms_differ_in_what_they_are_named_for():
    published = documents_arms.untuned("reuters", "published")
    assert (published.codes.rotation, published.codes.thresholds) == (False, "median")
    for arm, changed in (("mean_thresholds", "codes.thresholds"), ("rotation", "codes.rotation"),
                         ("fitted_to_function", "codes.fitted_to")):  # fmt: skip
        config = documents_arms.untuned("reuters", arm)
        names = fields.names(config)
        differing = [n for n in names if fields.get(config, n) != fields.get(published, n)]
        assert differing == [changed]
    on = [name for name, value in documents_arms.untuned("newsgroups", "nonlinear")
          .improvements.items() if value]  # fmt: skip
    assert sorted(on) == ["binary_codes", "nonlinear_decoder", "nonlinear_encoder"]


def test_a_chosen_setting_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(documents_arms, "CHOICES", tmp_path)
    chosen = {"arms": {"rotated": {"chosen": {"codes.missing": 0.5}}}}
    (tmp_path / "documents_reuters.json").write_text(json.dumps(chosen))
    assert documents_arms.get_config("reuters-rotated").codes.missing == 0.5
    assert documents_arms.get_config("reuters-exposure").codes.missing == 0.1
    assert documents_arms.get_config("newsgroups-rotated").codes.missing == 0.1


@pytest.mark.parametrize("name", ["", "reuters", "reuters-none", "cifar10-rotated"])
def test_an_unknown_arm_is_the_users_mistake(name):
    with pytest.raises(UserError, match="takes reuters or newsgroups and an arm after a colon"):
        documents_arms.get_config(name)


def test_an_arm_starts_from_what_its_bases_changed():
    chosen = {
        "linear": {"num_steps": 500, "loss.missing": 0.1},
        "nonlinear": {"num_steps": 500, "loss.missing": 0.3, "encoder.hidden": 64},
        "joint_topics": {"num_steps": 1000, "loss.missing": 0.1, "loss.word_weight": 0.5},
    }
    own = {"num_steps": 1, "loss.missing": 0.01, "loss.word_weight": 0.01, "encoder.dropout": 0.5}
    assert start_of("all", own, chosen) == {
        "num_steps": 1, "loss.missing": 0.3, "loss.word_weight": 0.5, "encoder.dropout": 0.5
    }  # fmt: skip
    assert start_of("linear", own, chosen) == own
    assert start_of("joint_topics", own, {}) == own


class MadeUp:
    """Scores that are best at a hash ridge of 0.3, and fail above 1."""

    def __init__(self, draw):
        self.draw, self.calls = draw, 0

    def score(self, config):
        self.calls += 1
        if config.codes.hash_ridge > 1:
            raise UserError("too far")
        score = 1 - abs(math.log10(config.codes.hash_ridge / 0.3)) + 0.1 * self.draw
        return {"precision_at_100": score, "map": score / 2, "seconds": 0.0}


def test_a_search_is_kept_and_resumed(tmp_path, monkeypatch):
    monkeypatch.setattr(choose_documents, "AXES", {"rotated": {"codes.hash_ridge": Decades()}})
    path, made = tmp_path / "sub/choice.json", [MadeUp(0), MadeUp(1)]
    record = Record(path, 2, {"command": "search"})
    record.add("rotated", {"codes.hash_ridge": 0.03}, [{"precision_at_100": 0.2, "map": 0.1}])
    # The config's own ridge of 3 fails, and still what lies below it is tried.
    tune("rotated", "reuters", lambda: made, record)
    found = json.loads(path.read_text())["arms"]["rotated"]
    assert found["chosen"] == {"codes.hash_ridge": 0.3} and found["done"]
    assert (found["precision_at_100"], found["map"]) == (pytest.approx(1.05), pytest.approx(0.525))
    tried = [row["setting"]["codes.hash_ridge"] for row in found["tried"]]
    assert tried == [0.03, 3.0, 10.0, 1.0, 0.3, 0.1]
    assert [bench.calls for bench in made] == [5, 5]
    assert "too far" in found["tried"][1]["of_draws"][0]["error"]
    # What is done is not done again, nor what was tried when it had not ended.
    again = Record(path, 2, {"command": "search"})
    tune("rotated", "reuters", lambda: made, again)
    again.arms["rotated"]["done"] = False
    tune("rotated", "reuters", lambda: made, again)
    assert [bench.calls for bench in made] == [5, 5] and again.arms["rotated"]["done"]
    with pytest.raises(UserError, match="has rotated on 2 draws; give --draws 2"):
        tune("rotated", "reuters", lambda: made, Record(path, 3, {}))


@pytest.mark.parametrize("method", ["shttm", "shttm_neural"])
def test_a_bench_scores_as_training_validates(tmp_path, method):
    config = corpus.config(corpus.write(tmp_path / "corpus.jsonl"), method)
    config.seed = config.data.split_seed = 1
    bench = Bench(corpus.config(tmp_path / "corpus.jsonl"), draw=1)
    if method == "shttm":
        config.codes.update(exposure=True, correlated_tags=True, hash_ridge=0.5)
    else:
        # Topics of one fit: those of the bench are the closed form's.
        config.update(num_steps=6)
        config.optimizer.network.learning_rate = 0.01
        config.improvements.joint_topics = False
        other = config.copy_and_resolve_references()
        other.update(num_steps=2)
        other.optimizer.network.learning_rate, other.loss.missing = 0.1, 0.2
        bench.score(other)  # the step that it compiles serves the next one, too
    found = bench.score(config)
    train(config, tmp_path / "run", {"command": ""})
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    validated = {line["validation_map"]: line["step"] for line in lines if "validation_map" in line}
    assert found["validation_map"] == pytest.approx(max(validated), abs=1e-6)
    assert found["step"] == validated[max(validated)]
    assert 0 < found["precision_at_100"] <= 1 and 0 < found["map"] <= 1


@pytest.mark.parametrize("collection", ["reuters", "newsgroups"])
@pytest.mark.parametrize(
    ("config", "arm"),
    [("shttm", "rotated"), ("shttm_published", "published")],
)
def test_the_configs_have_what_was_chosen(collection, config, arm):
    chosen = documents_arms.get_config(f"{collection}-{arm}")
    shown = cli.read_config(f"configs/{config}_{collection}_32bit.py")
    assert shown.to_dict() == chosen.to_dict()


@pytest.mark.parametrize(
    ("collection", "config", "arm"),
    [("reuters", "shttm_neural", "all"), ("newsgroups", "shttm_neural", "all_linear_decoder"),
     *((collection, method, method) for collection in ("reuters", "newsgroups")
       for method in ("nash_supervised", "vdsh_supervised"))],
)  # fmt: skip
def test_so_have_those_of_networks(collection, config, arm):
    test_the_configs_have_what_was_chosen(collection, config, arm)

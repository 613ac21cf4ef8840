"""Metrics of a user's own: what they get, what a mistake is told, and what is never imported."""

import sys

import numpy as np
import pytest

from configs import smoke
from dsh_jax import metrics
from dsh_jax.errors import UserError
from dsh_jax.training.experiment import prepare
from tests.messages import one_sentence

CODE = """
import numpy as np

def share(codes, labels):
    return codes.mean()

def shapes(codes, labels):
    kinds = codes.dtype, labels.dtype, codes.shape, labels.shape
    raise ValueError(str([str(kind) for kind in kinds]))

def undefined(codes, labels):
    return codes.sum() + no_such_name

def one_argument(codes):
    return 0.0

def three(codes, labels):
    return np.zeros(3)

def nothing(codes, labels):
    pass

def spoils(codes, labels):
    codes[:] = 1
    labels[:] = 0
    return np.float32(0.5)

def nan(codes, labels):
    return np.nan

def map(codes, labels):
    return 0.0

class AClass:
    pass
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules/mine.py").write_text(CODE)
    (tmp_path / "modules/also.py").write_text("def share(codes, labels):\n    return 1\n")
    (tmp_path / "modules/fails.py").write_text("x = 1\nraise SystemExit(3)\n")
    monkeypatch.syspath_prepend(tmp_path / "modules")
    yield tmp_path
    for name in ("mine", "also", "fails", "inside", "around"):
        sys.modules.pop(name, None)


def tried(name, multi_label=False):
    found = metrics.find([f"mine:{name}"])
    metrics.try_on(found, num_bits=5, classes=3, multi_label=multi_label)


def test_what_a_metric_is_tried_on(mine):
    tried("share"), tried("spoils"), tried("nan")
    with pytest.raises(UserError, match=r"\['uint8', 'int32', '\(16, 5\)', '\(16,\)'\]"):
        tried("shapes")
    with pytest.raises(UserError, match=r"\['uint8', 'uint8', '\(16, 5\)', '\(16, 3\)'\]"):
        tried("shapes", multi_label=True)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("undefined", ["'undefined' fails", "'no_such_name' is not defined, in line 12"]),
        ("one_argument", ["takes 1 positional argument"]),
        ("three", ["returns float64 [3]", "one number"]),
        ("nothing", ["returns nothing", "one number"]),
        ("map", ["'mine:map'", "a metric named map already"]),
        ("AClass", ["'AClass' is not a function"]),
        ("absent", ["module 'mine' has no 'absent'", "'module:function'"]),
    ],
)
def test_a_mistake_is_one_sentence(mine, name, parts):
    with pytest.raises(UserError) as caught:
        tried(name)
    sentence = str(caught.value)
    assert all(part in sentence for part in parts) and "Error" not in sentence
    assert "\n" not in sentence and sentence.endswith(".")


@pytest.mark.parametrize("name", ["no_module:f", "fails:f", "f", ":f", "mine:", ".mine:share"])
def test_names_that_lead_nowhere(mine, name):
    one_sentence(lambda: metrics.find([name], "--metrics"), f"--metrics has {name!r}")


def test_an_empty_name_is_none(mine):
    assert metrics.find([""]) == {} and list(metrics.find(["", "mine:share"])) == ["share"]


def test_two_metrics_of_one_name(mine):
    one_sentence(lambda: metrics.find(["mine:share", "also:share"]), "named share already")


def test_a_mistake_is_told_before_the_data_is_read_or_anything_written(mine):
    config = smoke.get_config()
    config.data.data_dir = "nowhere"
    config.metrics = ("mine:absent",)
    one_sentence(lambda: prepare(config, mine / "run"), "'mine:absent'")
    config.metrics = ("mine",)
    with pytest.raises(UserError, match=r"metrics is \('mine',\); set it to a tuple of functions"):
        prepare(config, mine / "run")
    assert not (mine / "run").exists()


def test_a_metric_that_fails_later_is_left_out(mine):
    found = metrics.find(["mine:spoils", "mine:undefined", "mine:share", "mine:nan", "mine:three"])
    codes, labels = np.uint8([[0, 1], [0, 0]]), np.int32([1, 2])
    labels.setflags(write=False)
    values, problems = metrics.measure(found, codes, labels)
    assert values == {"spoils": 0.5, "share": 0.25}
    assert problems.keys() == {"undefined", "nan", "three"}
    assert "is not defined, in line 12 of mine.py; it is left" in problems["undefined"]
    assert codes.sum() == 1


def test_a_module_that_is_gone_or_comes_with_the_workdir_is_left_out(mine, monkeypatch):
    """A workdir may be a stranger's: what lies in it or around it is not imported."""
    workdir = mine / "around/deep/run"
    workdir.mkdir(parents=True)
    (mine / "around/theirs.py").write_text("raise SystemError('imported')")
    (workdir / "inside.py").write_text("raise SystemError('imported')")
    monkeypatch.syspath_prepend(mine)
    monkeypatch.syspath_prepend(workdir)
    names = ["mine:share", "gone:f", "inside:f", "around.theirs:f", "around.deep.run.inside:f",
             "mine:absent", "fails:f", 3, "", ":", "..:"]  # fmt: skip
    found, left_out = metrics.of_workdir(names, workdir)
    assert list(found) == ["share"] and len(left_out) == len(names) - 2  # "" is none
    assert "metric 'gone:f' is left out (No module named 'gone'); put" in left_out[0]
    assert all("in a folder around it" in line for line in left_out[1:4])
    assert not {"inside", "around.theirs", "around"} & sys.modules.keys()
    for nothing in (None, (), "mine:share", 3):
        assert metrics.of_workdir(nothing, workdir) == ({}, [])

"""`eval.py --codes`: codes of any program, in any of their forms, and what is refused."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from dsh_jax import hamming
from dsh_jax.codes_evaluation import NAMES, evaluate_codes
from dsh_jax.errors import UserError
from dsh_jax.retrieval import evaluate
from tests.commands import ROOT, only_sentence, run_forked
from tests.messages import one_sentence

NUM_BITS = 12


@pytest.fixture(scope="module")
def arrays():
    """Bits and class ids of 20 queries and 30 items."""
    rng = np.random.default_rng(0)
    bits = {"query_codes": rng.integers(0, 2, (20, NUM_BITS)),
            "database_codes": rng.integers(0, 2, (30, NUM_BITS))}  # fmt: skip
    sizes = {"query_labels": 20, "database_labels": 30}
    return bits | {name: rng.integers(0, 4, size) for name, size in sizes.items()}


@pytest.fixture(scope="module")
def expected(arrays):
    q, d, query_labels, labels = (arrays[name] for name in NAMES)
    return evaluate(q, query_labels, d, labels, num_bits=NUM_BITS)


@pytest.fixture
def measure(tmp_path, arrays):
    """Saves the arrays with changes, and evaluates them."""

    def call(length=None, **changes):
        path = tmp_path / "codes.npz"
        np.savez(path, **(arrays | changes))
        return evaluate_codes([path], num_bits=length)

    return call


def both(arrays, change):
    return {name: change(arrays[name]) for name in NAMES if name.endswith("codes")}


@pytest.mark.parametrize(
    "change",
    [
        lambda bits: bits,
        lambda bits: (2.0 * bits - 1).astype(np.float32),
        lambda bits: bits.astype(bool),
        lambda bits: bits.astype(np.uint8),
        lambda bits: (2 * bits - 1).astype(np.int8),
    ],
)
def test_every_form_of_bits_gives_the_same(arrays, expected, measure, change):
    result = measure(**both(arrays, change))
    assert result.items() >= expected.items()
    assert (result["codes"], result["labels"], result["warnings"]) == ("bits", "class ids", [])


def test_packed_codes(arrays, expected, measure):
    packed = both(arrays, hamming.pack)
    assert measure(NUM_BITS, **packed).items() >= expected.items()
    file = measure(**packed, num_bits=np.asarray(NUM_BITS))  # as in the codes.npz of a workdir
    assert file.items() >= expected.items() and file["codes"] == "packed"
    whole = measure(**packed)
    assert whole["num_bits"] == 16 and whole["map"] == expected["map"]
    assert "4 of 16 bits are the same in all query codes: bits 12, 13" in whole["warnings"][0]


def test_forms_of_labels(arrays, expected, measure):
    named = ("query_labels", "database_labels")
    floats = measure(**{name: arrays[name].astype(np.float32) for name in named})
    assert floats["map"] == expected["map"]
    hot = {name: np.eye(4)[arrays[name]] for name in named}
    assert measure(**hot)["map"] == expected["map"] and "ndcg_at_100" not in measure(**hot)
    hot["query_labels"][:, 0] = 1
    several = measure(**hot)
    assert several["labels"] == "multi-hot" and 0 < several["ndcg_at_100"] <= 1


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"query_codes": np.full((20, NUM_BITS), 0.3)}, ["query_codes", "0.3", "binarize"]),
        ({"query_codes": np.full((20, NUM_BITS), np.nan)}, ["query_codes", "nan"]),
        ({"query_codes": np.arange(240).reshape(20, 12) % 3 - 1}, ["-1, 0 and 1", "binarize"]),
        ({"query_codes": np.ones((20, 13))}, ["(20, 13) and (30, 12)"]),
        ({"database_codes": np.ones(30)}, ["database_codes", "(30,)", "right order"]),
        ({"query_codes": np.full((20, NUM_BITS), "1")}, ["query_codes", "numbers"]),
        ({"query_codes": np.array([[{}]])}, ["Python objects"]),
        ({"query_labels": np.arange(5)}, ["query_labels has 5 rows", "20 codes"]),
        ({"query_labels": np.ones((4, 20))}, ["4 rows", "transposed"]),
        ({"query_labels": np.ones((20, 1))}, ["(20, 1)", "reshape"]),
        ({"query_labels": np.ones((20, 4))}, ["(20, 4) and (30,)"]),
        ({"query_labels": np.full((20, 4), 2)}, ["other numbers than 0 and 1"]),
        ({"query_labels": np.full(20, 0.5)}, ["query_labels", "0.5"]),
        ({"query_labels": np.full(20, "cat")}, ["query_labels", "class ids"]),
        ({"num_bits": np.asarray(9)}, ["12 columns", "9 bits", "num_bits"]),
        ({"num_bits": np.asarray(0)}, ["num_bits", "1 or more"]),
    ],
)
def test_what_is_refused(measure, changes, parts):
    one_sentence(lambda: measure(**changes), *parts)


def test_minus_one_that_became_255_is_recognised(arrays, measure):
    wrapped = both(arrays, lambda bits: (2 * bits - 1).astype(np.int8).view(np.uint8))
    one_sentence(lambda: measure(**wrapped), "1 and 255", "int8")


def test_files_that_are_refused(tmp_path, arrays):
    def call(*names):
        return lambda: evaluate_codes([tmp_path / name for name in names])

    one_sentence(call("none.npz"), "none.npz", "there is no file")
    one_sentence(call("a.npy", "b.npy"), "a.npy, b.npy", "four .npy files in this order")
    (tmp_path / "text.npz").write_text("query_codes")
    one_sentence(call("text.npz"), "text.npz", "np.savez")
    np.savez(tmp_path / "cut.npz", **arrays)
    content = (tmp_path / "cut.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(content[: len(content) // 2])
    one_sentence(call("cut.npz"), "cut.npz", "cannot be read")
    np.savez(tmp_path / "few.npz", codes=arrays["query_codes"])
    with pytest.raises(UserError, match="no array query_codes, only codes"):
        call("few.npz")()


def test_the_commands_of_the_documentation(tmp_path, arrays, expected, monkeypatch):
    text = (ROOT / "docs/evaluation.md").read_text()
    lines = re.findall(r"^python (eval.py --codes .*)$", text, re.M)
    (saving,) = re.findall(r"```python\n(import numpy as np\n\nnp\.savez.*?)```", text, re.S)
    monkeypatch.chdir(tmp_path)
    exec(saving, dict(arrays))
    for name in NAMES:
        np.save(f"{name}.npy", arrays[name])
    assert len(lines) == 2
    for script, *words in map(shlex.split, lines):
        placed = [str(tmp_path / word) if Path(word).suffix else word for word in words]
        code, stderr = run_forked(tmp_path, script, *placed)
        assert code == 0, stderr
        printed = (tmp_path / "output.out").read_text()
        assert re.search(rf"^map +{expected['map']:.4f}$", printed, re.M)
        (tmp_path / "output.out").unlink()
    assert json.loads((tmp_path / "mine.json").read_text())["map"] == expected["map"]
    sentence = only_sentence(*run_forked(tmp_path, "eval.py", "--codes=mine.npz", "--report"))
    assert "--report" in sentence and "--codes" in sentence

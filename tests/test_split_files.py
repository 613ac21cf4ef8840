"""Split files whose ids cannot be those of a split, though their checksum fits."""

import hashlib
import json

import pytest

from dsh_jax.data.splits.split import ID_FIELDS, Split, load, save
from tests.messages import one_sentence

IDS = {
    "query": [0, 1], "labeled": [2, 3], "unlabeled": [4, 5], "validation": [6],
    "database": [2, 3, 4, 5, 6],
}  # fmt: skip
NAMED = {"protocol": "2/2/5", "dataset": "x", "version": "1", "seed": 0}


def write(path, **changes):
    """A split file with a checksum that fits, as far as its ids are numbers."""
    content = NAMED | IDS | changes
    try:
        digest = hashlib.sha256(json.dumps([content[name] for name in NAMED]).encode())
        for field in ID_FIELDS:
            ids = sorted(map(int, content[field]))
            digest.update(f"\n{field} {len(ids)}\n".encode())
            digest.update(b"".join(id.to_bytes(8, "little", signed=True) for id in ids))
        content["checksum"] = digest.hexdigest()
    except (ValueError, TypeError, OverflowError):
        content["checksum"] = "x"
    path.write_text(json.dumps(content))
    return path


def test_the_split_itself_is_read(tmp_path):
    path = write(tmp_path / "split.json")
    split = load(path)
    assert split.query.tolist() == [0, 1]
    save(split, tmp_path / "again.json")
    assert load(tmp_path / "again.json").checksum == split.checksum


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"labeled": [1, 2]}, "query and labeled share the id 1"),
        ({"unlabeled": [0, 4]}, "query and unlabeled share the id 0"),
        ({"validation": [0]}, "query and validation share the id 0"),
        ({"database": [1, 2]}, "query and database share the id 1"),
        ({"unlabeled": [3, 4]}, "labeled and unlabeled share the id 3"),
        ({"validation": [3]}, "labeled and validation share the id 3"),
        ({"validation": [4]}, "unlabeled and validation share the id 4"),
        ({"query": [0, 0]}, "query has the id 0 twice"),
        ({"database": [4, 2, 4]}, "database has the id 4 twice"),
        ({"query": [-1, 0]}, "query has the id -1, which is below 0"),
        ({"query": [2**63]}, "query"),
        ({"query": [2**64]}, "query"),
        ({"query": [0.0, 1.0]}, "not a split"),
        ({"query": [0, 1.5]}, "not a split"),
        ({"query": [False, True]}, "not a split"),
        ({"query": ["0", "1"]}, "not a split"),
        ({"query": [[0, 1]]}, "not a split"),
        ({"query": [None]}, "not a split"),
        ({"query": 0}, "not a split"),
        ({"query": "01"}, "not a split"),
        ({"seed": "0"}, "not a split"),
        ({"seed": True}, "not a split"),
        ({"dataset": 3}, "not a split"),
        ({"more": 3}, "not a split"),
    ],
)
def test_what_is_wrong_is_told(tmp_path, changes, part):
    path = write(tmp_path / "split.json", **changes)
    one_sentence(lambda: load(path), path, part, "draw the split again")


def test_deep_nesting(tmp_path):
    path = tmp_path / "split.json"
    path.write_text("[" * 100_000)
    one_sentence(lambda: load(path), path)


@pytest.mark.parametrize("ids", [[0.5], ["1"], [True], [[1]]])
def test_a_split_itself_takes_only_integers(ids):
    with pytest.raises(ValueError, match="query is .*, not integers"):
        Split(**NAMED, **(IDS | {"query": ids}))

"""Data that changes after its split was drawn: ids, roles and what is said; nothing is trained."""

import json
from dataclasses import replace

import numpy as np
import pytest

from dsh_jax.codes_of_items import Codes, as_arrays, encode_all
from dsh_jax.data import known_items
from dsh_jax.data.changes import follow
from dsh_jax.data.images.dataset import ImageDataset
from dsh_jax.data.known_items import known_items as known
from dsh_jax.data.splits.split import ID_FIELDS, Split, is_of
from dsh_jax.errors import UserError
from tests.messages import one_sentence

CLASSES = ("cat", "dog")
ROLES = {"query": [0, 4], "labeled": [1, 5], "validation": [2], "unlabeled": [3, 7],
         "database": [1, 2, 3, 5, 6]}  # fmt: skip


def photos(content, labels, classes=CLASSES, name="photos"):
    """Images whose pixels tell what they are: name -> content, one letter each."""
    letters = [ord(letter) for letter in content.values()]
    labels = np.asarray(labels, np.int32 if np.ndim(labels) == 1 else np.uint8)
    return ImageDataset(
        name=name, version="".join(content.values()), collection="image_files",
        images=np.array(letters, np.uint8)[:, None, None, None].repeat(3, 3), labels=labels,
        is_test=np.zeros(len(letters), bool), class_names=classes, names=tuple(content),
        contents=tuple(content.values()),
    )  # fmt: skip


NAMES = [f"{folder}/{number}.jpg" for folder in CLASSES for number in range(4)]
DRAWN = photos(dict(zip(NAMES, "abcdefgh", strict=True)), [0, 0, 0, 0, 1, 1, 1, 1])
SPLIT = Split("2/3/5", "image_files", DRAWN.version, 0,
              **{role: np.array(ids) for role, ids in ROLES.items()})  # fmt: skip


def now(change, **options):
    """What `follow` makes of the drawn data after a change to its name -> (content, label)."""
    there = {n: (c, lab) for n, c, lab in zip(NAMES, "abcdefgh", DRAWN.labels, strict=True)}
    change(there)
    there = dict(sorted(there.items()))
    content = {name: content for name, (content, _) in there.items()}
    return follow(photos(content, [label for _, label in there.values()], **options),
                  known(DRAWN), SPLIT)  # fmt: skip


def letters(dataset, ids):
    return "".join(chr(pixel) for pixel in dataset.take(np.asarray(ids))["image"][:, 0, 0, 0])


def test_nothing_has_changed():
    dataset, split = now(lambda there: None)
    assert split is SPLIT and dataset.changes == () and dataset.images is not None
    assert letters(dataset, range(8)) == "abcdefgh" and dataset.present.tolist() == list(range(8))


def test_new_items_are_found_and_nothing_else_changes():
    def add(there):
        there["cat/00.jpg"] = ("x", 0)  # the second in order: all rows after it shift
        there["zebra/1.jpg"] = ("y", 2)  # of a class that training does not know

    dataset, split = now(add, classes=("cat", "dog", "zebra"))
    assert split is SPLIT and is_of(split, dataset) and dataset.version == DRAWN.version
    assert letters(dataset, range(10)) == "abcdefghxy"
    assert dataset.names[:8] == DRAWN.names and dataset.names[8:] == ("cat/00.jpg", "zebra/1.jpg")
    assert dataset.class_names == CLASSES and dataset.labels.tolist() == [0] * 4 + [1] * 4 + [0, -1]
    assert dataset.multi_hot(np.array([8, 9])).tolist() == [[1, 0], [0, 0]]
    assert dataset.changes == (
        "new         2 items can be found now, and the measured split stays as it was drawn: "
        "cat/00.jpg, zebra/1.jpg",
        "classes     1 class unknown to this run, whose items can be found and have no label here: "
        "zebra",
    )


def test_a_renamed_folder_changes_nothing():
    dataset, split = now(lambda there: None, name="renamed")
    assert split is SPLIT and is_of(split, dataset) and dataset.changes == ()
    assert dataset.name == "renamed" and dataset.collection == "image_files"


def test_lost_items_keep_their_place_and_are_named():
    def lose(there):
        for name in ("cat/0.jpg", "cat/1.jpg", "dog/3.jpg"):  # query, labeled, unlabeled
            del there[name]

    dataset, split = now(lose)
    assert split.protocol == "2/3/5, 3 left out" and split.checksum != SPLIT.checksum
    wanted = {"query": [4], "labeled": [5], "validation": [2], "unlabeled": [3],
              "database": [2, 3, 5, 6]}  # fmt: skip
    assert {role: getattr(split, role).tolist() for role in ID_FIELDS} == wanted
    assert dataset.present.tolist() == [2, 3, 4, 5, 6] and letters(dataset, [2, 6]) == "cg"
    assert dataset.names == DRAWN.names and dataset.contents[0] == ""
    assert dataset.changes == ("lost        3 items no longer there, and left out of what is "
                               "measured: cat/0.jpg, cat/1.jpg, dog/3.jpg",)  # fmt: skip
    # What is gone for good is not told again where this is the data that a split was drawn from.
    again, kept = follow(dataset, known(dataset), replace(split, version=dataset.version))
    assert again.changes == () and kept.checksum == split.checksum


def test_the_first_ten_lost_items_are_named_and_the_others_counted():
    names = [f"cat/{number:02}.jpg" for number in range(40)]
    many = photos({name: chr(50 + row) for row, name in enumerate(names)}, [0, 1] * 20)
    split = replace(SPLIT, version=many.version)
    left = photos({name: chr(50 + row) for row, name in enumerate(names) if row < 20}, [0, 1] * 10)
    (line,) = follow(left, known(many), split)[0].changes
    assert line.startswith("lost        20 items") and line.endswith("cat/29.jpg and 10 more")
    assert line.count(".jpg") == 10


def test_an_item_moves_with_its_content_unless_two_have_it():
    def move(there):
        there["cat/deep/0.jpg"] = there.pop("cat/0.jpg")
        there["cat/1.jpg"], there["cat/3.jpg"] = there["cat/3.jpg"], there["cat/1.jpg"]

    dataset, split = now(move)
    assert split is SPLIT and letters(dataset, range(8)) == "abcdefgh"
    assert dataset.names[:4] == ("cat/deep/0.jpg", "cat/3.jpg", "cat/2.jpg", "cat/1.jpg")
    (line,) = dataset.changes
    assert line.startswith("moved       3 items known by content under another name: cat/0.jpg -> ")

    def copy_twice(there):
        there["cat/8.jpg"] = there["cat/9.jpg"] = there.pop("cat/0.jpg")

    dataset, split = now(copy_twice)
    assert split.query.tolist() == [4] and letters(dataset, [8, 9]) == "aa"
    assert [line.split()[0] for line in dataset.changes] == ["new", "lost"]


def test_another_content_is_another_item():
    dataset, split = now(lambda there: there.update({"cat/0.jpg": ("x", 0)}))
    assert split.query.tolist() == [4] and split.protocol.endswith(", 1 left out")
    assert dataset.names[8] == "cat/0.jpg" and letters(dataset, [8]) == "x"
    assert dataset.changes == ("changed     1 item with another content, which can be found and is "
                               "not measured: cat/0.jpg",)  # fmt: skip


@pytest.mark.parametrize("name", ["cat/1.jpg", "cat/2.jpg"])  # labeled, validation
def test_other_labels_of_what_was_learned_are_refused(name):
    one_sentence(
        lambda: now(lambda there: there.update({name: (there[name][0], 1)})),
        f"labels of 1 item that this run has learned from have changed (the first is {name}: "
        "cat before, dog now)", "choose another --workdir",
    )  # fmt: skip


def test_other_labels_elsewhere_are_not_measured():
    def correct(there):
        there["cat/0.jpg"] = ("a", 1)  # a query
        there["cat/3.jpg"] = ("d", 1)  # in the database, and trained on without its label
        there["dog/3.jpg"] = ("h", 0)  # trained on without its label, and not in the database

    dataset, split = now(correct)
    assert split.query.tolist() == [4] and split.database.tolist() == [1, 2, 5, 6]
    assert split.unlabeled.tolist() == [3, 7]
    (line,) = dataset.changes
    assert line.startswith("relabeled   2 items") and line.endswith(": cat/0.jpg, cat/3.jpg")


def test_the_form_of_the_labels_stays():
    # An image without labels makes a folder multi-label for a new run, and not for an old one.
    hot = np.eye(2)[[*DRAWN.labels, 0]]
    hot[8] = 0
    content = dict(zip([*NAMES, "unlabeled/1.jpg"], "abcdefghx", strict=True))
    dataset, split = follow(photos(content, hot), known(DRAWN), SPLIT)
    assert split is SPLIT and dataset.labels.tolist() == [0] * 4 + [1] * 4 + [-1]
    # And the other way round.
    drawn = photos(content, hot)
    split = replace(SPLIT, version=drawn.version)
    again, kept = follow(DRAWN, known(drawn), split)
    assert kept is split and np.array_equal(again.labels, hot) and again.present.size == 8


def test_other_data_is_refused():
    other = photos({"x.jpg": "x", "y.jpg": "y"}, [0, 1], name="other")
    one_sentence(lambda: follow(other, known(DRAWN), SPLIT),
                 "2 queries and 5 database items 0 and 0 are in other")  # fmt: skip
    with pytest.raises(UserError, match=r"items.json and split.json are of different data"):
        follow(DRAWN, known(DRAWN), replace(SPLIT, version="another"))


@pytest.mark.parametrize("multi", [False, True])
def test_what_is_known_is_kept(tmp_path, multi):
    labels = np.eye(2)[DRAWN.labels] * (np.arange(8) != 3)[:, None] if multi else DRAWN.labels
    content = dict(zip(["\udcff\u00fc", *NAMES[1:]], "abcdefgh", strict=True))  # undecodable
    items = known(photos(content, labels))
    path = tmp_path / "items.json"
    known_items.save(items, path)
    loaded = known_items.load(path)
    assert np.array_equal(loaded.labels, items.labels) and loaded.labels.dtype == items.labels.dtype
    for field in ("names", "contents", "class_names", "version"):
        assert getattr(loaded, field) == getattr(items, field)
    path.write_text(path.read_text().replace("dog/1", "dog/9"))
    one_sentence(lambda: known_items.load(path), path, "its checksum does not fit")
    path.write_text("[1]")
    with pytest.raises(UserError, match=r"items.json is damaged"):
        known_items.load(path)
    assert json.loads(path.read_text()) == [1]


def test_all_items_have_a_code_and_say_what_they_are():
    def change(there):
        there["cat/00.jpg"] = ("x", 0)
        del there["dog/2.jpg"]  # in the database

    dataset, split = now(change)

    def encode(ids):  # a code that tells the item
        return dataset.take(ids)["image"][:, 0, 0, :1]

    codes = encode_all(dataset, split, encode)
    assert isinstance(codes, Codes) and codes.others[:, 0].tolist() == [ord("h"), ord("x")]
    arrays = as_arrays(dataset, split, codes, 8)
    assert arrays["ids"].tolist() == [0, 1, 2, 3, 4, 5, 7, 8]
    assert "".join(map(chr, arrays["codes"][:, 0])) == "abcdefhx"
    assert arrays["names"].tolist() == [*NAMES[:6], NAMES[7], "cat/00.jpg"]
    assert arrays["labels"].tolist() == [0] * 4 + [1] * 3 + [0]
    for role in ID_FIELDS:
        assert np.array_equal(arrays["ids"][arrays[f"is_{role}"]], getattr(split, role))
    assert not any(arrays[f"is_{role}"][-1] for role in ID_FIELDS)  # the new one
    assert arrays["query_names"].tolist() == ["cat/0.jpg", "dog/0.jpg"]
    for role in ("query", "database"):
        wanted = [dataset.names[row] for row in arrays[f"{role}_ids"]]
        assert arrays[f"{role}_names"].tolist() == wanted
        measured = arrays["codes"][arrays[f"is_{role}"]]
        assert np.array_equal(measured, arrays[f"{role}_codes"])

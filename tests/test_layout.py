"""Folders divided into train, test and val; classes that lack a part, or images at all."""

import numpy as np
import pytest
from PIL import Image

from configs import image_folder
from dsh_jax.data.classes import usable_classes
from dsh_jax.data.images.dataset import ImageFiles
from dsh_jax.data.images.listing import list_images
from dsh_jax.data.loading import load_dataset
from dsh_jax.data.splits.drawing import draw_split
from dsh_jax.errors import UserError
from dsh_jax.training.preview import preview
from tests.image_files import touch
from tests.messages import one_sentence


def by_name(listing, values):
    return dict(zip(listing.names, np.asarray(values).tolist(), strict=True))


def test_test_images_are_marked(tmp_path):
    touch(tmp_path, "train/cat/1.jpg", "train/dog/x/2.jpg", "Test/cat/3.jpg", "unlabeled/4.jpg",
          "train/unlabelled/5.jpg", "Test/6.jpg")  # fmt: skip
    listing = list_images(tmp_path)
    assert listing.class_names == ("cat", "dog")
    assert by_name(listing, listing.labels) == {
        "train/cat/1.jpg": 0, "train/dog/x/2.jpg": 1, "Test/cat/3.jpg": 0, "unlabeled/4.jpg": -1,
        "train/unlabelled/5.jpg": -1,
    }  # fmt: skip
    assert [name for name, is_test in by_name(listing, listing.is_test).items() if is_test] == [
        "Test/cat/3.jpg"
    ]
    assert listing.skipped == ("Test/6.jpg: it is not in a class folder",)
    assert listing.notes == (
        "folders     train is for training and for the database, Test holds the queries",
    )
    assert not listing.roles


def test_val_is_held_back_beside_test_and_holds_the_queries_alone(tmp_path):
    touch(tmp_path, "train/a/1.jpg", "val/a/2.jpg", "test/a/3.jpg")
    three = list_images(tmp_path)
    assert three.notes[0].endswith("test holds the queries, val chooses the checkpoint")
    assert by_name(three, three.is_test)["test/a/3.jpg"] and three.is_test.sum() == 1
    assert by_name(three, three.roles["validation"])["val/a/2.jpg"]
    assert three.roles["validation"].sum() == 1
    (tmp_path / "test/a/3.jpg").unlink()
    (tmp_path / "test/a").rmdir()
    (tmp_path / "test").rmdir()
    two = list_images(tmp_path)
    assert by_name(two, two.is_test)["val/a/2.jpg"] and not two.roles


@pytest.mark.parametrize(
    "names",
    [("train/1.jpg", "bus/1.jpg"), ("train/1.jpg", "train/deep/1.jpg"),
     ("test/a/1.jpg", "val/a/1.jpg"), ("train/a/1.jpg", "test/a/1.jpg", "more/1.jpg")],
)  # fmt: skip
def test_other_folders_are_classes(tmp_path, names):
    listing = list_images(touch(tmp_path, *names))
    assert set(listing.class_names) == {name.split("/")[0] for name in names}
    assert not listing.is_test.any() and listing.notes == ()


def test_parts_that_cannot_be_read_as_such(tmp_path):
    touch(tmp_path / "a", "train/x/1.jpg", "test/1.jpg")
    one_sentence(lambda: list_images(tmp_path / "a"), "test/CLASS", "move test away")
    touch(tmp_path / "b", "train/cat.1.jpg", "test/2.jpg")
    one_sentence(lambda: list_images(tmp_path / "b"), "train/CLASS", "CSV")
    touch(tmp_path / "c", "train/a/1.jpg", "val/a/1.jpg", "valid/a/1.jpg")
    one_sentence(lambda: list_images(tmp_path / "c"), "val and valid", "merge")
    touch(tmp_path / "d", "train/Cat/1.jpg", "test/cat/1.jpg")
    one_sentence(lambda: list_images(tmp_path / "d"), "'Cat'", "'cat'")


def dataset_of(labels, is_test=None, classes=("a", "b", "c")):
    labels = np.array(labels, np.int32 if np.ndim(labels) == 1 else np.uint8)
    n = len(labels)
    return ImageFiles(
        name="mine", version="1", labels=labels, class_names=classes, skipped=(), storage="",
        is_test=np.zeros(n, bool) if is_test is None else np.array(is_test, bool), roles={},
        images=np.zeros((n, 1, 1, 1), np.uint8), names=tuple(map(str, range(n))),
    )  # fmt: skip


def test_a_class_without_images_is_left_out():
    found = usable_classes(dataset_of([0, 2, -1]), tests_are_queries=True)
    assert found.class_names == ("a", "c") and found.labels.tolist() == [0, 1, -1]
    assert found.notes == ("warning     classes without an item are left out: 'b'",)
    full = dataset_of([0, 1, 2])
    assert usable_classes(full, tests_are_queries=True) is full


def test_a_class_of_test_images_alone_loses_its_label():
    data = dataset_of([0, 1, 2, 2, 0], [0, 0, 1, 1, 1])
    found = usable_classes(data, tests_are_queries=True)
    assert found.class_names == ("a", "b") and found.labels.tolist() == [0, 1, -1, -1, 0]
    assert "'c', 2 items" in found.notes[0] and found.is_test.tolist() == data.is_test.tolist()
    assert usable_classes(data, tests_are_queries=False) is data
    several = dataset_of([[1, 0, 0], [1, 1, 0], [1, 0, 1], [0, 0, 1]], [0, 0, 1, 1])
    found = usable_classes(several, tests_are_queries=True)
    assert found.labels.tolist() == [[1, 0], [1, 1], [1, 0], [0, 0]]
    assert "'c', 1 items" in found.notes[0]
    with pytest.raises(UserError, match="No class of mine has an item to train on"):
        usable_classes(dataset_of([0, 1], [1, 1]), tests_are_queries=True)


def test_a_divided_folder_with_classes_in_one_part_only(tmp_path):
    rng = np.random.default_rng(0)
    counts = {"train/a": 20, "train/b": 6, "train/only": 5, "test/a": 3, "test/b": 2, "test/new": 2}
    for place, count in counts.items():
        (tmp_path / "data" / place).mkdir(parents=True)
        for number in range(count):
            pixels = rng.integers(0, 256, (8, 8, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "data" / place / f"{number}.png")
    (tmp_path / "data/train/empty").mkdir()
    config = image_folder.get_config()
    config.data.update(root=str(tmp_path / "data"), cache_dir=str(tmp_path / "cache"), image_size=8)
    dataset = load_dataset(config.data)
    split = draw_split(config.data, dataset)
    assert dataset.class_names == ("a", "b", "only") and not dataset.multi_label
    assert {dataset.names[row].split("/")[0] for row in split.query} == {"test"}
    assert len(split.query) == 5 and len(split.database) == 31
    assert np.bincount(dataset.labels[split.validation]).tolist() == [2, 2, 2]
    text, _ = preview(config, tmp_path / "run")
    assert "Test holds" not in text and "test holds the queries" in text
    assert "classes without an item are left out: 'empty'" in text
    assert "none: 'new', 2 items" in text
    assert "queries     5: the test items" in text
    assert "no query of 'only' (3 labeled): the test items show none" in text

"""NUS-WIDE: the collection's own files and the shared lists, in small trees of their layout."""

import numpy as np
import pytest

from dsh_jax.data.images.nus_wide import list_nus_wide
from tests.image_files import touch
from tests.messages import one_sentence

# As in the collection: the folder is the word that an image was searched by.
IMAGES = [
    r"actor\0001_2124494179.jpg",
    r"actor\0002_174174086.jpg",
    r"zebra\0003_2355093195.jpg",
    r"zebra\0004_405444054.jpg",
    r"zoo\0005_1351851.jpg",
]
# Counts are 3, 2, 2, 1: with three concepts, "cloud" and "sky" beat "wedding".
CONCEPTS = {"sky": "10010", "wedding": "00001", "cloud": "01010", "animal": "11010"}


def write_collection(root, concepts=None, images=None, end="\r\n"):
    """The files as they are unpacked: the list of images has Windows' line ends."""
    (root / "ImageList").mkdir(parents=True)
    lines = "".join(name + end for name in images or IMAGES)
    (root / "ImageList/Imagelist.txt").write_bytes(lines.encode())
    (root / "ImageList/TrainImagelist.txt").write_bytes(lines[:30].encode())
    folder = root / "Groundtruth/AllLabels"
    folder.mkdir(parents=True)
    for name, marks in (concepts or CONCEPTS).items():
        (folder / f"Labels_{name}.txt").write_bytes("".join(m + end for m in marks).encode())
    touch(root / "Flickr", *(name.replace("\\", "/") for name in images or IMAGES))
    return root


@pytest.mark.parametrize("end", ["\r\n", "\n"])
def test_collection(tmp_path, end):
    root = write_collection(tmp_path, end=end)
    (root / "Flickr/zebra/0004_405444054.jpg").unlink()
    listing = list_nus_wide(root, num_concepts=3)
    assert listing.class_names == ("animal", "cloud", "sky")
    assert listing.names == ("actor/0001_2124494179.jpg", "actor/0002_174174086.jpg")
    assert listing.paths[0] == root / "Flickr/actor/0001_2124494179.jpg"
    assert listing.labels.tolist() == [[1, 0, 1], [1, 1, 0]] and listing.labels.dtype == np.uint8
    assert not listing.is_test.any() and listing.is_test.shape == (2,) and not listing.roles
    assert listing.skipped == (
        "zebra/0004_405444054.jpg: line 4 of ImageList/Imagelist.txt names it, but it is missing",
        "2 images: they have none of the 3 concepts",
    )


def test_equal_counts_go_by_name(tmp_path):
    listing = list_nus_wide(write_collection(tmp_path), num_concepts=2)
    assert listing.class_names == ("animal", "cloud")  # "cloud" and "sky" have two images each


def test_images_elsewhere(tmp_path):
    root = write_collection(tmp_path / "lists")
    (root / "Flickr").rename(tmp_path / "pictures")
    listing = list_nus_wide(root, images=tmp_path / "pictures", num_concepts=3)
    assert listing.paths[-1] == tmp_path / "pictures/zebra/0004_405444054.jpg"


def test_a_repeated_image_is_reported(tmp_path):
    root = write_collection(tmp_path, images=[*IMAGES[:4], IMAGES[0]])
    listing = list_nus_wide(root, num_concepts=4)
    assert len(listing) == 3
    assert "actor/0001_2124494179.jpg: line 5 of ImageList/Imagelist.txt" in listing.skipped[0]


def test_counts_that_disagree_name_both_files(tmp_path):
    root = write_collection(tmp_path, CONCEPTS | {"sky": "1001"})
    one_sentence(
        lambda: list_nus_wide(root, num_concepts=3),
        root / "Groundtruth/AllLabels/Labels_sky.txt", "4 labels",
        root / "ImageList/Imagelist.txt", "5 images",
    )  # fmt: skip


def test_an_invalid_label(tmp_path):
    root = write_collection(tmp_path, CONCEPTS | {"sky": "10x10"})
    one_sentence(lambda: list_nus_wide(root, num_concepts=3), "Label 3", "Labels_sky.txt", "'x'")


def test_an_empty_line(tmp_path):
    root = write_collection(tmp_path, images=[*IMAGES[:2], "", *IMAGES[2:4]])
    one_sentence(lambda: list_nus_wide(root, num_concepts=3), "Line 3", "Imagelist.txt", "empty")


def test_too_few_concepts(tmp_path):
    root = write_collection(tmp_path)
    one_sentence(lambda: list_nus_wide(root), "4 concepts", "21", root / "Groundtruth/AllLabels")


def test_no_image_is_there(tmp_path):
    root = write_collection(tmp_path)
    (root / "Flickr").rename(root / "elsewhere")
    one_sentence(lambda: list_nus_wide(root, num_concepts=3), root / "Flickr", "data.image_root")


def test_neither_collection_nor_lists(tmp_path):
    touch(tmp_path, "train.txt")
    one_sentence(
        lambda: list_nus_wide(tmp_path), tmp_path, "Imagelist.txt", "database.txt and test.txt"
    )


# Lists


def write_lists(root, database, train, test, end="\n"):
    root.mkdir(exist_ok=True)
    for name, lines in {"database": database, "train": train, "test": test}.items():
        (root / f"{name}.txt").write_bytes("".join(line + end for line in lines).encode())
    return root


DATABASE = ["images/1.jpg 1 1 0", "images/2.jpg 0 0 1", "images/3.jpg 0 1 0"]
TRAIN, TEST = DATABASE[:1], ["images/4.jpg 1 0 0"]


@pytest.mark.parametrize("end", ["\r\n", "\n", " \n"])
def test_lists(tmp_path, end):
    root = write_lists(tmp_path, DATABASE, TRAIN, TEST, end)
    touch(root, *(f"images/{number}.jpg" for number in (1, 2, 4)))
    listing = list_nus_wide(root)
    assert listing.names == ("images/1.jpg", "images/2.jpg", "images/4.jpg")
    assert listing.paths[2] == root / "images/4.jpg"
    assert listing.class_names == ("0", "1", "2")
    assert listing.labels.tolist() == [[1, 1, 0], [0, 0, 1], [1, 0, 0]]
    assert listing.is_test.tolist() == [False, False, True]
    roles = {role: mask.tolist() for role, mask in listing.roles.items()}
    assert roles == {
        "database": [True, True, False],
        "labeled": [True, False, False],
        "query": [False, False, True],
    }
    assert listing.skipped == ("images/3.jpg: it is missing",)


def test_lists_where_labeled_images_are_not_in_the_database(tmp_path):
    root = write_lists(tmp_path, DATABASE[1:], TRAIN, TEST)
    touch(root, *(f"images/{number}.jpg" for number in (1, 2, 3, 4)))
    roles = list_nus_wide(root).roles
    assert roles["labeled"].tolist() == [False, False, True, False]
    assert roles["database"].tolist() == [True, True, False, False]


def test_lists_with_one_label_each_give_class_ids(tmp_path):
    root = write_lists(tmp_path, DATABASE[1:], DATABASE[1:2], TEST)
    touch(root, *(f"images/{number}.jpg" for number in (2, 3, 4)))
    listing = list_nus_wide(root)
    assert listing.labels.tolist() == [2, 1, 0] and listing.labels.dtype == np.int32


def test_paths_of_another_machine_are_found_by_their_last_part(tmp_path):
    lists = [[f"/home/them/{line}" for line in part] for part in (DATABASE, TRAIN, TEST)]
    root = write_lists(tmp_path / "lists", *lists)
    touch(tmp_path / "mine", "1.jpg", "2.jpg", "3.jpg", "4.jpg")
    listing = list_nus_wide(root, images=tmp_path / "mine")
    assert listing.paths == tuple(tmp_path / f"mine/{number}.jpg" for number in (1, 2, 3, 4))
    assert listing.names[0] == "/home/them/images/1.jpg"


def test_two_paths_with_one_last_part(tmp_path):
    root = write_lists(
        tmp_path, ["/a/1.jpg 1 0", "/b/1.jpg 0 1"], ["/a/1.jpg 1 0"], ["/c/2.jpg 1 0"]
    )
    touch(root, "1.jpg", "2.jpg")
    one_sentence(lambda: list_nus_wide(root), "/a/1.jpg", "/b/1.jpg", "data.image_root")


def test_a_repeated_line_is_reported(tmp_path):
    root = write_lists(tmp_path, [*DATABASE, DATABASE[0]], TRAIN, TEST)
    touch(root, *(f"images/{number}.jpg" for number in (1, 2, 3, 4)))
    listing = list_nus_wide(root)
    assert len(listing) == 4
    assert listing.skipped == ("images/1.jpg: line 4 of database.txt repeats it",)


@pytest.mark.parametrize(
    ("database", "train", "test", "parts"),
    [
        (["images/1.jpg"], TRAIN, TEST, ["Line 1", "database.txt"]),
        ([*DATABASE, "images/5.jpg 0 2 0"], TRAIN, TEST, ["Line 4", "database.txt"]),
        (DATABASE, TRAIN, ["images/4.jpg 1 0"], ["Line 1", "test.txt", "2 labels", "has 3"]),
        (DATABASE, ["images/1.jpg 1 0 0"], TEST, ["Line 1", "train.txt", "database.txt"]),
        (DATABASE, TRAIN, [*TEST, DATABASE[1]], ["Line 2", "test.txt", "database.txt", "itself"]),
        (DATABASE[1:], TRAIN, TRAIN, ["Line 1", "test.txt", "train.txt", "itself"]),
    ],
)
def test_wrong_lists(tmp_path, database, train, test, parts):
    root = write_lists(tmp_path, database, train, test)
    one_sentence(lambda: list_nus_wide(root), *parts)


def test_no_image_of_the_lists_is_there(tmp_path):
    root = write_lists(tmp_path, DATABASE, TRAIN, TEST)
    one_sentence(lambda: list_nus_wide(root), root / "database.txt", "data.image_root")


def test_empty_lists(tmp_path):
    root = write_lists(tmp_path, [], [], [])
    one_sentence(lambda: list_nus_wide(root), "database.txt")

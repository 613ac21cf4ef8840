"""The dry run: counts by class, what was left out, and thumbnails where they should be."""

import numpy as np
from PIL import Image

from dsh_jax.data.images.cache import cached_images
from dsh_jax.data.images.listing import list_images
from dsh_jax.report.preview import count_table, write_preview


def plain(values, side=8, channels=3):
    """One grey image per value: `[n, side, side, channels]`."""
    values = np.array(values, np.uint8)
    return np.broadcast_to(values[:, None, None, None], (len(values), side, side, channels))


def thumbnail(folder, row, column):
    """The values in a thumbnail's place, 64 pixels wide with 4 around it, right of the name."""
    sheet = np.asarray(Image.open(folder / "preview.png"))
    top, left = 4 + 68 * row, 160 + 68 * column
    return np.unique(sheet[top : top + 64, left : left + 64])


def test_counts_by_class():
    rows = {"cat": np.array([1, 1, 0, 0], bool), "hippopotamus": np.array([0, 0, 1, 0], bool)}
    table = count_table(rows, {"all": np.arange(4), "labeled": np.array([0, 2])})
    assert table.splitlines() == [
        "class         all  labeled",
        "cat             2        1",
        "hippopotamus    1        1",
        "images          4        2",
    ]


def test_single_label(tmp_path):
    text = write_preview(
        tmp_path / "new", images=plain([10, 20, 30]), labels=np.array([0, 1, 1], np.int32),
        class_names=("a", "b"), parts={"labeled": np.array([1]), "unlabeled": np.array([0, 2])},
    )  # fmt: skip
    assert text.splitlines() == [
        "class   all  labeled  unlabeled",
        "a         1        0          1",
        "b         2        1          1",
        "images    3        1          2",
        "",
        "Nothing was left out.",
    ]
    assert (tmp_path / "new/preview.txt").read_text() == text + "\n"
    places = [(0, 0), (1, 0), (1, 1)]
    assert [thumbnail(tmp_path / "new", *at).tolist() for at in places] == [[10], [20], [30]]
    assert thumbnail(tmp_path / "new", 0, 1).tolist() == [255]  # a has just one image
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        "preview.png", "preview.txt",
    ]  # fmt: skip


def test_multi_label_with_unlabeled_images_and_an_empty_class(tmp_path):
    labels = np.array([[1, 0, 1], [1, 0, 0], [0, 0, 0]], np.uint8)
    text = write_preview(
        tmp_path, images=plain([10, 20, 30]), labels=labels, class_names=("a", "b", "c"), parts={}
    )
    assert [line.split() for line in text.splitlines()[:6]] == [
        ["class", "all"], ["a", "2"], ["b", "0"], ["c", "1"], ["(no", "label)", "1"],
        ["images", "3"],
    ]  # fmt: skip
    rows = [[thumbnail(tmp_path, row, column).tolist() for column in (0, 1)] for row in range(4)]
    white = [255]
    assert rows == [[[10], [20]], [white, white], [[10], white], [[30], white]]


def test_all_that_was_left_out_is_in_the_file(tmp_path):
    skipped = [f"{number}.jpg: it is empty" for number in range(1234)]
    options = {"labels": np.zeros(1, np.int32), "class_names": ("a",), "parts": {}}
    text = write_preview(tmp_path, images=plain([0]), skipped=skipped, **options)
    assert "Left out: 1,234" in text and "9.jpg: it is empty" in text and "10.jpg" not in text
    assert text.endswith("and 1,224 more, in preview.txt")
    written = (tmp_path / "preview.txt").read_text().splitlines()
    assert [line.strip() for line in written[-1234:]] == skipped


def test_thumbnails_are_spread_over_a_class(tmp_path):
    labels = np.zeros(100, np.int32)
    write_preview(
        tmp_path, images=plain(range(100)), labels=labels, class_names=("a",), parts={}, columns=4
    )
    found = [thumbnail(tmp_path, 0, column).tolist() for column in range(4)]
    assert found == [[0], [33], [66], [99]]


def test_many_classes_have_thumbnails_of_the_first(tmp_path):
    names = [str(number) for number in range(150)]
    labels = np.arange(150, dtype=np.int32)
    text = write_preview(
        tmp_path, images=plain(range(150)), labels=labels, class_names=names, parts={}
    )
    assert "Thumbnails are of the first 100 classes." in text
    assert Image.open(tmp_path / "preview.png").height == 100 * 68 + 4
    assert thumbnail(tmp_path, 99, 0).tolist() == [99]


def test_small_grey_images_are_enlarged_sharply(tmp_path):
    image = np.zeros((1, 8, 8, 1), np.uint8)
    image[0, :, 4:] = 200
    write_preview(
        tmp_path, images=image, labels=np.zeros(1, np.int32), class_names=("å 猫",), parts={}
    )
    assert thumbnail(tmp_path, 0, 0).tolist() == [0, 200]


def test_of_cached_images(tmp_path):
    for name in ("a/1.png", "b/1.png"):
        (tmp_path / "images" / name).parent.mkdir(parents=True)
        Image.new("RGB", (100, 100), (50, 50, 50)).save(tmp_path / "images" / name)
    listing = list_images(tmp_path / "images")
    cached = cached_images(listing, size=96, cache=tmp_path / "cache")
    write_preview(
        tmp_path, images=cached, labels=listing.labels, class_names=listing.class_names, parts={}
    )
    assert abs(int(thumbnail(tmp_path, 1, 0)[0]) - 50) < 3

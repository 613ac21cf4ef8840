"""Reports of what is allowed but odd: one bit, one item, and names of any characters."""

import warnings

import numpy as np
import pytest

from dsh_jax import hamming
from dsh_jax.data.documents.collections import load_documents
from dsh_jax.data.documents.dataset import as_dataset
from dsh_jax.data.documents.vocabulary import fit_vocabulary
from dsh_jax.data.images.dataset import ImageDataset
from dsh_jax.report import comparison, figures
from dsh_jax.report.names import for_matplotlib, printable, short
from dsh_jax.report.page import write_report
from dsh_jax.report.preview import write_preview
from dsh_jax.retrieval import evaluate
from dsh_jax.retrieval.counts import distance_counts
from tests import corpus

ODD = (
    r"$\frac$", "a$b", r"\$", "_hidden", "lone \udcff", "two\nlines\x00\t", "x" * 5000, "<b>&", "",
)  # fmt: skip


def report(folder, dataset, num_bits, queries=2):
    """Writes the report of random codes, and fails on any warning but that of a missing glyph."""
    n = len(dataset)
    packed = hamming.pack(np.random.default_rng(0).integers(0, 2, (n, num_bits)))
    codes = {"num_bits": np.asarray(num_bits)}
    arrays = []
    for role, ids in (("query", np.arange(queries)), ("database", np.arange(queries, n))):
        found = packed[ids], dataset.labels[ids]
        codes |= {f"{role}_codes": found[0], f"{role}_labels": found[1], f"{role}_ids": ids}
        arrays += found
    result = {
        "method": "x", "dataset": dataset.name, "dataset_version": "1", "protocol": "1/1/1",
        "split_checksum": "c" * 64, "num_labeled": 1, "seed": 0,
    } | evaluate(*arrays, num_bits=num_bits)  # fmt: skip
    counts = distance_counts(*arrays, num_bits=num_bits)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        page = write_report(
            folder, result=result, codes=codes, counts=counts, dataset=dataset, samples=None
        )
    return page.read_text(encoding="utf-8"), {path.stem for path in folder.glob("*.png")}


def images(n=20, names=("a", "b"), multi=False):
    labels = (np.arange(n) % len(names)).astype(np.int32)
    return ImageDataset(
        name="x", version="1", images=np.zeros((n, 8, 8, 3), np.uint8),
        labels=np.eye(len(names), dtype=np.uint8)[labels] if multi else labels,
        is_test=np.zeros(n, bool), class_names=tuple(names),
    )  # fmt: skip


@pytest.mark.parametrize(("num_bits", "n"), [(1, 20), (1, 3), (1, 4), (2, 3), (2, 4)])
def test_one_bit_and_few_items(tmp_path, num_bits, n):
    _, pictures = report(tmp_path, images(n), num_bits)
    assert {"map", "gallery"} <= pictures


@pytest.mark.parametrize("multi", [False, True])
def test_odd_class_names(tmp_path, multi):
    _, pictures = report(tmp_path, images(30, ODD, multi), 8, queries=len(ODD))
    assert "classes" in pictures


def test_odd_documents(tmp_path):
    lines = corpus.lines()
    for line, odd in zip(lines, ODD, strict=False):
        line |= {"id": f"id {odd}", "tags": [odd, "fruit"], "text": f"apple {odd} <script>"}
    documents = load_documents("jsonl", corpus.write(tmp_path / "a.jsonl", lines))
    vocabulary = fit_vocabulary(documents.texts, max_words=99, min_documents=1, max_share=1.0)
    html, _ = report(tmp_path / "report", as_dataset(documents, vocabulary), 8, queries=len(ODD))
    assert "<script>" not in html and r"\udcff" in html and "x" * 300 not in html


def test_an_empty_gallery_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr("dsh_jax.report.page.GALLERY_COLUMNS", 0)
    html, pictures = report(tmp_path, images(), 8)
    assert "gallery" not in pictures and 'alt="gallery"' not in html


def test_odd_names_in_the_preview(tmp_path):
    data = images(len(ODD), ODD)
    text = write_preview(
        tmp_path, images=data.images, labels=data.labels, class_names=ODD,
        parts={"labeled": np.arange(3)}, skipped=["\udcff.png: it is empty"],
    )  # fmt: skip
    text.encode()
    assert max(map(len, text.splitlines())) < 120 and r"lone \udcff" in text
    assert r"\udcff.png: it is empty" in (tmp_path / "preview.txt").read_text(encoding="utf-8")


def test_odd_names_of_runs(tmp_path):
    query, labels = np.array([[0, 1]] * 3), np.array([0, 1, 0])
    result = evaluate(query, labels, query, labels, num_bits=2, cuts=(100, 1000))
    runs = {name: result | {"num_labeled": 1} for name in (*ODD, "a|b")}
    comparison.write_comparison(runs, tmp_path, "png")
    rows = (tmp_path / "compare.md").read_text(encoding="utf-8").splitlines()
    assert len(rows) == 2 + len(runs) and len({len(row) for row in rows}) == 1
    (legend,) = figures.radius_curves(runs).legends
    assert len(legend.get_texts()) == len(runs)


def test_names_by_hand():
    assert printable("a\udcff é") == r"a\udcff é"
    assert short(" a\n b\x00c ", 9) == "a b c"
    assert short("x" * 9, 9) == "x" * 9 and short("x" * 10, 9) == "x" * 7 + " …"
    assert short("y" * 10**6, 9) == "y" * 7 + " …"
    assert for_matplotlib("_a$", 9) == r" _a\$"

"""Writes the tables of docs/results.md and README.md from what `eval.py --result` wrote.

    python -m tools.results_table [--check] [--root .]

A table of docs/results.md is for one data set and one protocol, because results under different
protocols cannot be compared; below it are the paired differences between its arms. README.md has a
few of the rows. `--check` writes nothing and exits 1 if a page is not up to date.
"""

import os
import statistics
import sys
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from dsh_jax.errors import UserError
from dsh_jax.files import replacing
from dsh_jax.report.markdown import table
from dsh_jax.report.spread import score
from tools import cells, differences, documents_table, headlines, tables
from tools.headlines import DATASETS
from tools.result_files import Result, check, ordered, read, rows

NOTES = {
    "cifar10": "CIFAR-10 here is a JPEG re-encoding of the original pixels.",
    "cifar10_features": "The vectors are features of `examples/cifar10_48bit.safetensors`, 128 "
    "numbers for each image: all rows rest on the 5000 labels and 1000 validation labels that it "
    "was trained with. Bits of the floats are those of 128 float32.",
    "multi_digits": "Two images are similar if they share a digit; most do, so a random order has "
    "a high mAP already. nDCG counts how many they share.",
}
COLUMNS = ("method", "network or config", "bits", "labels (+ validation)", "mAP",
           "s.e. over queries", "precision@100", "draws", "training time", "machine",
           "file")  # fmt: skip
_SCORES_END = COLUMNS.index("draws")
GRADED = "ndcg_at_100"  # only for items with several labels


def render(results: Sequence[Result], folder: Path) -> str:
    """All tables of results on images as Markdown; links are relative to `folder`.

    Raises:
      UserError: results cannot be paired.
    """
    parts = []
    for (dataset, protocol), of_table in groupby(ordered(results), lambda r: r.table):
        title = DATASETS.get(dataset, dataset)
        parts.append(f"### {title}, {protocol} (queries / labeled / database)")
        if dataset in NOTES:
            parts.append(NOTES[dataset])
        in_table = list(of_table)
        graded = all(GRADED in result.content for result in in_table)
        columns = list(COLUMNS)
        columns[_SCORES_END:_SCORES_END] = ["nDCG@100"] if graded else []
        parts.append(table(columns, [_row(runs, folder, graded) for runs in rows(in_table)]))
        parts += filter(None, [differences.render(in_table)])
    return "\n\n".join(parts)


def _row(runs: Sequence[Result], folder: Path, graded: bool) -> list[object]:
    """One row: a run, or the mean of runs that differ only in their draw."""
    contents = [run.content for run in runs]
    seconds = [content["train_seconds"] for content in contents if "train_seconds" in content]
    links = [f"[{r.path.stem}]({Path(os.path.relpath(r.path, folder)).as_posix()})" for r in runs]
    return [
        runs[0].method,
        runs[0].config,
        contents[0]["num_bits"],
        cells.labels(contents[0]),
        score([content["map"] for content in contents]),
        cells.query_error(contents),
        score([content["precision_at_100"] for content in contents]),
        *([score([content[GRADED] for content in contents])] if graded else []),
        cells.draws(contents),
        cells.duration(statistics.mean(seconds)) if seconds else cells.GAP,
        "; ".join(sorted({run.machine for run in runs})),
        " ".join(links),
    ]


def render_documents(results: Sequence[Result]) -> str:
    """The tables of results on documents as Markdown, each with its paired differences.

    Raises:
      UserError: results cannot be paired.
    """
    parts = []
    for dataset, contents in documents_table.by_collection([r.content for r in results]):
        parts.append(documents_table.render(contents))
        of_table = [result for result in results if result.content["dataset"] == dataset]
        parts += filter(None, [differences.render(of_table)])
    return "\n\n".join(parts)


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes or checks the pages; returns the exit code."""
    options = tables.options(str(__doc__), arguments)
    root, docs = options.root, options.root / "docs"
    try:
        images = [read(path) for path in sorted(root.glob("results/*.json"))]
        check(images)
        documents = [read(path) for path in sorted(root.glob("results/documents/*.json"))]
        contents = [result.content for result in documents]
        documents_table.check(contents)
        every = [*images, *documents]
        whole = [render(images, docs), render_documents(documents)]
        short = [headlines.render(every), headlines.synthetic_images(every),
                 headlines.without_result(every, root / "configs")]  # fmt: skip
        pages = {
            docs / "results.md": ("results", "\n\n".join(filter(None, whole))),
            root / "README.md": ("headlines", "\n\n".join(filter(None, short))),
        }
        code = tables.update(pages, check=options.check)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    by_bits = [content for content in contents if not documents_table.arm_of(content)]
    if by_bits and not options.check:
        with replacing(docs / "documents_bits.png") as beside:
            documents_table.write_plot(by_bits, beside)
    return code


if __name__ == "__main__":
    sys.exit(main())

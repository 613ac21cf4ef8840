"""The report of one evaluated workdir: pictures, and one HTML page that embeds them."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from matplotlib.figure import Figure

from dsh_jax import hamming
from dsh_jax.data.dataset import Dataset
from dsh_jax.data.documents.dataset import TextDataset, snippet
from dsh_jax.data.images.dataset import ImageDataset
from dsh_jax.data.images.decoding import fit_image, read_image
from dsh_jax.data.vectors.dataset import VectorDataset
from dsh_jax.files import replacing
from dsh_jax.report import curves, figures
from dsh_jax.report.codes import meaning
from dsh_jax.report.drawing import drawn, save
from dsh_jax.report.names import printable, short
from dsh_jax.retrieval import ranking
from dsh_jax.retrieval.health import code_health

GALLERY_ROWS, GALLERY_COLUMNS = 10, 10
SNIPPETS, SNIPPET_LENGTH = 5, 200  # per query; in characters
MAP_ITEMS = 1000
THUMBNAIL = 64  # pixels per side
MOST_CLASSES = 20  # in a picture


def write_report(
    folder: Path,
    *,
    result: Mapping[str, Any],
    codes: Mapping[str, np.ndarray],
    counts: np.ndarray,
    dataset: Dataset,
    samples: Path | None,
    metrics: Path | None = None,
    image_format: str = "png",
) -> Path:
    """Writes `report.html`, which needs no other file, and its pictures.

    Args:
      folder: where to write.
      result: what `eval.json` holds.
      codes: what `codes.npz` holds.
      counts: `retrieval.counts.distance_counts` of these codes and labels.
      dataset: the items that the ids in `codes` refer to.
      samples: a picture of synthetic images, one row per class; None leaves it out.
      metrics: the `metrics.jsonl` of the training; None leaves its curves out.
      image_format: of the pictures' files, one of `names.FORMATS`; the page has PNGs.

    Returns:
      The page's path.
    """
    num_bits = int(codes["num_bits"])
    query, database = codes["query_codes"], codes["database_codes"]
    query_labels, labels = codes["query_labels"], codes["database_labels"]
    pictures = {
        "radius_curve": figures.radius_curves({str(result["method"]): result}),
        "precision_at_k": figures.precision_at_k(counts),
        "distances": figures.distances(counts),
        "bits": figures.bit_means(
            {"query": code_health(query, num_bits=num_bits), "database": result["code_health"]}
        ),
        "classes": _class_scores(counts, query_labels, dataset.class_names),
        "map": _map(database, labels, dataset.class_names, num_bits),
    }
    found = _search(codes, dataset, num_bits)
    if _has_pictures(dataset) and found.items.size:
        pictures["gallery"] = figures.gallery(
            _pictures(dataset, found.queries), found.titles, _pictures(dataset, found.items),
            found.is_right, found.distances,
        )  # fmt: skip
    series = curves.read_metrics(metrics) if metrics is not None else {}
    if not series.keys() <= curves.CLOCKS:
        pictures["training"] = curves.training(series, result["step"])
    embedded = {name: drawn(figure, "png") for name, figure in pictures.items()}
    if samples is not None:
        embedded["samples"] = samples.read_bytes()
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True,
        undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    page = environment.get_template("page.html").render(
        result=result,
        codes=meaning(str(result.get("codes", ""))),
        data=short(dataset.name, 100),
        gallery=[] if isinstance(dataset, TextDataset) else _gallery_names(found, dataset),
        scores={name: value for name, value in result.items() if _is_score(name, value)},
        snippets=_snippets(found, dataset) if isinstance(dataset, TextDataset) else [],
        pictures={name: base64.b64encode(png).decode() for name, png in embedded.items()},
    )
    for name, png in embedded.items():
        as_asked = image_format != "png" and name in pictures
        content = drawn(pictures[name], image_format) if as_asked else png
        save(folder, name, content, image_format if as_asked else "png")
    path = folder / "report.html"
    with replacing(path) as beside:
        beside.write_text(printable(page), encoding="utf-8")
    return path


def _is_score(name: str, value: Any) -> bool:
    return isinstance(value, float) and name != "train_seconds"


def _class_scores(counts: np.ndarray, labels: np.ndarray, names: tuple[str, ...]) -> Figure:
    scores = ranking.average_precision(counts)
    multi = labels.ndim == 2
    sizes = labels.sum(axis=0) if multi else np.bincount(labels, minlength=len(names))
    shown = _largest(sizes)
    member = labels[:, shown] if multi else labels[:, None] == shown
    means = member.T @ scores / sizes[shown]
    return figures.class_scores(
        [names[label] for label in shown], means.tolist(), float(scores.mean())
    )


@dataclass(frozen=True)
class _Found:
    """Some queries and the items nearest to them.

    Attributes:
      queries: rows of the data set, `[rows]`.
      titles: the names of their labels.
      items: rows of the data set, the nearest first, `[rows, columns]`.
      distances: Hamming distances, `[rows, columns]`.
      is_right: whether an item shares a label with its query, bool `[rows, columns]`.
    """

    queries: np.ndarray
    titles: list[str]
    items: np.ndarray
    distances: np.ndarray
    is_right: np.ndarray


def _search(codes: Mapping[str, np.ndarray], dataset: Dataset, num_bits: int) -> _Found:
    """The nearest items of some queries, of as many classes as fit; ties are broken at random."""
    rng = np.random.default_rng(0)
    labels = codes["query_labels"]
    rows = rng.permutation(len(labels))[:GALLERY_ROWS]
    if labels.ndim == 1:  # one query per class first, then the others
        shuffled = rng.permutation(len(labels))
        _, first = np.unique(labels[shuffled], return_index=True)
        rows = np.concatenate([shuffled[first], np.delete(shuffled, first)])[:GALLERY_ROWS]
    distance = hamming.distances(codes["query_codes"][rows], codes["database_codes"], num_bits)
    order = np.lexsort((rng.permuted(np.tile(np.arange(distance.shape[1]), (len(rows), 1)), axis=1),
                        distance))[:, :GALLERY_COLUMNS]  # fmt: skip
    found = codes["database_labels"][order]
    wanted = labels[rows][:, None]
    queries, items = codes["query_ids"][rows], codes["database_ids"][order]
    return _Found(
        queries=queries,
        titles=[_label_names(dataset, row) for row in queries],
        items=items,
        distances=np.take_along_axis(distance, order, axis=1),
        is_right=found == wanted if labels.ndim == 1 else (found * wanted).any(axis=2),
    )


def _has_pictures(dataset: Dataset) -> bool:
    return isinstance(dataset, ImageDataset) or (
        isinstance(dataset, VectorDataset) and bool(dataset.paths)
    )


def _pictures(dataset: Dataset, rows: np.ndarray) -> np.ndarray:
    """Pictures of items `[...]`, uint8 `[..., height, width, channels]`."""
    if isinstance(dataset, ImageDataset):
        return dataset.images[rows]
    assert isinstance(dataset, VectorDataset)
    side = THUMBNAIL
    missing = np.full((side, side, 3), 224, np.uint8)  # grey, where there is no picture

    def one(path: str) -> np.ndarray:
        image = read_image(Path(path), (side, side), "RGB") if path else ""
        if isinstance(image, str):
            return missing
        return np.asarray(fit_image(image, (side, side), "RGB"))

    of_rows = [one(dataset.paths[row]) for row in rows.ravel()]
    return np.stack(of_rows).reshape(*rows.shape, *missing.shape)


def _gallery_names(found: _Found, dataset: Dataset) -> list[dict[str, Any]]:
    """The names of queries and of the items nearest to them; vectors without have their rows."""
    if not dataset.names and not isinstance(dataset, VectorDataset):
        return []

    def shown(row: int) -> str:
        return short(dataset.names[row], SNIPPET_LENGTH) if dataset.names else f"row {row}"

    return [
        {"query": shown(query), "found": [
            {"name": shown(item), "distance": int(distance), "is_right": bool(right)}
            for item, distance, right in zip(*columns, strict=True)
        ]}
        for query, *columns in zip(
            found.queries, found.items, found.distances, found.is_right, strict=True
        )
    ]  # fmt: skip


def _label_names(dataset: Dataset, row: int) -> str:
    member = dataset.multi_hot(np.array([row]))[0] > 0
    return ", ".join(np.asarray(dataset.class_names)[member]) or "no label"


def _snippets(found: _Found, dataset: TextDataset) -> list[dict[str, Any]]:
    """The first words of queries and of the documents nearest to them."""

    def shown(row: int) -> dict[str, Any]:
        text = snippet(dataset.texts[row], SNIPPET_LENGTH)
        name, labels = dataset.names[row], _label_names(dataset, row)
        return {"name": short(name, SNIPPET_LENGTH), "labels": short(labels, SNIPPET_LENGTH),
                "text": text}  # fmt: skip

    return [
        shown(query)
        | {
            "found": [
                shown(item) | {"distance": int(distance), "is_right": bool(right)}
                for item, distance, right in zip(*columns, strict=True)
            ]
        }
        for query, *columns in zip(
            found.queries,
            found.items[:, :SNIPPETS],
            found.distances[:, :SNIPPETS],
            found.is_right[:, :SNIPPETS],
            strict=True,
        )
    ]


def _map(
    database: np.ndarray, labels: np.ndarray, names: tuple[str, ...], num_bits: int
) -> Figure:
    chosen = np.random.default_rng(0).permutation(len(database))[:MAP_ITEMS]
    # The first label gives the colour.
    classes = labels[chosen] if labels.ndim == 1 else labels[chosen].argmax(axis=1)
    sizes = np.bincount(classes, minlength=len(names))
    shown = _largest(sizes)
    # Classes that are not shown share the last place.
    place = np.full(len(names), len(shown))
    place[shown] = np.arange(len(shown))
    more = np.count_nonzero(sizes) > len(shown)
    shown_names = [names[label] for label in shown] + ["others"] * bool(more)
    return figures.code_map(hamming.unpack(database[chosen], num_bits), place[classes], shown_names)


def _largest(sizes: np.ndarray) -> np.ndarray:
    """The classes with the most items, in the order of the names; none without items."""
    shown = np.sort(np.argsort(-sizes, kind="stable")[:MOST_CLASSES])
    return shown[sizes[shown] > 0]

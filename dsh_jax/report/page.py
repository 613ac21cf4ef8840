"""The report of one evaluated workdir: PNGs, and one HTML page that holds them all."""

import base64
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from matplotlib.figure import Figure

from dsh_jax import hamming
from dsh_jax.data.dataset import ImageDataset
from dsh_jax.files import replacing
from dsh_jax.report import figures
from dsh_jax.retrieval import ranking
from dsh_jax.retrieval.counts import distance_counts
from dsh_jax.retrieval.health import code_health

GALLERY_ROWS, GALLERY_COLUMNS = 10, 10
MAP_ITEMS = 1000


def write_report(
    folder: Path,
    *,
    result: Mapping[str, Any],
    codes: Mapping[str, np.ndarray],
    dataset: ImageDataset,
    samples: Path | None,
) -> Path:
    """Writes `report.html`, which needs no other file, and its pictures as PNGs.

    Args:
      folder: where to.
      result: what `eval.json` holds.
      codes: what `codes.npz` holds.
      dataset: whose rows the codes' ids are.
      samples: a picture of synthetic images, a row a class, if there is one.

    Returns:
      The page's path.
    """
    num_bits = int(codes["num_bits"])
    query, database = codes["query_codes"], codes["database_codes"]
    query_labels, labels = codes["query_labels"], codes["database_labels"]
    counts = distance_counts(query, query_labels, database, labels, num_bits=num_bits)
    drawn = {
        "radius_curve": figures.radius_curves({str(result["method"]): result}),
        "precision_at_k": figures.precision_at_k(counts),
        "distances": figures.distances(counts),
        "bits": figures.bit_means(
            {"query": code_health(query, num_bits=num_bits), "database": result["code_health"]}
        ),
        "classes": _class_scores(counts, query_labels, dataset.class_names),
        "gallery": _gallery(codes, dataset, num_bits),
        "map": _map(database, labels, dataset.class_names, num_bits),
    }
    pictures = {name: _png(figure) for name, figure in drawn.items()}
    if samples is not None:
        pictures["samples"] = samples.read_bytes()
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True,
        undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    page = environment.get_template("page.html").render(
        result=result,
        scores={name: value for name, value in result.items() if _is_score(name, value)},
        pictures={name: base64.b64encode(png).decode() for name, png in pictures.items()},
    )
    for name, png in pictures.items():
        with replacing(folder / f"{name}.png") as beside:
            beside.write_bytes(png)
    path = folder / "report.html"
    with replacing(path) as beside:
        beside.write_text(page, encoding="utf-8")
    return path


def _is_score(name: str, value: Any) -> bool:
    return isinstance(value, float) and name != "train_seconds"


def _class_scores(counts: np.ndarray, labels: np.ndarray, names: tuple[str, ...]) -> Figure:
    scores = ranking.average_precision(counts)
    member = labels if labels.ndim == 2 else np.eye(len(names))[labels]
    means = member.T @ scores / np.maximum(member.sum(axis=0), 1)
    return figures.class_scores(names, means.tolist(), float(scores.mean()))


def _gallery(codes: Mapping[str, np.ndarray], dataset: ImageDataset, num_bits: int) -> Figure:
    """Queries of all classes; among equally near items chance decides, as in the scores."""
    rng = np.random.default_rng(0)
    labels = codes["query_labels"]
    rows = rng.permutation(len(labels))[:GALLERY_ROWS]
    if labels.ndim == 1:  # one query a class first, then the others
        shuffled = rng.permutation(len(labels))
        _, first = np.unique(labels[shuffled], return_index=True)
        rows = np.concatenate([shuffled[first], np.delete(shuffled, first)])[:GALLERY_ROWS]
    distance = hamming.distances(codes["query_codes"][rows], codes["database_codes"], num_bits)
    order = np.lexsort((rng.permuted(np.tile(np.arange(distance.shape[1]), (len(rows), 1)), axis=1),
                        distance))[:, :GALLERY_COLUMNS]  # fmt: skip
    found = codes["database_labels"][order]
    wanted = labels[rows][:, None]
    is_right = found == wanted if labels.ndim == 1 else (found * wanted).any(axis=2)
    member = np.eye(len(dataset.class_names))[labels] if labels.ndim == 1 else labels
    titles = [
        ", ".join(np.asarray(dataset.class_names)[member[row] > 0]) or "no label" for row in rows
    ]
    return figures.gallery(
        dataset.images[codes["query_ids"][rows]], titles,
        dataset.images[codes["database_ids"][order]], is_right,
    )  # fmt: skip


def _map(
    database: np.ndarray, labels: np.ndarray, names: tuple[str, ...], num_bits: int
) -> Figure:
    chosen = np.random.default_rng(0).permutation(len(database))[:MAP_ITEMS]
    # Of several labels, the first colours the point.
    classes = labels[chosen] if labels.ndim == 1 else labels[chosen].argmax(axis=1)
    return figures.code_map(hamming.unpack(database[chosen], num_bits), classes, names)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    return buffer.getvalue()

"""The pictures of a report, each a matplotlib figure made from plain arrays."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dsh_jax.report.drawing import RIGHT, WRONG, one_panel
from dsh_jax.report.names import for_matplotlib
from dsh_jax.retrieval import ranking
from dsh_jax.retrieval.health import constant_bits

_NAME = 40  # characters of a name


def radius_curves(results: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Precision over recall of looking up all items within a radius, with one point per radius.

    Args:
      results: name -> what `retrieval.evaluate` returns.
    """
    figure, axes = one_panel("recall", "precision", "Precision and recall by Hamming radius")
    for name, result in results.items():
        curve = result["radius_curve"]
        # Where most lookups find nothing, precision says little about the codes.
        shown = np.asarray(curve["empty_ball_rate"]) < 0.5
        axes.plot(
            np.asarray(curve["recall"])[shown], np.asarray(curve["precision"])[shown],
            marker=".", label=f"{for_matplotlib(name, 2 * _NAME)} ({result['num_bits']} bits)",
        )  # fmt: skip
    axes.set(xlim=(0, 1), ylim=(0, 1.02))
    if len(results) > 1:  # a single one is named above the figure
        figure.legend(loc="outside lower center")
    return figure


def precision_at_k(counts: np.ndarray) -> Figure:
    """Mean precision of the first k items, with its range over all orders of ties.

    Args:
      counts: `[n_query, num_bits + 1, levels]` of `retrieval.counts.distance_counts`.
    """
    num_database = int(counts[0].sum())
    cuts = np.unique(np.geomspace(1, num_database, 60).astype(int))
    figure, axes = one_panel("k", "precision", "Precision of the first k items")
    worst, expected, best = (
        [ranking.precision_at(c, int(cut)).mean() for cut in cuts]
        for c in (ranking.in_order(counts, "worst"), counts, ranking.in_order(counts, "best"))
    )
    axes.fill_between(cuts, worst, best, alpha=0.25, label="any order of ties")
    axes.plot(cuts, expected, label="expected")
    axes.set(xscale="log", ylim=(0, 1.02))
    _legend_beside(figure)
    return figure


def bit_means(health: Mapping[str, Mapping[str, Any]]) -> Figure:
    """The share of ones per bit; bits that are equal in all codes are marked.

    Args:
      health: name of a set of codes -> its `retrieval.health.code_health`.
    """
    figure, axes = one_panel("bit", "share of ones", "Balance of the bits")
    width = 0.8 / len(health)
    for offset, (name, values) in enumerate(health.items()):
        means = values["bit_means"]
        axes.bar(np.arange(len(means)) + (offset + 0.5) * width - 0.4, means, width,
                 label=for_matplotlib(name, _NAME))  # fmt: skip
    marked = [(bit, h["bit_means"][bit]) for h in health.values() for bit in constant_bits(h)]
    if marked:
        axes.plot(*zip(*marked, strict=True), "X", color=WRONG, label="always the same",
                  clip_on=False)  # fmt: skip
    axes.axhline(0.5, color="black", linewidth=0.8)
    axes.set(ylim=(0, 1))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _legend_beside(figure)
    return figure


def distances(counts: np.ndarray) -> Figure:
    """Distances of similar and dissimilar items from the queries; `counts` as above."""
    figure, axes = one_panel("Hamming distance", "share of pairs", "Similar and dissimilar pairs")
    for name, pairs, color in (
        ("similar", counts[..., 1:].sum(axis=(0, 2)), RIGHT),
        ("dissimilar", counts[..., 0].sum(axis=0), WRONG),
    ):
        share = pairs / max(1, pairs.sum())
        axes.bar(np.arange(len(share)), share, width=1.0, alpha=0.6, color=color, label=name)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _legend_beside(figure)
    return figure


def class_scores(names: Sequence[str], scores: Sequence[float], mean: float) -> Figure:
    """Mean average precision by class of the query, with the mean over all queries."""
    figure, axes = one_panel("", "mAP", "mAP by class of the query")
    axes.bar(np.arange(len(names)), scores)
    axes.axhline(mean, color="black", linewidth=0.8, label=f"all queries: {mean:.3f}")
    shown = [for_matplotlib(name, _NAME) for name in names]
    axes.set_xticks(np.arange(len(names)), shown, rotation=45, ha="right")
    axes.set(ylim=(0, 1))
    _legend_beside(figure)
    return figure


def gallery(
    queries: np.ndarray,
    titles: Sequence[str],
    nearest: np.ndarray,
    is_right: np.ndarray,
    distances: np.ndarray,
) -> Figure:
    """Queries with their nearest images, right ones framed green and wrong ones red.

    Under each image stands its distance from the query.

    Args:
      queries: uint8 `[rows, height, width, channels]`.
      titles: one per row.
      nearest: uint8 `[rows, columns, height, width, channels]`.
      is_right: bool `[rows, columns]`.
      distances: int `[rows, columns]`.
    """
    rows, columns = is_right.shape
    figure = Figure(figsize=(1.0 * (columns + 1) + 1.2, 1.15 * rows), layout="constrained")
    grid: np.ndarray = np.asarray(figure.subplots(rows, columns + 1, squeeze=False))
    for row in range(rows):
        _show(grid[row, 0], queries[row], "black")
        title = for_matplotlib(titles[row], _NAME)
        grid[row, 0].set_ylabel(title, rotation=0, ha="right", va="center")
        for column in range(columns):
            color = RIGHT if is_right[row, column] else WRONG
            _show(grid[row, column + 1], nearest[row, column], color)
            grid[row, column + 1].set_xlabel(str(distances[row, column]), labelpad=2)
    return figure


def code_map(bits: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> Figure:
    """Codes in the plane (t-SNE of their Hamming distances), coloured by class.

    Args:
      bits: {0, 1} `[n, num_bits]`, up to some thousand codes.
      labels: class ids `[n]`.
      names: of the classes.
    """
    if bits.shape[1] < 2:  # the plane needs two
        bits = np.pad(bits, ((0, 0), (0, 1)))
    # A little noise spreads equal codes, which would otherwise coincide.
    spread = bits + np.random.default_rng(0).normal(0, 0.05, bits.shape)
    places = spread[:, :2]  # of a single code, which t-SNE does not take
    if len(bits) > 1:
        from sklearn.manifold import TSNE  # slow to import

        perplexity = min(30.0, (len(bits) - 1) / 3)
        places = TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(spread)
    figure, axes = one_panel("", "", "Map of the codes (t-SNE)")
    colors = [f"C{label}" for label in range(10)]
    if len(names) > len(colors):
        colors = [*colormaps["tab20"](range(20)), "lightgrey"]
    for label, name in enumerate(names):
        of_class = labels == label
        x, y = places[of_class].T
        axes.scatter(x, y, s=8, color=colors[label], label=for_matplotlib(name, _NAME))
    axes.set(xticks=[], yticks=[])
    size, spacing = ("medium", 0.5) if len(names) <= 10 else ("x-small", 0.3)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), markerscale=2, fontsize=size,
                labelspacing=spacing)  # fmt: skip
    return figure


def _legend_beside(figure: Figure) -> None:
    """The legend to the right of the panel, where it hides nothing."""
    figure.legend(loc="outside right upper")


def _show(axes: Axes, image: np.ndarray, color: str) -> None:
    axes.imshow(np.broadcast_to(image, (*image.shape[:2], 3)))
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set(color=color, linewidth=3)

"""Reports and comparisons: the contents of pages, and which results are not compared."""

import base64
import io
import json
import re
import warnings

import numpy as np
import pytest
from PIL import Image

from dsh_jax import hamming
from dsh_jax.data.images.dataset import ImageDataset
from dsh_jax.errors import UserError
from dsh_jax.report import comparison as compare
from dsh_jax.report import curves, figures
from dsh_jax.report.page import write_report
from dsh_jax.retrieval import evaluate
from dsh_jax.retrieval.counts import distance_counts
from dsh_jax.retrieval.health import code_health, constant_bits, problems

NAMES = ("ape", "bee & wasp", "cat")


def counted(codes):
    return distance_counts(
        codes["query_codes"], codes["query_labels"], codes["database_codes"],
        codes["database_labels"], num_bits=int(codes["num_bits"]),
    )  # fmt: skip


def problem(multi=False, n=60, num_bits=12):
    """(result, codes, dataset): codes that correlate with their class."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, n)
    bits = rng.integers(0, 2, (3, num_bits))[labels] ^ (rng.random((n, num_bits)) < 0.2)
    images = rng.integers(0, 256, (n, 8, 8, 3), dtype=np.uint8)
    dataset = ImageDataset(
        name="zoo", version="1", images=images, labels=labels.astype(np.int32),
        is_test=np.zeros(n, bool), class_names=NAMES,
        names=tuple(f"a folder/{row}<.png" for row in range(n)),
    )  # fmt: skip
    if multi:
        labels = np.eye(3, dtype=int)[labels] | (rng.random((n, 3)) < 0.2)
    ids = {"query": np.arange(12), "database": np.arange(12, n)}
    codes = {"num_bits": np.asarray(num_bits)}
    for role, rows in ids.items():
        codes |= {f"{role}_codes": hamming.pack(bits[rows]), f"{role}_ids": rows,
                  f"{role}_labels": labels[rows]}  # fmt: skip
    result = {"method": "dsh_gan", "dataset": "zoo", "dataset_version": "1", "protocol": "12/9/48",
              "split_checksum": "c" * 64, "seed": 0, "num_labeled": 9}  # fmt: skip
    arrays = [codes[f"{role}_{what}"] for role in ids for what in ("codes", "labels")]
    return result | evaluate(*arrays, num_bits=num_bits, cuts=(100, 1000)), codes, dataset


@pytest.mark.parametrize("multi", [False, True])
def test_the_page_holds_every_picture_and_score(tmp_path, multi):
    result, codes, dataset = problem(multi)
    result |= {"num_items": 70, "changes": ["1 item is gone"]}
    samples = tmp_path / "step.png"
    Image.new("RGB", (4, 4), "red").save(samples)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        page = write_report(
            tmp_path / "report", result=result, codes=codes, counts=counted(codes),
            dataset=dataset, samples=samples,
        )  # fmt: skip
    html = page.read_text()
    names = {p.stem for p in page.parent.glob("*.png")}
    assert names == {"radius_curve", "precision_at_k", "distances", "bits", "classes", "gallery",
                     "map", "samples"}  # fmt: skip
    embedded = re.findall(r'src="data:image/png;base64,([^"]+)" alt="(\w+)"', html)
    assert {name for _, name in embedded} == names
    for data, name in embedded:
        png = base64.b64decode(data)
        assert png == (page.parent / f"{name}.png").read_bytes()
        with Image.open(io.BytesIO(png)) as image:
            assert len(image.convert("RGB").getcolors(1 << 24)) > 2 or name == "samples"
    assert not re.search(r'(src|href)="(?!data:)', html)  # nothing from elsewhere
    for name in ("map", "precision_at_100", "precision_within_radius_2"):
        assert re.search(rf"<td>{name}</td><td>{result[name]:.4f}</td>", html)
    assert ("ndcg_at_100" in html) == multi
    assert all(rule in html for rule in result["rules"])
    assert "1 item is gone" in html and "codes of zoo" in html
    shown = re.findall(r"a folder/(\d+)&lt;.png \((\d+)\)", html)  # of the gallery
    assert len(shown) == 100 and {int(row) for row, _ in shown} <= set(range(12, 60))


def test_a_page_without_synthetic_images(tmp_path):
    result, codes, dataset = problem()
    page = write_report(
        tmp_path, result=result, codes=codes, counts=counted(codes), dataset=dataset, samples=None
    )
    assert "Synthetic images" not in page.read_text()
    assert not (tmp_path / "samples.png").exists()


def test_the_curves_are_the_scores():
    result, codes, _ = problem()
    counts = counted(codes)
    (line,) = figures.radius_curves({"a": result}).axes[0].get_lines()
    recall, precision = line.get_data()
    radius = result["radius_curve"]["recall"].index(recall[0])
    assert result["radius_curve"]["empty_ball_rate"][radius] < 0.5
    assert precision[-1] == result["radius_curve"]["precision"][-1] and recall[-1] == 1
    (line,) = figures.precision_at_k(counts).axes[0].get_lines()
    assert line.get_xdata()[-1] == 48
    assert line.get_ydata()[-1] == pytest.approx(result["precision_at_100"])  # clipped to 48
    similar, dissimilar = figures.distances(counts).axes[0].containers
    assert sum(bar.get_height() for bar in similar) == pytest.approx(1)
    assert similar[0].get_height() == pytest.approx(counts[:, 0, 1].sum() / counts[..., 1].sum())
    assert dissimilar[12].get_height() == pytest.approx(
        counts[:, 12, 0].sum() / counts[..., 0].sum()
    )


def test_right_images_are_framed_green_and_wrong_ones_red():
    images = np.zeros((2, 4, 4, 1), np.uint8)
    right = np.array([[True, False], [False, True]])
    distances = np.array([[0, 3], [1, 12]])
    figure = figures.gallery(images, ["a", "b"], images[[[0, 1], [1, 0]]], right, distances)
    below = [axes.get_xlabel() for axes in figure.axes]
    assert below == ["", "0", "3", "", "1", "12"]
    frames = np.array([axes.spines["top"].get_edgecolor()[:3] for axes in figure.axes])
    frames = frames.reshape(2, 3, 3)[:, 1:]
    assert np.array_equal(frames[..., 1] > frames[..., 0], right)


def load(workdirs):
    return compare.load_results(compare.result_files(workdirs))


@pytest.fixture
def workdirs(tmp_path):
    """Two evaluated workdirs, the second with a better mAP and a baseline."""
    result, _, _ = problem()
    for name, better in (("first", 0), ("second", 0.1), ("second/eval_itq", -0.1)):
        path = tmp_path / (name if "eval" in name else f"{name}/eval")
        path.parent.mkdir(exist_ok=True)
        path.with_suffix(".json").write_text(json.dumps(result | {"map": result["map"] + better}))
    return tmp_path / "first", tmp_path / "second"


def test_runs_side_by_side(workdirs, tmp_path):
    results = load(workdirs)
    assert list(results) == [str(workdirs[0]), str(workdirs[1]), f"{workdirs[1]} itq"]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]]
            for line in compare.table(results).splitlines()]  # fmt: skip
    assert [row[0] for row in rows[2:]] == [str(workdirs[1]), str(workdirs[0]),
                                            f"{workdirs[1]} itq"]  # fmt: skip
    best = results[str(workdirs[1])]
    assert rows[2][rows[0].index("map")] == f"{best['map']:.4f}"
    compare.write_comparison(results, tmp_path / "out", "png")
    assert (tmp_path / "out/compare.md").read_text() == compare.table(results) + "\n"
    with Image.open(tmp_path / "out/compare.png") as image:
        assert image.width > 400


@pytest.mark.parametrize(
    ("field", "other", "what"),
    [
        ("dataset", "cifar10", "data set"),
        ("dataset_version", "2", "version"),
        ("protocol", "12/8/49", "protocol"),
        ("split_checksum", "d" * 64, "split"),
        ("conventions", "stable/reachable/zero", "conventions"),
    ],
)
def test_results_measured_differently_are_not_compared(workdirs, field, other, what):
    path = workdirs[0] / "eval.json"
    result = json.loads(path.read_text())
    path.write_text(json.dumps(result | {field: other}))
    with pytest.raises(UserError, match=what) as caught:
        load(workdirs)
    for part in (*map(str, workdirs), *(compare._words(v) for v in (other, result[field]))):
        assert part in str(caught.value)


def test_what_cannot_be_compared(workdirs, tmp_path):
    with pytest.raises(UserError, match="only one result"):
        load(workdirs[:1])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty holds no eval.json"):
        load([workdirs[0], tmp_path / "empty"])
    (workdirs[0] / "eval.json").write_text('{"map": 1}')
    with pytest.raises(UserError, match="has no dataset"):
        load(workdirs)


def test_every_bit_that_is_always_the_same_is_named():
    codes = np.ones((5, 30), int)
    codes[0, :18] = 0
    health = code_health(codes, num_bits=30)
    assert constant_bits(health) == list(range(18, 30))
    (sentence,) = problems(health, "query codes")
    assert sentence == (
        "12 of 30 bits are the same in all query codes: bits 18, 19, 20, 21, 22, 23, 24, 25, 26, "
        "27 and 2 more (the first bit is 0)."
    )
    assert problems(health, "query codes", may_be_constant=True) == []
    one = code_health(codes[:, :19], num_bits=19)
    assert problems(one, "codes") == [
        "1 of 19 bits is the same in all codes: bit 18 (the first bit is 0)."
    ]
    marks = figures.bit_means({"a": one}).axes[0].get_lines()[0]
    assert marks.get_xydata().tolist() == [[18, 1]]
    balanced = figures.bit_means({"a": code_health(codes[:, :18], num_bits=18)})
    assert len(balanced.axes[0].get_lines()) == 1  # the one at 1/2


def test_legends_are_beside_the_panels():
    result, codes, _ = problem()
    counts = counted(codes)
    for figure in (
        figures.distances(counts), figures.precision_at_k(counts),
        figures.bit_means({"database": result["code_health"]}),
        figures.class_scores(["a"], [1.0], 0.5), figures.radius_curves({"a": result, "b": result}),
    ):  # fmt: skip
        figure.draw_without_rendering()
        (axes,) = figure.axes
        panel, (legend,) = axes.get_window_extent(), figure.legends
        assert axes.get_legend() is None and not panel.overlaps(legend.get_window_extent())


def test_one_label_per_item_has_no_graded_measures():
    rng = np.random.default_rng(0)
    bits, classes = rng.integers(0, 2, (40, 8)), rng.integers(0, 3, 40)
    hot = np.eye(4, dtype=int)[classes]
    plain = evaluate(bits[:9], classes[:9], bits[9:], classes[9:], num_bits=8)
    assert evaluate(bits[:9], hot[:9], bits[9:], hot[9:], num_bits=8) == plain
    hot[0] = 0  # without a label
    alone = evaluate(bits[:9], hot[:9], bits[9:], hot[9:], num_bits=8)
    assert alone.keys() == plain.keys()
    hot[20, :2] = 1
    assert "ndcg_at_100" in evaluate(bits[:9], hot[:9], bits[9:], hot[9:], num_bits=8)


def test_training_curves_are_what_was_logged(tmp_path):
    lines = [
        '{"step": 2, "hash/loss": 0.5, "seconds": 1.0}', '{"step": 2, "validation_map": 0.25}',
        "[1]", '{"hash/loss": 9}', '{"step": 4, "hash/loss": 0.25, "note": "text"}', '{"step": 6, ',
    ]  # fmt: skip
    path = tmp_path / "metrics.jsonl"
    path.write_text("\n".join(lines))
    series = curves.read_metrics(path)
    assert series == {"hash/loss": ([2, 4], [0.5, 0.25]), "seconds": ([2], [1.0]),
                      "validation_map": ([2], [0.25])}  # fmt: skip
    panels = [axes for axes in curves.training(series, step=2).axes if axes.get_visible()]
    assert [axes.get_title() for axes in panels] == ["validation_map", "hash/loss"]
    mark, line = panels[1].get_lines()
    assert mark.get_xdata() == [2, 2] and line.get_xydata().tolist() == [[2, 0.5], [4, 0.25]]

    result, codes, dataset = problem()
    page = write_report(
        tmp_path / "report",
        result=result | {"step": 2, "checkpoint": "best", "codes": "synthetic"}, codes=codes,
        counts=counted(codes), dataset=dataset, samples=None, metrics=path, image_format="svg",
    )  # fmt: skip
    html = page.read_text()
    assert "<h2>Training</h2>" in html and "learned from triplets with synthetic images" in html
    pictures = {file.name for file in page.parent.iterdir()} - {"report.html"}
    assert "training.svg" in pictures and all(name.endswith(".svg") for name in pictures)
    assert (page.parent / "bits.svg").read_text().startswith("<?xml")

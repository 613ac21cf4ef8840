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
from dsh_jax.report import figures
from dsh_jax.report.page import write_report
from dsh_jax.retrieval import evaluate
from dsh_jax.retrieval.counts import distance_counts

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
    results = compare.load_results(workdirs)
    assert list(results) == [str(workdirs[0]), str(workdirs[1]), f"{workdirs[1]} itq"]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]]
            for line in compare.table(results).splitlines()]  # fmt: skip
    assert [row[0] for row in rows[2:]] == [str(workdirs[1]), str(workdirs[0]),
                                            f"{workdirs[1]} itq"]  # fmt: skip
    best = results[str(workdirs[1])]
    assert rows[2][rows[0].index("map")] == f"{best['map']:.4f}"
    compare.write_comparison(results, tmp_path / "out")
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
        compare.load_results(workdirs)
    for part in (*map(str, workdirs), *(compare._words(v) for v in (other, result[field]))):
        assert part in str(caught.value)


def test_what_cannot_be_compared(workdirs, tmp_path):
    with pytest.raises(UserError, match="only one result"):
        compare.load_results(workdirs[:1])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty holds no eval.json"):
        compare.load_results([workdirs[0], tmp_path / "empty"])
    (workdirs[0] / "eval.json").write_text('{"map": 1}')
    with pytest.raises(UserError, match="has no dataset"):
        compare.load_results(workdirs)

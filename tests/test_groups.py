"""Runs of several seeds and code lengths, compared by method, setting and bits."""

import json
import statistics

import pytest

from dsh_jax.errors import UserError
from dsh_jax.report import curves, groups
from dsh_jax.report.comparison import load_results, result_files
from tests.commands import only_sentence, run_forked
from tests.messages import one_sentence

CONFIG = {"method": "dsh_gan", "seed": 0, "num_bits": 8, "triplets": "synthetic",
          "data": {"split_seed": 0, "source": "digits"},
          "optimizer": {"hash": {"b1": 0.5}}}  # fmt: skip


def evaluated(folder, name, score, *, config=None, result=None, baseline="", **fields):
    """A workdir with a result; fields are those of the config."""
    config = json.loads(json.dumps(config or CONFIG)) | fields
    config["data"]["split_seed"] = config["seed"]
    content = {
        "method": baseline or config["method"], "dataset": "digits", "dataset_version": "1",
        "protocol": "10/20/90", "conventions": "expected/reachable/zero",
        "split_checksum": f"split {config['seed']}", "seed": config["seed"],
        "num_bits": config["num_bits"], "num_labeled": 20, "map": score, "precision_at_100": score,
        "precision_at_1000": score, "precision_within_radius_2": score, "radius_curve": {},
        "code_health": {}, "run": {"command": "python train.py --config configs/digits.py"},
    } | (result or {})  # fmt: skip
    (folder / name).mkdir(exist_ok=True)
    (folder / name / "config.json").write_text(json.dumps(config))
    file = f"eval_{baseline}.json" if baseline else "eval.json"
    (folder / name / file).write_text(json.dumps(content))
    return folder / name


def grouped(*workdirs):
    files = result_files(workdirs)
    return groups.group(load_results(files, several_splits=True), files)


@pytest.fixture
def three(tmp_path):
    """Three seeds at 8 bits, by hand: mean 0.4, standard deviation 0.2646."""
    return [
        evaluated(tmp_path, f"s{seed}", score, seed=seed)
        for seed, score in enumerate((0.2, 0.3, 0.7))
    ]


def rows(text):
    table = text.split("\n\n")[0].splitlines()
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in table]


def test_mean_deviation_and_number_of_runs(three, tmp_path):
    more = [evaluated(tmp_path, f"b{s}", 0.5 + s / 10, seed=s, num_bits=16) for s in (0, 1)]
    found = grouped(*more, *three)
    head, _, first, second = rows(groups.render(found))
    assert head[:4] == ["method", "bits", "n", "map"]
    assert first[:4] == ["dsh_gan", "8", "3", "0.400 ± 0.265"]
    assert second[:4] == ["dsh_gan", "16", "2", f"0.550 ± {statistics.stdev([0.5, 0.6]):.3f}"]
    about = groups.render(found).split("\n\n")[1]
    assert about.startswith("digits 1, 10/20/90 (queries/labeled/database), measured by expected/")
    assert "not of the same seeds" in about
    assert "not of the same seeds" not in groups.render(grouped(*three))


def test_rows_are_named_by_what_differs(three, tmp_path):
    real = evaluated(tmp_path, "real", 0.5, triplets="real")
    slow = evaluated(tmp_path, "slow", 0.6, triplets="real", optimizer={"hash": {"b1": 0.9}})
    old = {k: v for k, v in CONFIG.items() if k != "triplets"}
    cnnh = evaluated(tmp_path, "cnnh", 0.7, config=old | {"method": "cnnh"})
    assert [of_row.name for of_row in grouped(*three, real, slow, cnnh)] == [
        "dsh_gan, optimizer.hash.b1=0.5, triplets=synthetic",
        "dsh_gan, optimizer.hash.b1=0.5, triplets=real",
        "dsh_gan, optimizer.hash.b1=0.9, triplets=real",
        "cnnh",
    ]
    earlier = evaluated(tmp_path, "earlier", 0.5, config=old)
    assert [of_row.name for of_row in grouped(real, earlier)] == [
        "dsh_gan", "dsh_gan, without the field triplets"
    ]  # fmt: skip
    both = [of_row.name for of_row in grouped(three[0], real, earlier)]
    assert both == ["dsh_gan, triplets=synthetic", "dsh_gan, triplets=real",
                    "dsh_gan, without the field triplets"]  # fmt: skip
    run = {"command": "python train.py --config=configs/best.py:arm"}
    best = evaluated(tmp_path, "best", 0.5, result={"run": run}, triplets="none")
    assert [g.name for g in grouped(*three, best)] == ["dsh_gan, digits", "dsh_gan, best"]
    latest = evaluated(tmp_path, "latest", 0.5, result={"checkpoint": "latest"})
    assert [g.name for g in grouped(real, latest)] == [
        "dsh_gan, checkpoint=best, triplets=real", "dsh_gan, checkpoint=latest, triplets=synthetic"
    ]  # fmt: skip
    (latest / "config.json").unlink()
    assert grouped(real, latest)[1].name == "dsh_gan (encoder file)"


def test_a_baseline_beside_several_trainings_counts_once(three, tmp_path):
    real = evaluated(tmp_path, "real", 0.5, triplets="real")
    for workdir, seed, triplets in ((three[0], 0, "synthetic"), (three[1], 1, "synthetic"),
                                    (real, 0, "real")):  # fmt: skip
        for name, score in (("itq", 0.1), ("classifier", 0.9)):
            fields = {"seed": seed, "triplets": triplets, "baseline": name}
            evaluated(tmp_path, workdir.name, score, **fields)
    found = {of_row.name: len(of_row.runs) for of_row in grouped(*three, real)}
    assert found == {
        "dsh_gan, triplets=synthetic": 3, "dsh_gan, triplets=real": 1, "itq": 2,
        "classifier of dsh_gan, triplets=synthetic": 2, "classifier of dsh_gan, triplets=real": 1,
    }  # fmt: skip


def test_the_plot_has_a_line_per_name_with_error_bars(three, tmp_path):
    more = evaluated(tmp_path, "more", 0.5, num_bits=16)
    found = grouped(*three, more)
    groups.write(found, tmp_path / "out", "svg")
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"compare.md", "map.svg"}
    groups.write(found, tmp_path / "out", "pdf")
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"compare.md", "map.pdf"}
    figure = curves.map_over_bits({"a": {16: [0.5], 8: [0.2, 0.3, 0.7]}})
    line, _, (bars,) = figure.axes[0].containers[0]
    assert line.get_xydata().tolist() == [[8, pytest.approx(0.4)], [16, 0.5]]
    low, high = bars.get_segments()[0][:, 1]
    assert (low, high) == (pytest.approx(0.4 - 0.07**0.5), pytest.approx(0.4 + 0.07**0.5))


def test_what_is_not_one_comparison_is_refused(three, tmp_path):
    again = evaluated(tmp_path, "again", 0.2)
    one_sentence(lambda: grouped(*three, again), three[0], again, "twice")
    for field, other in (("protocol", "1/2/3"), ("dataset", "zoo"), ("conventions", "stable")):
        mixed = evaluated(tmp_path, "mixed", 0.5, result={field: other})
        with pytest.raises(UserError, match=other):
            grouped(*three, mixed)
    with pytest.raises(UserError, match="--group compares means over splits"):
        load_results(result_files(three))
    (again / "config.json").write_text("[]")
    with pytest.raises(UserError, match="holds no config"):
        grouped(three[1], again)


def test_the_command(three, tmp_path):
    code, _ = run_forked(
        tmp_path, "eval.py", "--compare", *three, "--group", "--format=svg",
        f"--output={tmp_path / 'out'}",
    )  # fmt: skip
    assert code == 0 and (tmp_path / "out/map.svg").stat().st_size > 1000
    printed = (tmp_path / "output.out").read_text()
    assert (tmp_path / "out/compare.md").read_text() in printed and "0.400 ± 0.265" in printed
    sentence = only_sentence(*run_forked(tmp_path, "eval.py", "--group", "--workdir=a"))
    assert "--compare" in sentence

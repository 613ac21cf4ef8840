"""The README's tables: grouped, sorted, averaged by hand-checked numbers, and never mixed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tools import results_table
from tools.results_table import BEGIN, END, main

ROOT = Path(__file__).parents[1]
CPU = {"platform": "cpu", "device": "cpu", "num_devices": 1, "cpu": "Fast | CPU", "cpu_cores": 2}
GPU = {"platform": "gpu", "device": "H200", "num_devices": 4, "cpu": "Fast CPU", "cpu_cores": 64}
RULES = {"ties": "expected"}


def result(codes="synthetic", seed=0, overrides=(), hardware=CPU, config="a.py", **fields):
    """What eval.py writes, as far as a table needs it."""
    content = {
        "method": "dsh_gan", "dataset": "digits", "dataset_version": "1",
        "protocol": "100/200/1697", "split_checksum": "c0", "rules": RULES, "codes": codes,
        "num_bits": 16, "num_labeled": 200, "seed": seed, "map": 0.5, "precision_at_100": 0.6,
        "run": {},
    }  # fmt: skip
    if codes in ("synthetic", "real"):
        command = f"python train.py --config configs/{config} --workdir w"
        run = {"command": command, "overrides": list(overrides), "hardware": hardware}
        content |= {"train_seconds": 65.4, "checkpoint": "best", "run": run}
    return content | fields


@pytest.fixture
def place(tmp_path):
    """Writes results and an empty README; returns a call of main and the README."""
    readme, results = tmp_path / "README.md", tmp_path / "results"
    readme.write_text(f"# Title\n\n{BEGIN}\n{END}\n\nThe end.\n")
    results.mkdir()

    def call(*arguments, **contents):
        for name, content in contents.items():
            (results / f"{name}.json").write_text(json.dumps(content))
        return main([*arguments, "--results", str(results), "--readme", str(readme)])

    return call, readme


def cells(readme):
    """Each table row's cells, the two heading rows left out, by table title."""
    tables: dict[str, list[list[str]]] = {}
    title = ""
    for line in readme.read_text().splitlines():
        if line.startswith("### "):
            title = line
            tables[title] = []
        elif line.startswith("| "):
            protected = line.replace("\\|", "\0").strip("| ").split(" | ")
            tables[title].append([cell.replace("\0", "|") for cell in protected])
    return {title: rows[2:] for title, rows in tables.items()}


def test_one_row_says_everything(place):
    call, readme = place
    assert 0 == call(run=result(overrides=["--config.data.data_dir=d", "--config.ema_decay=0.9"]))
    assert cells(readme) == {
        "### Handwritten digits, 100/200/1697 (queries / labeled / database)": [
            ["DSH-GANs", "a, ema_decay=0.9", "16", "200", "0.500", "0.600", "0", "65 s",
             "Fast | CPU, 2 cores", "[run](results/run.json)"]
        ]
    }  # fmt: skip
    text = readme.read_text()
    assert text.startswith(f"# Title\n\n{BEGIN}\n\n###")
    assert text.endswith(f" |\n\n{END}\n\nThe end.\n")


def test_seeds_are_averaged(place):
    call, readme = place
    # 0.2, 0.3, 0.7: mean 0.4, deviations -0.2, -0.1, 0.3: variance (0.04 + 0.01 + 0.09) / 2 = 0.07.
    runs = {
        f"s{seed}": result(
            seed=seed, overrides=[f"--config.seed={seed}"], map=value, train_seconds=3600 * seconds
        )
        for seed, value, seconds in ((0, 0.2, 1), (1, 0.3, 2), (2, 0.7, 3))
    }
    assert call(**runs) == 0
    ((row,),) = cells(readme).values()
    assert row[4:8] == ["0.400 ± 0.265 (n = 3)", "0.600 ± 0.000 (n = 3)", "0, 1, 2", "2 h 0 min"]
    assert row[9] == "[s0](results/s0.json) [s1](results/s1.json) [s2](results/s2.json)"


def test_a_config_with_an_argument_and_one_that_was_renamed(place):
    call, readme = place
    names = ("cnnh_cifar10_48bit.py", "cnnh_cifar10.py:48", "cnnh_cifar10.py:12")
    runs = {f"s{i}": result(seed=i, config=name) for i, name in enumerate(names)}
    assert call(**runs) == 0
    ((one, both),) = cells(readme).values()
    assert (one[1], one[6]) == ("cnnh_cifar10:12", "2")
    assert (both[1], both[6]) == ("cnnh_cifar10:48", "0, 1")


def test_rows_are_sorted_by_labels_and_then_method(place):
    call, readme = place
    few = {"num_labeled": 50, "split_checksum": "c1"}
    assert 0 == call(
        a=result("lsh"), b=result("itq"), c=result("real"), d=result(), e=result("itq", **few),
        f=result(config="b.py"), g=result(num_bits=32), h=result(checkpoint="latest"),
        i=result(overrides=["--config.loss.unlabeled=mask"]), j=result("real", **few),
    )  # fmt: skip
    (rows,) = cells(readme).values()
    assert [(row[0], row[1], row[2], row[3]) for row in rows] == [
        ("triplet-only control", "a", "16", "50"),
        ("ITQ", "raw pixels", "16", "50"),
        ("DSH-GANs", "a", "16", "200"),
        ("DSH-GANs", "a", "32", "200"),
        ("DSH-GANs", "a, latest checkpoint", "16", "200"),
        ("DSH-GANs", "a, loss.unlabeled=mask", "16", "200"),
        ("DSH-GANs", "b", "16", "200"),
        ("triplet-only control", "a", "16", "200"),
        ("ITQ", "raw pixels", "16", "200"),
        ("LSH", "raw pixels", "16", "200"),
    ]
    assert all("±" not in cell for row in rows for cell in row)
    assert rows[-1][7:9] == ["-", "-"]  # a baseline is not trained


def test_data_sets_and_protocols_have_tables_of_their_own(place):
    call, readme = place
    cifar10 = {"dataset": "cifar10", "dataset_version": "3.0.2"}
    assert 0 == call(
        a=result(), b=result(protocol="100/200/1497", split_checksum="c1"),
        c=result(protocol="100/200/1697", split_checksum="c2", hardware=GPU, **cifar10),
    )  # fmt: skip
    tables = cells(readme)
    assert [(title.split(" (q")[0], len(rows)) for title, rows in tables.items()] == [
        ("### CIFAR-10 (JPEG), 100/200/1697", 1),
        ("### Handwritten digits, 100/200/1497", 1),
        ("### Handwritten digits, 100/200/1697", 1),
    ]
    assert next(iter(tables.values()))[0][8] == "4 x H200"
    assert readme.read_text().count("JPEG re-encoding of the original pixels") == 1


@pytest.mark.parametrize(
    ("other", "named"),
    [
        ({"split_checksum": "c1", "codes": "itq", "run": {}}, "split_checksum"),
        ({"rules": {"ties": "first"}, "seed": 1}, "rules"),
        ({}, "same configuration and seed"),
    ],
)
def test_results_that_do_not_go_together(place, capsys, other, named):
    call, readme = place
    before = readme.read_text()
    assert call(one=result(), two=result() | other) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    assert "one.json" in error and "two.json" in error and named in error
    assert readme.read_text() == before


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ([1], "no dataset"),
        ({k: v for k, v in result().items() if k != "protocol"}, "no protocol"),
        (result(map="0.5"), "map"),
        (result(run={}), "how it was trained"),
    ],
)
def test_a_file_that_is_no_result(place, capsys, content, named):
    call, _ = place
    assert call(bad=content) == 2
    error = capsys.readouterr().err
    assert "bad.json" in error and named in error


def test_a_file_that_is_no_json(place, capsys):
    call, readme = place
    (readme.parent / "results/cut.json").write_text('{"map": 0.')
    assert call() == 2 and "cut.json" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", BEGIN, f"{END}\n{BEGIN}\n", f"{BEGIN}{BEGIN}{END}"])
def test_a_readme_without_its_markers(place, capsys, text):
    call, readme = place
    readme.write_text(text)
    assert call(a=result()) == 2
    assert "README.md" in capsys.readouterr().err and readme.read_text() == text


def test_check_writes_nothing(place, capsys):
    call, readme = place
    before = readme.read_text()
    assert call("--check") == 0 and call() == 0 and readme.read_text() == before  # no results
    assert call("--check", a=result()) == 1
    assert readme.read_text() == before and "not up to date" in capsys.readouterr().err
    assert call() == 0 and readme.read_text() != before
    after = readme.read_text()
    assert call("--check") == 0 and call() == 0 and readme.read_text() == after
    assert call("--check", b=result("itq")) == 1


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (99.4, "99 s"), (100, "2 min"), (5969, "99 min"),
                          (5971, "1 h 40 min"), (36000, "10 h 0 min")]
)  # fmt: skip
def test_times_as_people_say_them(seconds, text):
    assert results_table._time(seconds) == text


def test_the_readme_is_up_to_date():
    readme = ROOT / "README.md"
    if not readme.exists() or BEGIN not in readme.read_text():
        pytest.skip("README.md has no markers for the tables")
    command = [sys.executable, "-m", "tools.results_table", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_benchmarks_have_tables_below(place):
    call, readme = place
    folder = readme.parent / "results" / "speed"
    folder.mkdir(parents=True)
    hardware = {"cpu": "Fast | CPU", "cpu_cores": 2}
    (folder / "evaluate.json").write_text(json.dumps(
        {"title": "Evaluation", "figures": {"all metrics": "1 s"}, "run": {"hardware": hardware}}
    ))  # fmt: skip
    assert call(run=result()) == 0
    text = readme.read_text()
    table = text[text.index("### Evaluation: Fast | CPU, 2 cores") :]
    assert "| measured | [evaluate](results/speed/evaluate.json) |" in table
    assert "| all metrics | 1 s |" in table
    (folder / "evaluate.json").write_text("{}")
    assert call() == 2

"""`tools.sweep`: one real sweep at the smallest size, and the rest with a stand-in for commands."""

import json
import shutil
from pathlib import Path

import pytest

from dsh_jax import interrupt
from dsh_jax.files import write_json
from dsh_jax.retrieval.conventions import Conventions
from dsh_jax.training.workdir import as_dict
from tests.commands import ROOT, run
from tools import grid, processes, sweep, sweep_table
from tools.results_table import main as results_table

SMOKE = "--config=configs/smoke.py"
REAL = ("--config.triplets=real", "--config.gan=False")


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """(folder, command, stdout) of a sweep whose second setting dies: there are too few digits."""
    out = tmp_path_factory.mktemp("sweep") / "out"
    command = ("-m", "tools.sweep", SMOKE, *REAL, "--bits=8", "--draws=1", f"--out={out}",
               "--set=data.labeled_per_class=20,9999", "--baselines=lsh,classifier")  # fmt: skip
    stdout, _ = run(*command, expected=1)
    return out, command, stdout


def rows(text):
    return [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]


def test_a_run_that_dies_leaves_a_gap_and_the_others_go_on(swept):
    out, _, stdout = swept
    first, second = [line for line in stdout.splitlines() if line.startswith("[")]
    name = "smoke_8bit_data.labeled_per_class=20_draw0"
    dead = name.replace("20", "9999")
    results = {path.name: json.loads(path.read_text()) for path in (out / "results").iterdir()}
    assert set(results) == {f"{name}{end}.json" for end in ("", "_lsh", "_classifier")}
    score = results[f"{name}.json"]["map"]
    assert first.startswith(f"[1/2] {name}: mAP {score:.3f} (")
    log = out / "logs" / f"{dead}.log"
    assert second.startswith(f"[2/2] {dead}: died, exit code 2: ")
    assert second.endswith(f"; log: {log}") and "labeled" in second and "error: " in log.read_text()
    table = rows((out / "table.md").read_text())
    assert table == rows(stdout) and table[0] == list(sweep_table.HEADER)
    few, many = "data.labeled_per_class=20", "data.labeled_per_class=9999"
    assert [(row[0], row[1], row[-1]) for row in table[2:]] == [
        (few, "trained", "1"), (few, "lsh", "1"), (few, "classifier", "1"),
        (many, "trained", "0 of 1"), (many, "lsh", "0 of 1"), (many, "classifier", "0 of 1"),
    ]  # fmt: skip
    assert table[2][2:5] == ["8", "200 + 200", f"{score:.3f}"]
    assert table[-1][3:7] == ["-"] * 4
    assert (out / "map.png").read_bytes().startswith(b"\x89PNG")


def test_what_is_finished_is_skipped_and_what_is_missing_made(swept, tmp_path):
    out, command, _ = swept
    copy = tmp_path / "copy"
    shutil.copytree(out, copy)
    name = "smoke_8bit_data.labeled_per_class=20_draw0"
    (copy / f"results/{name}_lsh.json").unlink()
    log = copy / "logs" / f"{name}.log"
    before, result = log.read_text(), (copy / f"results/{name}.json").read_bytes()
    again = [f"--out={copy}" if word.startswith("--out=") else word for word in command]
    again[again.index("--set=data.labeled_per_class=20,9999")] = "--set=data.labeled_per_class=20"
    stdout, _ = run(*again)
    new = log.read_text().removeprefix(before)
    assert [line.split()[2] for line in new.splitlines() if line.startswith("$ ")] == ["eval.py"]
    assert (copy / f"results/{name}_lsh.json").exists()
    assert (copy / f"results/{name}.json").read_bytes() == result
    assert [row[-1] for row in rows(stdout)[2:]] == ["1", "1", "1"]


@pytest.mark.long
def test_a_half_trained_run_goes_on(swept, tmp_path):
    out, _, _ = swept
    name, copy = "smoke_8bit_data.labeled_per_class=20_draw0", tmp_path / "copy"
    shutil.copytree(out, copy)
    result = copy / f"results/{name}.json"
    whole = json.loads(result.read_text())
    result.unlink()
    shutil.rmtree(copy / name / "checkpoints/4")
    run("-m", "tools.sweep", SMOKE, *REAL, "--bits=8", "--draws=1", f"--out={copy}",
        "--set=data.labeled_per_class=20")  # fmt: skip
    assert "starting at 3" in (copy / "logs" / f"{name}.log").read_text()
    again = json.loads(result.read_text())
    assert again.pop("train_seconds") and whole.pop("train_seconds")
    assert again == whole


def test_a_changed_config_is_refused_before_anything_is_trained(swept):
    out, command, _ = swept
    logs = {path: path.read_bytes() for path in (out / "logs").iterdir()}
    _, stderr = run(*command, "--config.ema_decay=0.5", expected=2)
    assert stderr.count("error: ") == 1 and "ema_decay (0.999 there, 0.5 now)" in stderr
    assert "choose another --out" in stderr and "Traceback" not in stderr
    assert {path: path.read_bytes() for path in (out / "logs").iterdir()} == logs


def test_results_of_a_sweep_go_into_the_tables(swept, tmp_path, capsys):
    out, _, _ = swept
    shutil.copytree(out / "results", tmp_path / "results")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/results.md").write_text("<!-- results:begin --><!-- results:end -->")
    (tmp_path / "README.md").write_text("<!-- headlines:begin --><!-- headlines:end -->")
    assert results_table(["--root", str(tmp_path)]) == 0, capsys.readouterr().err
    text = (tmp_path / "docs/results.md").read_text()
    assert "| network alone, real triplets | smoke | 8 | 200 + 200 |" in text


@pytest.fixture
def stub(monkeypatch, tmp_path):
    """Runs a sweep whose commands write files only; returns (call, out, commands).

    `call.dies` holds pairs of a script and a part of a workdir's name.
    """
    monkeypatch.chdir(ROOT)
    out, commands = tmp_path / "out", []

    def command(words, log):
        options = dict(word.removeprefix("--").partition("=")[::2] for word in words[1:])
        workdir = Path(options["workdir"])
        commands.append((words[0], workdir.name, options.get("baseline", "")))
        for script, part in call.dies:
            if words[0] == script and part in workdir.name + options.get("baseline", ""):
                raise processes.Died(f"exit code 1: broken; log: {log}")
        if words[0] == "train.py":
            overrides = [word for word in words if word.startswith("--config.")]
            config = grid.read_config(options["config"], overrides)
            write_json(workdir / "config.json", as_dict(config))
            return
        config = json.loads((workdir / "config.json").read_text())
        draw, num_bits = config["seed"], config["num_bits"]
        content = {
            "map": 0.1 * draw + 0.01 * num_bits, "precision_at_100": 0.5, "num_bits": num_bits,
            "num_labeled": 200, "num_validation": 100, "split_checksum": f"c{draw}",
            "standard_error": {"map": 0.02}, "rules": Conventions().rules,
            "run": {"commit": "abc"} if not options.get("baseline") else {},
        }  # fmt: skip
        write_json(Path(options["result"]), content)

    def call(*arguments):
        return processes.guarded(lambda: sweep.main([SMOKE, f"--out={out}", *arguments]))

    call.dies = []
    monkeypatch.setattr(processes, "call", command)
    return call, out, commands


def test_the_table_has_means_deviations_and_gaps(stub, capsys):
    call, out, _ = stub
    call.dies = [("train.py", "12bit_draw1"), ("eval.py", "8bit_draw2itq")]
    assert call("--bits=12,8", "--draws=3", "--baselines=itq") == 1
    # mAP is 0.1 draw + 0.01 bits: 8 bits have 0.08, 0.18, 0.28, and 12 bits 0.12 and 0.32.
    assert [row[1:] for row in rows((out / "table.md").read_text())[2:]] == [
        ["trained", "8", "200 + 100", "0.180 ± 0.100", "0.020", "0.500 ± 0.000", "3"],
        ["trained", "12", "200 + 100", "0.220 ± 0.141", "0.020", "0.500 ± 0.000", "2 of 3"],
        ["itq", "8", "200 + 100", "0.130 ± 0.071", "0.020", "0.500 ± 0.000", "2 of 3"],
        ["itq", "12", "200 + 100", "0.220 ± 0.141", "0.020", "0.500 ± 0.000", "2 of 3"],
    ]
    printed = capsys.readouterr().out
    assert "[2/6] smoke_12bit_draw1: died, exit code 1: broken; log: " in printed
    assert "[6/6] smoke_8bit_draw2: died, itq exit code 1: broken" in printed
    call.dies = []
    assert call("--bits=12,8", "--draws=3", "--baselines=itq") == 0
    assert printed.count("finished before") == 0
    assert capsys.readouterr().out.count("finished before") == 4


def test_nothing_measured_is_a_table_of_gaps(stub):
    call, out, _ = stub
    call.dies = [("train.py", "")]
    assert call() == 1
    assert rows((out / "table.md").read_text())[2:] == [["-", "trained", "16", *"----", "0 of 3"]]
    assert not (out / "map.png").exists()


def test_a_baseline_without_training_is_measured_once_for_settings_it_does_not_read(stub):
    call, _, commands = stub
    assert call("--draws=1", "--set=triplets=real,synthetic", "--set=data.labeled_per_class=20,5",
                "--baselines=lsh,classifier") == 0  # fmt: skip
    measured = [name for script, name, baseline in commands if baseline == "lsh"]
    assert measured == [
        f"smoke_16bit_triplets=real_data.labeled_per_class={count}_draw0" for count in (20, 5)
    ]
    assert sum(baseline == "classifier" for _, _, baseline in commands) == 4


def test_the_plot_has_a_line_for_each_setting_and_kind_of_codes(stub):
    call, out, _ = stub
    arguments = ("--bits=12,8", "--draws=2", "--baselines=lsh", "--set=triplets=real,synthetic")
    assert call(*arguments) == 0
    options = grid.Parser("", draws=1, out="").parse(
        [SMOKE, "--draws=2", "--set=triplets=real,synthetic"]
    )
    runs = grid.runs_of(options, [12, 8])
    figure = sweep_table.plot(sweep.cells_of(out, runs, sweep.baselines_of(runs, ["lsh"])))
    lines = {bar.get_label(): bar[0] for bar in figure.axes[0].containers}
    assert set(lines) == {"trained, triplets=real", "trained, triplets=synthetic", "lsh"}
    for line in lines.values():
        assert line.get_xdata().tolist() == [8, 12]
        assert line.get_ydata().tolist() == pytest.approx([0.13, 0.17])


def test_other_conventions_are_refused(stub, capsys):
    call, out, commands = stub
    assert call("--draws=1") == 0
    commands.clear()
    assert call("--draws=2", "--conventions=stable") == 2
    error = capsys.readouterr().err
    assert "smoke_16bit_draw0.json" in error and error.count("\n") == 1
    assert "stable/reachable/zero" in error and commands == []
    (out / "results/strange.json").write_text('{"rules": {"ties": "any"}}')
    assert call("--draws=1") == 2 and "strange.json" in capsys.readouterr().err
    (out / "results/strange.json").write_text("[1]")
    assert call("--draws=1") == 2 and "strange.json" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argument", "named"),
    [("--bits=0", "--bits"), ("--bits=", "--bits"), ("--set=nothing=1", "nothing"),
     ("--set=triplets=", "empty list"), ("--baselines=best", "'best'"), ("--baselines=", "empty"),
     ("--conventions=sorted", "sorted"), ("--unknown", "--unknown")],
)  # fmt: skip
def test_a_mistake_ends_before_anything_is_trained(stub, capsys, argument, named):
    call, out, commands = stub
    assert call(argument) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and named in error
    assert commands == [] and not out.exists()


def test_ctrl_c_ends_the_sweep(stub, monkeypatch, capsys):
    call, _, _ = stub

    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(processes, "call", stopped)
    assert call() == 130
    assert "run the same command again to resume" in capsys.readouterr().err


def test_outside_of_the_checkout(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert processes.guarded(lambda: 0) == 2 and "train.py" in capsys.readouterr().err


def test_a_command_that_fails_is_named_with_its_last_words(tmp_path):
    log = tmp_path / "logs/a.log"
    script = tmp_path / "script.py"
    script.write_text("import sys\nprint('error: first')\nsys.exit(0)")
    processes.call([str(script)], log)
    for body, words in (
        ("print('error: no data.')\nprint('later')\nsys.exit(2)", "exit code 2: no data; log:"),
        ("print('the end')\nsys.exit(1)", "exit code 1: the end; log:"),
        ("sys.exit(3)", "exit code 3: no output; log:"),
    ):
        script.write_text(f"import sys\n{body}")
        with pytest.raises(processes.Died, match=words):
            processes.call([str(script)], log)
    assert log.read_text().count("$ python ") == 4
    script.write_text(f"print('{interrupt.STOPPED_AT} 3 of 6, which is saved')")
    with pytest.raises(processes.Died, match="stopped at step 3 of 6, which is saved; log:"):
        processes.call([str(script)], log)
    script.write_text("import sys\nsys.exit(130)")
    with pytest.raises(KeyboardInterrupt):
        processes.call([str(script)], log)

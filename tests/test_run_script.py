"""`tools/run.sh` and `choose_arms.sh`: their commands, written down by a stand-in for Python."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[1] / "tools"


@pytest.fixture
def run(tmp_path):
    """Calls a copy of a script; returns the process and the commands that it ran."""
    (tmp_path / "tools").mkdir()
    for name in ("run.sh", "choose_arms.sh"):
        shutil.copy(TOOLS / name, tmp_path / "tools")
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho "$@" >> commands\n')
    python.chmod(0o755)

    def call(*arguments, script="run.sh", **environment):
        done = subprocess.run(
            [f"tools/{script}", *arguments], cwd=tmp_path, capture_output=True, text=True,
            env=os.environ | {"PYTHON": str(python)} | environment,
        )  # fmt: skip
        commands = tmp_path / "commands"
        return done, commands.read_text().splitlines() if commands.exists() else []

    return call


def test_a_draw_sets_both_seeds(run):
    done, commands = run("mine", "a.py:8", "3", "--config.triplets=real", BASELINES="itq lsh")
    assert done.returncode == 0 and commands == [
        "train.py --config configs/a.py:8 --workdir runs/mine_draw3 --config.seed=3 "
        "--config.data.split_seed=3 --config.triplets=real",
        "eval.py --workdir runs/mine_draw3 --result results/mine_draw3.json",
        "eval.py --workdir runs/mine_draw3 --baseline itq --result results/mine_itq_draw3.json",
        "eval.py --workdir runs/mine_draw3 --baseline lsh --result results/mine_lsh_draw3.json",
    ]


def test_documents_have_a_folder(run):
    _, commands = run("mine", "a.py", "0", FOLDER="documents")
    assert commands[-1].endswith("--result results/documents/mine_draw0.json")


def test_a_draw_is_a_number(run):
    done, commands = run("mine", "a.py", "--config.seed=1")
    assert done.returncode == 2 and commands == []
    assert done.stderr.startswith("error: the draw is '--config.seed=1'; give a number")


def test_arms_are_tuned_alike(run):
    done, commands = run("digits", "--draws=2", script="choose_arms.sh", ARMS="gan network")
    assert done.returncode == 0 and commands == [
        f"-m tools.search --config configs/digits_arms.py:{arm} "
        "--walk optimizer.hash.learning_rate,loss.weights.triplet "
        "--config.data.labeled_per_class=5 --draws=2 "
        f"--out runs/choose --result results/choice/digits_arms_{arm}.json"
        for arm in ("gan", "network")
    ]


@pytest.mark.parametrize("arguments", [(), ("dogs",)])
def test_arms_of_other_data(run, arguments):
    done, commands = run(*arguments, script="choose_arms.sh")
    assert done.returncode == 2 and not commands
    assert "give digits or cifar10" in done.stderr

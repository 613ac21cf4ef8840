"""`tools/run.sh`: the commands that it runs, written down by a stand-in for Python."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "tools/run.sh"


@pytest.fixture
def run(tmp_path):
    """Calls a copy of the script; returns the process and the commands that it ran."""
    (tmp_path / "tools").mkdir()
    shutil.copy(SCRIPT, tmp_path / "tools")
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho "$@" >> commands\n')
    python.chmod(0o755)

    def call(*arguments, **environment):
        done = subprocess.run(
            ["tools/run.sh", *arguments], cwd=tmp_path, capture_output=True, text=True,
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

"""The stories of three new users at small size: commands and messages are those of the docs."""

import subprocess
import sys

import pytest
from commands import ROOT


# `make first-hour` has the third one too, the researcher's, which takes twice as long as these two.
@pytest.mark.long
@pytest.mark.parametrize("story", ["engineer", "librarian"])
def test_every_step_does_what_the_docs_say(story):
    done = subprocess.run(
        [sys.executable, "-m", "tools.first_hour", "--small", story],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Every step did what the docs say." in done.stdout


def test_an_unknown_story():
    done = subprocess.run(
        [sys.executable, "-m", "tools.first_hour", "king"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2 and "there is no story king" in done.stderr

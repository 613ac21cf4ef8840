"""`--help`, and what is said about a mistake in a flag or an override."""

import subprocess
import sys

import pytest
from absl import flags

from dsh_jax import cli, evaluation_codes
from dsh_jax.baselines import BASELINES, OF_NETWORK
from dsh_jax.errors import UserError, reason
from dsh_jax.overrides import config_overrides
from tests.commands import ROOT, SMOKE, refused, run

SMOKE_FILE = str(ROOT / "configs/smoke.py")


@pytest.mark.parametrize("script", ["train.py", "eval.py"])
def test_help_shows_the_project_s_flags_only(script):
    """Also where other flags are wrong or missing."""
    page, stderr = run(script, "--help")
    assert run(script, "--wrong", "-h") == (page, stderr) and not stderr
    own = [flag for flag in flags.FLAGS if f"  --{flag}\n" in page or f"  --[no]{flag}\n" in page]
    assert {"workdir", "config"} <= {line.strip(" -") for line in page.splitlines()}
    assert not {"logtostderr", "verbosity", "pdb"} & set(own) and "jax" not in page
    assert "configs/default.py" in page and max(map(len, page.splitlines())) <= 100


@pytest.mark.parametrize("script", ["train.py", "eval.py"])
def test_help_imports_nothing_that_is_slow(script):
    code = (
        "import runpy, sys, os; sys.argv = [sys.argv[1], '--help'];"
        "os._exit = lambda code: (print(sorted(sys.modules)), sys.stdout.flush(), sys.exit(code));"
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, script], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0
    for name in ("jax", "numpy", "flax", "sklearn", "PIL", "matplotlib", "tensorboardX"):
        assert f"'{name}'" not in done.stdout, name
    assert "'dsh_jax.cli'" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["num_steps=abc"], "--config.num_steps is 'abc'; set it to an integer."),
        (["num_steps=1.5"], "--config.num_steps is '1.5'; set it to an integer."),
        (["gan=perhaps"], "--config.gan is 'perhaps'; set it to True or False."),
        (["optimizer.hash.b1=fast"], "--config.optimizer.hash.b1 is 'fast'; set it to a number."),
        (["data=3"], "as in --config.data.data_dir=VALUE."),
        (["num_step=3"], "the config has no field num_step; did you mean num_steps?"),
        (["nope=3"], "the config has no field nope; did you mean "),
        (["gan", "nope=3"], "the config has no field nope; did you mean "),
        (["num_steps"], "--config.num_steps has no value; write --config.num_steps=VALUE."),
        (["loss.triplet_options.margin=2", "loss.triplet_options={}"], "leave out one of them."),
    ],
)
def test_overrides_that_do_not_fit(arguments, sentence):
    for dashes in ("--", "-"):
        with pytest.raises(UserError) as caught:
            cli.read_config(SMOKE_FILE, [f"{dashes}config.{each}" for each in arguments])
        assert sentence in str(caught.value) and "Error" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("train.py", "--wrokdir=3", SMOKE), "no flag --wrokdir; did you mean --workdir?"),
        (("train.py", "--workdir=a"), "--config is missing"),
        (("train.py", "--config"), "--config has no value"),
        (("train.py", "--config.seed=3", "--workdir=a"), "name the config first"),
        (("train.py", f"--config={ROOT}/configs/smok.py"), "did you mean "),
        (("eval.py", "--report=perhaps"), "--report is 'perhaps'; set it to true or false."),
        (("eval.py", "--baseline=ica"), "--baseline is 'ica'; set it to one of itq, lsh, pca, "),
        (("eval.py", "--checkpoint=newest"), "set it to one of best, latest."),
    ],
)
def test_flags_that_are_wrong(tmp_path, arguments, sentence):
    told = refused(tmp_path, tmp_path / "run", *arguments)
    assert sentence in told and "Error" not in told


def test_overrides_are_recorded_as_they_are_read():
    given = ["--config.a=1", "-config.b", "-2", "--noconfig.c", "--config.d", "--workdir=w", "--",
             "--config.e=1"]  # fmt: skip
    assert config_overrides(given) == [
        "--config.a=1", "--config.b=-2", "--config.c=false", "--config.d",
    ]  # fmt: skip


def test_every_baseline_has_a_name():
    assert set(BASELINES) == {*evaluation_codes.FITS, "cosine", *OF_NETWORK}


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (KeyError("a"), "there is no key 'a'"),
        (AssertionError(), "an assertion failed"),
        (RuntimeError(), "it gave no message"),
        (ValueError("RuntimeError: bad value.\nmore"), "bad value"),
        (FileNotFoundError(2, "No such file", "x.txt"), "No such file: x.txt"),
    ],
)
def test_an_error_in_plain_words(error, said):
    assert reason(error) == said

"""How the commands refuse a mistake: one sentence, exit code 2, and nothing written."""

import shutil

import pytest

from tests.commands import ROOT, SMOKE, only_sentence, refused, run, run_forked

TFDS_DIR = ROOT.parent / "shared/data/tfds"


def test_eval_without_a_workdir(tmp_path):
    code, stderr = run_forked(tmp_path, "eval.py")
    assert "--workdir" in only_sentence(code, stderr)


def test_a_mistake_in_a_real_process(tmp_path):
    _, stderr = run("train.py", SMOKE, "--config.num_bits=0", f"--workdir={tmp_path / 'run'}",
                    expected=2)  # fmt: skip
    assert "num_bits" in only_sentence(2, stderr)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("num_bits=0", "num_bits"),
        ("num_steps=abc", "num_steps"),
        ("nothing=1", "nothing"),
        ("data.labeled_per_class=100000", "labeled_per_class"),
        ("data.source=mnist", "mnist"),
        ("data.protocol=1/2/3", "1/2/3"),
        ("data.protocol=1000/5000/59000", "labeled_per_class"),
        ("data.split_file=none.json", "none.json"),
        ("triplets=both", "triplets"),
        ("method=none", "none"),
        ("num_devices=99", "num_devices"),
        ("representation.name=none", "none"),
        ("loss.triplet=none", "none"),
        ("loss.triplet_options.margni=1", "margni"),
        ("optimizer.hash.schedule=none", "optimizer.hash.schedule"),
        ("unlabeled_batch_size=-8", "unlabeled_batch_size"),
        ("pretraining_steps=-1", "pretraining_steps"),
        ("seed=-1", "seed"),
        ("representation.depth=11", "depth"),
        ("generator.width=0", "generator.width"),
        ("representation.dropout=1.0", "representation.dropout"),
        ("optimizer.hash.learning_rate=-1.0", "optimizer.hash.learning_rate"),
        ("optimizer.generator.b1=1.0", "optimizer.generator.b1"),
    ],
)
def test_an_invalid_value(tmp_path, override, named):
    extra = ("--config.representation.name=wide_resnet",) if "depth" in override else ()
    sentence = refused(tmp_path, tmp_path / "run", "train.py", SMOKE, *extra,
                       f"--config.{override}")  # fmt: skip
    assert named in sentence


def test_a_batch_that_the_devices_cannot_share(tmp_path):
    sentence = refused(
        tmp_path, tmp_path / "run", "train.py", SMOKE, "--config.batch_size=7",
        XLA_FLAGS="--xla_force_host_platform_device_count=2",
    )  # fmt: skip
    assert "batch_size 7" in sentence and "2 devices" in sentence


def test_data_that_is_not_prepared(tmp_path):
    (tmp_path / "empty").mkdir()
    sentence = refused(
        tmp_path, tmp_path / "run", "train.py", SMOKE, "--config.data.source=cifar10",
        f"--config.data.data_dir={tmp_path / 'empty'}",
    )  # fmt: skip
    assert str(tmp_path / "empty") in sentence and "download_and_prepare()" in sentence


@pytest.mark.skipif(not (TFDS_DIR / "cifar10").is_dir(), reason=f"no CIFAR-10 in {TFDS_DIR}")
def test_data_that_is_cut_short(tmp_path):
    shutil.copytree(TFDS_DIR / "cifar10", tmp_path / "data/cifar10")
    file = next((tmp_path / "data").rglob("*-train*"))
    with file.open("r+b") as opened:
        opened.truncate(4_000_000)
    sentence = refused(
        tmp_path, tmp_path / "run", "train.py", SMOKE, "--config.data.source=cifar10",
        f"--config.data.data_dir={tmp_path / 'data'}",
    )  # fmt: skip
    assert f"cifar10 in {tmp_path / 'data'}" in sentence and "download_and_prepare()" in sentence


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("train.py", "--config=configs/none.py"), "none.py"),
        (("train.py", "--config=configs/cifar10.py"), "--config configs/cifar10.py:48."),
        (("train.py", "--config=configs/cifar10.py:many"), "configs/cifar10.py:48, not 'many'."),
        (("train.py", "--config=configs/digits_16bit.py:48"), "leave out the :48."),
        (("train.py",), "config"),
        (("train.py", SMOKE, "smoke"), "smoke"),
        (("train.py", SMOKE, "--wrokdir=a"), "wrokdir"),
        (("eval.py", "--checkpoint=newest"), "newest"),
        (("eval.py", "--baseline=ica"), "ica"),
        (("eval.py",), "no workdir"),
    ],
)
def test_invalid_flags(tmp_path, arguments, named):
    assert named in refused(tmp_path, tmp_path / "run", *arguments)


@pytest.mark.parametrize("arguments", [("train.py", SMOKE), ("eval.py",)])
def test_no_workdir_given(tmp_path, arguments):
    assert "workdir" in only_sentence(*run_forked(tmp_path, *arguments))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("def get_config(:\n", "broken.py"),
        ("import no_such_module\n", "'no_such_module', in line 1 of broken.py."),
        ("x = 1\n", "has no get_config()"),
        ("def get_config():\n    return no_such_name\n", "'no_such_name' is not defined, in"),
        ("def get_config():\n    return {}['x']\n", "there is no key 'x', in line 2"),
        ("def get_config():\n    raise ValueError\n", "no message, in line 2"),
        ("def get_config():\n    raise TypeError('wrong')\n", "fails: wrong, in line 2"),
        ("def get_config(bits):\n    return bits\n", "broken.py:48."),
    ],
)
def test_a_config_file_that_does_not_run(tmp_path, text, named):
    (tmp_path / "broken.py").write_text(text)
    workdir = tmp_path / "run"
    sentence = refused(tmp_path, workdir, "train.py", f"--config={tmp_path / 'broken.py'}")
    assert named in sentence and "Error" not in sentence


def test_a_workdir_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    sentence = refused(tmp_path, tmp_path / "file/run", "train.py", SMOKE)
    assert str(tmp_path / "file") in sentence


def test_only_the_exception_of_orbax_threads_is_kept_from_stderr(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from dsh_jax import cli\n"
        "from dsh_jax.errors import UserError\n"
        "class Thread:\n"
        "    def __init__(self, message): self.message = message\n"
        "    def __del__(self): raise RuntimeError(self.message)\n"
        "def main(_):\n"
        "    Thread('Event loop is closed')\n"
        "    Thread('something else')\n"
        "    raise UserError('a mistake.')\n"
        "cli.run(main)\n"
    )
    _, stderr = run(script, expected=2)
    assert stderr.endswith("error: a mistake.\n") and stderr.count("Traceback") == 1
    assert "something else" in stderr and "Event loop" not in stderr

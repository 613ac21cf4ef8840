"""Runs the commands as a user types them, for the tests that share this file.

`run` starts a real process. `run_forked` takes a child of a fork server that has imported the
packages once: each child still executes the script itself.
"""

import multiprocessing
import os
import runpy
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
SMOKE = f"--config={ROOT / 'configs/smoke.py'}"
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    ["dsh_jax.training.loop", "dsh_jax.evaluation", "sklearn.datasets", "tensorflow_datasets"]
)


def run(*arguments, expected=0):
    """Runs a script in a process of its own; returns (stdout, stderr)."""
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT, env=os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == expected, done.stderr
    return done.stdout, done.stderr


def _child(arguments, environment, output):
    for fd, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(f"{output}.{name}", os.O_CREAT | os.O_WRONLY), fd)
    os.chdir(ROOT)
    os.environ.update({"JAX_PLATFORMS": "cpu"} | environment)
    sys.argv = list(arguments)
    runpy.run_path(arguments[0], run_name="__main__")


def start_forked(output, *arguments, **environment):
    """Starts a script in a fork that writes to `output.out` and `output.err`; returns it."""
    child = FORKS.Process(target=_child, args=([str(a) for a in arguments], environment, output))
    child.start()
    return child


def run_forked(tmp_path, *arguments, **environment):
    """Runs a script in a fork; returns (exit code, stderr)."""
    output = tmp_path / "output"
    child = start_forked(output, *arguments, **environment)
    child.join(300)
    if child.is_alive():
        child.kill()
        child.join()
    return child.exitcode, output.with_suffix(".err").read_text()


def tree(folder):
    """Every file's content, by its path; None for a folder that is not there."""
    if not folder.exists():
        return None
    return {p.relative_to(folder): p.is_file() and p.read_bytes() for p in folder.rglob("*")}


def refused(tmp_path, workdir, *arguments, **environment):
    """The sentence with which a command refuses, having changed nothing."""
    before = tree(workdir)
    code, stderr = run_forked(tmp_path, *arguments, f"--workdir={workdir}", **environment)
    assert tree(workdir) == before
    return only_sentence(code, stderr)


def only_sentence(code, stderr):
    errors = [line for line in stderr.splitlines() if line.startswith("error: ")]
    assert code == 2 and len(errors) == 1 and "Traceback" not in stderr, (code, stderr)
    return errors[0]

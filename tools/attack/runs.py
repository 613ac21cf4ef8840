"""What the attacks share: small runs, started from a fork server that has imported everything."""

import hashlib
import json
import multiprocessing
import os
import runpy
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tools.attack.config import DOCUMENTS

ROOT = Path(__file__).parents[2]
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    ["dsh_jax.training.loop", "dsh_jax.evaluation", "sklearn.datasets", "tests.corpus"]
)
LIMIT = 300.0
"""Seconds after which a run counts as hanging."""


class Fault(Exception):
    """An attack that succeeded: what went wrong."""


class Scratch:
    """A folder for runs, with a compilation cache so that each program is compiled once."""

    def __init__(self) -> None:
        from tests import corpus

        self.folder = Path(tempfile.mkdtemp(prefix="attack_"))
        self.corpus = corpus.write(self.folder / "corpus.jsonl")
        os.environ |= {  # read by the fork server when it starts, and so by all its children
            "JAX_PLATFORMS": "cpu",
            "JAX_COMPILATION_CACHE_DIR": str(self.folder / "compiled"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "XLA_FLAGS": "--xla_backend_optimization_level=0",
        }

    def __truediv__(self, name: str) -> Path:
        return self.folder / name

    def remove(self) -> None:
        """Deletes the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def train(self, case: str, workdir: Path, *overrides: str) -> list[str]:
        """The command that trains a case of `config.py`."""
        if case in DOCUMENTS:
            overrides = (f"data.data_dir={self.corpus}", *overrides)
        changes = [f"--config.{override}" for override in overrides]
        return ["train.py", f"--config=tools/attack/config.py:{case}", f"--workdir={workdir}",
                *changes]  # fmt: skip


def evaluate(workdir: Path) -> list[str]:
    """The command that evaluates a workdir."""
    return ["eval.py", f"--workdir={workdir}"]


class Run:
    """A command in a process of its own.

    Args:
      command: the script and its arguments.
      output: its output goes to the files `output.out` and `output.err`.
    """

    def __init__(self, command: list[str], output: Path) -> None:
        self._output = output
        self.began = time.monotonic()
        self._process = FORKS.Process(target=_script, args=(command, str(output)))
        self._process.start()

    def kill(self) -> bool:
        """Kills it; returns whether it was still running."""
        running = self._process.is_alive()
        self._process.kill()
        self._process.join()
        return running

    def wait(self) -> int:
        """Its exit code.

        Raises:
          Fault: it hangs.
        """
        self._process.join(LIMIT)
        if self._process.is_alive():
            self.kill()
            raise Fault(f"it still ran after {LIMIT:.0f} s")
        code = self._process.exitcode
        assert code is not None
        return code

    @property
    def pid(self) -> int:
        """The id of its process."""
        assert self._process.pid is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.is_alive()

    @property
    def errors(self) -> str:
        """What it has written to stderr."""
        return self._output.with_suffix(".err").read_text()

    def succeed(self) -> None:
        """Waits for success.

        Raises:
          Fault: it fails or hangs.
        """
        if code := self.wait():
            raise Fault(f"exit code {code}: {self.errors[-300:]!r}")

    def sentence(self) -> str | None:
        """The one sentence of a refusal with exit code 2; None for anything else."""
        lines = [line for line in self.errors.splitlines() if line.startswith("error: ")]
        refused = self.wait() == 2 and len(lines) == 1 and "Traceback" not in self.errors
        return lines[0] if refused else None


def _script(command: list[str], output: str) -> None:
    for fd, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(f"{output}.{name}", os.O_CREAT | os.O_WRONLY | os.O_TRUNC), fd)
    os.chdir(ROOT)
    sys.argv = command
    runpy.run_path(command[0], run_name="__main__")


def in_fork(call: Callable[..., Any], *arguments: Any) -> Any:
    """The result of a call in a fork of its own, which may import and change anything.

    Raises:
      Fault: it raises, ends without a result or hangs.
    """
    ours, theirs = FORKS.Pipe()
    process = FORKS.Process(target=_call, args=(theirs, call, *arguments))
    process.start()
    theirs.close()
    try:
        if not ours.poll(LIMIT):
            raise Fault(f"it still ran after {LIMIT:.0f} s")
        kind, result = ours.recv()
    except EOFError:
        process.join()
        raise Fault(f"the process ended with exit code {process.exitcode}") from None
    finally:
        process.kill()
        process.join()
    if kind == "error":
        raise Fault(result)
    return result


def _call(pipe: Any, call: Callable[..., Any], *arguments: Any) -> None:
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    os.chdir(ROOT)
    try:
        pipe.send(("result", call(*arguments)))
    except Exception as error:
        pipe.send(("error", f"{type(error).__name__}: {error}"))


def outcome(command: list[str]) -> dict[str, str]:
    """Trains to the end, evaluates, and returns digests of all that must be the same each time.

    To be called in a fork, with the command of `Scratch.train`.
    """
    import jax
    from absl import logging

    from dsh_jax.evaluation import evaluate_workdir
    from dsh_jax.training.loop import train
    from tools.attack.config import get_config

    logging.set_verbosity(logging.ERROR)
    options = dict(argument[2:].split("=", 1) for argument in command[1:])
    workdir = Path(options["workdir"])
    config = get_config(options["config"].partition(":")[2])
    if "config.data.data_dir" in options:
        config.data.data_dir = options["config.data.data_dir"]
    state = train(config, workdir, {"command": "attack"})
    evaluate_workdir(workdir)
    leaves = jax.tree_util.tree_leaves_with_path(state)
    digest = hashlib.sha256()
    for path, leaf in leaves:
        digest.update(jax.tree_util.keystr(path).encode())
        digest.update(np.asarray(leaf).tobytes())
    last = json.loads((workdir / "metrics.jsonl").read_text().splitlines()[-1])
    last.pop("seconds", None)
    return {"state": digest.hexdigest(), "last metrics": json.dumps(last), **evaluated(workdir)}


def evaluated(workdir: Path) -> dict[str, str]:
    """The codes and the result of an evaluation, without times."""
    result = json.loads((workdir / "eval.json").read_text())
    for timed in ("train_seconds", "run"):
        result.pop(timed, None)
    with np.load(workdir / "codes.npz") as arrays:
        codes = b"".join(name.encode() + arrays[name].tobytes() for name in sorted(arrays.files))
    return {"codes": hashlib.sha256(codes).hexdigest(), "eval.json": json.dumps(result)}


def check_same(found: dict[str, str], wanted: dict[str, str]) -> None:
    """Compares two outcomes.

    Raises:
      Fault: they differ; names the parts that do.
    """
    differing = [name for name in wanted if found.get(name) != wanted[name]]
    if differing:
        raise Fault(f"other {' and '.join(differing)} than undisturbed")

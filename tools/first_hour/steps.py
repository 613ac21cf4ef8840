"""Runs commands as the docs have them, and checks what each says."""

import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
# What no user should see: a library's error, or where in the code it was raised.
_FORBIDDEN = re.compile(r"Traceback|\b[A-Z]\w*(Error|Exception)\b")


class Failed(Exception):
    """A step did not do what it should; its text says which and why."""


@dataclass(frozen=True)
class Steps:
    """Runs the steps of a story.

    Attributes:
      folder: of data and runs.
      small: whether sizes are those of a test.
      places: what stands in for names in the docs' commands, such as "DIR".
    """

    folder: Path
    small: bool
    places: Mapping[str, str]

    def run(
        self,
        doc: str,
        command: str,
        *more: str,
        code: int = 0,
        says: Sequence[str] = (),
        places: Mapping[str, str] | None = None,
    ) -> str:
        """Runs a command of a page of the docs, and returns all that it printed.

        Args:
          doc: the page that has the command.
          command: as it stands there, on one line.
          more: further arguments, which the docs explain elsewhere.
          code: the exit code that it should have.
          says: what it should print.
          places: instead of some of the story's.

        Raises:
          Failed: the page lacks the command, or the command does something else.
        """
        if command not in _on_one_line((ROOT / doc).read_text(encoding="utf-8")):
            raise Failed(f"{doc} does not have the command {command!r}")
        arguments = [self._placed(word, places or {}) for word in shlex.split(command)]
        return self.call([*arguments[1:], *more], code=code, says=says)

    def call(self, arguments: Sequence[str], *, code: int = 0, says: Sequence[str] = ()) -> str:
        """Runs Python with arguments, and returns all that it printed; see `run`."""
        shown = f"python {shlex.join(arguments)}"
        print(f"$ {shown}", flush=True)
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, *arguments], cwd=ROOT, env=self.environment(), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
        output = done.stdout
        print(f"  exit code {done.returncode}, {time.monotonic() - began:.0f} s", flush=True)
        problems = [f"it does not say {text!r}" for text in says if text not in output]
        if done.returncode != code:
            problems.insert(0, f"the exit code is {done.returncode}, not {code}")
        found = _FORBIDDEN.search(output)
        if found:
            problems.append(f"it says {found.group()!r}")
        if problems:
            raise Failed(f"{shown}\n{output}\n{'; '.join(problems)}")
        return output

    def seconds_to_first_step(self, arguments: Sequence[str], workdir: Path) -> float:
        """Starts a training, waits until it has logged its first step, and stops it."""
        command = [sys.executable, "train.py", *arguments, f"--workdir={workdir}"]
        began = time.monotonic()
        with subprocess.Popen(
            command, cwd=ROOT, env=self.environment(), stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:  # fmt: skip
            log = workdir / "metrics.jsonl"
            while not (log.exists() and log.stat().st_size):
                if process.poll() is not None:
                    raise Failed(f"{shlex.join(command)} ended before its first step")
                time.sleep(0.05)
            seconds = time.monotonic() - began
            process.kill()
        return seconds

    def check(self, is_true: bool, what: str) -> None:
        """Raises `Failed` unless something holds."""
        if not is_true:
            raise Failed(f"it does not hold that {what}")
        print(f"  {what}", flush=True)

    def environment(self) -> dict[str, str]:
        """Of every command: caches of its own, and modules of the user."""
        kept = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
        return kept | {"XDG_CACHE_HOME": str(self.folder / "cache"),
                       "PYTHONPATH": str(self.folder)}  # fmt: skip

    def _placed(self, word: str, places: Mapping[str, str]) -> str:
        for name, place in {**self.places, **places}.items():
            word = place.join(re.split(rf"(?<![\w/]){re.escape(name)}(?![\w/])", word))
        return word


def _on_one_line(page: str) -> str:
    return " ".join(page.replace("\\\n", " ").split())


def code_block(doc: str, name: str) -> str:
    """The code of a file in a page of the docs: its block begins with "# NAME"."""
    page = (ROOT / doc).read_text(encoding="utf-8")
    found = re.search(rf"```python\n(# {re.escape(name)}\n.*?)```", page, re.DOTALL)
    if found is None:
        raise Failed(f"{doc} does not have the file {name}")
    return found.group(1)

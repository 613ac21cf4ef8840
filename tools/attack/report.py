"""Counts the trials of an attack, and shows progress and a table at the end."""

import contextlib
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from tools.attack.runs import Fault


@dataclass
class Report:
    """The trials of one attack.

    Attributes:
      part: the attack's name.
      trials: how many were made.
      faults: what went wrong, with what was done.
      outcomes: what else was counted, e.g. how many flips were found.
    """

    part: str
    trials: int = 0
    faults: list[str] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    began: float = field(default_factory=time.monotonic)
    seconds: float = 0.0

    @contextlib.contextmanager
    def trial(self, what: str) -> Iterator[None]:
        """Counts a trial; any exception in it is a fault."""
        self.trials += 1
        try:
            yield
        except Fault as fault:
            self.fault(f"{what}: {fault}")
        except Exception as error:  # the attack itself failed, which must not pass for success
            self.fault(f"{what}: {type(error).__name__}: {error}")
        self.seconds = time.monotonic() - self.began
        if self.trials % 5 == 0:
            print(f"{self.part}: {self.trials} trials, {len(self.faults)} faults, "
                  f"{self.seconds:.0f} s", flush=True)  # fmt: skip

    def fault(self, line: str) -> None:
        """Counts and prints what went wrong."""
        self.faults.append(line)
        print(f"FAULT {self.part}: {line}", flush=True)

    def row(self) -> str:
        """A row of the table."""
        counted = ", ".join(f"{name} {count}" for name, count in sorted(self.outcomes.items()))
        return (f"{self.part:8} {self.trials:7,} {len(self.faults):7,} {self.seconds:8.0f}  "
                f"{counted}").rstrip()  # fmt: skip


HEADER = f"{'attack':8} {'trials':>7} {'faults':>7} {'seconds':>8}  outcomes"

"""How fast steps are taken."""

import time


class Speed:
    """Steps per second between two lines of metrics, without compiling and validation."""

    def __init__(self) -> None:
        self._began: float | None = None
        self._steps = 0

    def count(self, steps: int) -> None:
        """Counts a call's steps. The first after a pause, which may compile, starts the clock."""
        if self._began is None:
            self._began = time.monotonic()
        else:
            self._steps += steps

    def pause(self) -> None:
        """Leaves out what happens until the next step."""
        self._began, self._steps = None, 0

    def metrics(self) -> dict[str, float]:
        """`steps_per_second` since the last call, unless no step was counted."""
        now = time.monotonic()
        began, steps = self._began, self._steps
        if began is None or not steps:
            return {}
        self._began, self._steps = now, 0
        return {"steps_per_second": steps / max(now - began, 1e-9)}

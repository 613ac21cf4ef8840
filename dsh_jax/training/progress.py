"""Reports on a run: a progress bar, JSON lines, TensorBoard and sample grids."""

import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from dsh_jax import hosts
from dsh_jax.data.images.augment import as_uint8
from dsh_jax.files import replacing
from dsh_jax.training.tensorboard import TensorBoard

_SHOWN = {
    "discriminator/loss": "D",
    "hash/loss": "H",
    "generator/loss": "G",
    "hash/triplet": "triplet",
    "network/loss": "loss",
    "network/right_bits": "right bits",
    "objective": "objective",
    "validation_map": "val mAP",
    "frechet_distance": "FD",
    "judged_accuracy": "judged",
}
_BAR = "{desc}{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{remaining} left, {rate_fmt}{postfix}]"


class Progress:
    """Reports on a run; everything except the bar is written to the workdir.

    Args:
      workdir: the folder of `metrics.jsonl` and `tensorboard/`.
      step: steps already done; what an earlier run wrote about later ones is dropped.
      num_steps: steps of the whole run.
      shown: more metrics for the bar, each with its name there.
    """

    def __init__(
        self, workdir: Path, *, step: int, num_steps: int, shown: Mapping[str, str] | None = None
    ) -> None:
        self._shown = {**_SHOWN, **(shown or {})}
        self._path = workdir / "metrics.jsonl"
        drop_after(self._path, step)
        self._file = self._path.open("a")
        self._tensorboard = TensorBoard(workdir / "tensorboard", first_step=step + 1)
        self._bar = tqdm(
            total=num_steps or None,  # unknown for a method in closed form
            initial=step,
            unit="step",
            dynamic_ncols=True,
            bar_format=_BAR if num_steps else None,
            smoothing=0,  # the mean speed of the stage: validation would make the last one jump
            # In a log file, a line every 30 seconds is enough.
            mininterval=0.5 if sys.stderr.isatty() else 30,
        )
        self._postfix: dict[str, str] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Shows that a stage's first step is being compiled; afterwards, the stage's name.

        Speed and time left are those of the stage alone, without what is done here.
        """
        self._bar.set_description(f"{name}: compiling ...")
        yield
        self._bar.set_description(name, refresh=False)
        self._bar.initial = self._bar.n
        self._bar.start_t = self._bar.last_print_t = time.time()

    def advance(self, steps: int = 1) -> None:
        """Counts finished steps."""
        self._bar.update(steps)

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Writes metrics of a step and shows the main ones."""
        self._file.write(json.dumps({"step": step, **metrics}) + "\n")
        self._file.flush()
        for name, value in metrics.items():
            self._tensorboard.scalar(step, name, value)
        self._tensorboard.flush()
        shown = {short: metrics[name] for name, short in self._shown.items() if name in metrics}
        self._postfix |= {short: f"{value:.3f}" for short, value in shown.items()}
        self._bar.set_postfix(self._postfix, refresh=False)

    def image(self, step: int, name: str, image: np.ndarray) -> None:
        """Writes a uint8 image `[height, width, 3]` to TensorBoard."""
        self._tensorboard.image(step, name, image)

    def text(self, step: int, name: str, text: str) -> None:
        """Writes a text in Markdown to TensorBoard."""
        self._tensorboard.text(step, name, text)

    def close(self) -> None:
        """Closes the bar and the files."""
        with closing(self._tensorboard), self._file:
            self._bar.close()


class NoProgress(Progress):
    """That of a process which leaves it to another one to report."""

    def __init__(self) -> None:
        pass

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Shows nothing."""
        yield

    def advance(self, steps: int = 1) -> None:
        """Counts nothing."""

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Writes nothing."""

    def image(self, step: int, name: str, image: np.ndarray) -> None:
        """Writes nothing."""

    def text(self, step: int, name: str, text: str) -> None:
        """Writes nothing."""

    def close(self) -> None:
        """Has nothing to close."""


def say(*lines: str) -> None:
    """Prints lines to stderr, above the bar if there is one; of several processes only one does."""
    if not hosts.is_first():
        return
    for line in lines:
        tqdm.write(line, file=sys.stderr)


def drop_after(path: Path, step: int) -> None:
    """Drops JSON lines of later steps, which are written again, and a line that was cut off."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text().splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except ValueError:
            continue
    with replacing(path) as beside:
        beside.write_text("".join(kept))


def image_grid(images: np.ndarray, columns: int) -> np.ndarray:
    """Arranges images in a grid, row by row.

    Args:
      images: in [-1, 1], NaN black, `[n, height, width, 1 or 3]`; n a multiple of `columns`.
      columns: images per row.

    Returns:
      uint8 `[grid height, grid width, 3]`; small images are enlarged, with a border around each.
    """
    scale = max(1, 64 // images.shape[1])
    pixels = as_uint8(images)
    pixels = np.broadcast_to(pixels, (*pixels.shape[:3], 3)).repeat(scale, 1).repeat(scale, 2)
    pixels = np.pad(pixels, ((0, 0), (2, 2), (2, 2), (0, 0)), constant_values=255)
    rows = len(pixels) // columns
    height, width = pixels.shape[1:3]
    grid = pixels.reshape(rows, columns, height, width, 3).transpose(0, 2, 1, 3, 4)
    return grid.reshape(rows * height, columns * width, 3)


def save_png(path: Path, image: np.ndarray) -> None:
    """Writes a uint8 image `[height, width, 3]` as PNG, atomically."""
    with replacing(path) as beside:
        Image.fromarray(image).save(beside, format="PNG")

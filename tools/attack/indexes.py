"""Kills of `search.py index` and `compact`: run again, they end as if never killed."""

import random
import shutil
import time
from pathlib import Path

import numpy as np
from PIL import Image

from tools.attack.report import Report
from tools.attack.runs import ROOT, Fault, Run, Scratch, in_fork

NUM_IMAGES = 1000


def attack(scratch: Scratch, rng: random.Random, scale: float, report: Report) -> None:
    """Kills 20 times during `index` and 10 times during `compact`."""
    images, output = scratch / "images", scratch / "indexes"
    in_fork(_write_images, images)
    wanted_index = scratch / "wanted.index"
    began = time.monotonic()
    Run(_index(images, wanted_index), output).succeed()
    seconds = {"index": time.monotonic() - began}
    wanted = in_fork(_outcome, wanted_index)
    began = time.monotonic()
    Run(_compact(shutil.copytree(wanted_index, scratch / "timed.index")), output).succeed()
    seconds["compact"] = time.monotonic() - began
    print(f"indexes: index takes {seconds['index']:.1f} s, compact {seconds['compact']:.1f} s",
          flush=True)  # fmt: skip
    for number in range(round(30 * scale)):
        verb = "compact" if number % 3 == 2 else "index"
        uri, moment = scratch / f"{number}.index", rng.uniform(0, seconds[verb])
        with report.trial(f"{verb} killed after {moment:.2f} s"):
            if verb == "compact":
                shutil.copytree(wanted_index, uri)
            command = _index(images, uri) if verb == "index" else _compact(uri)
            run = Run(command, output)
            time.sleep(moment)
            if not run.kill() and run.wait():
                raise Fault(f"exit code {run.wait()} before it was killed: {run.errors[-300:]!r}")
            Run(command, output).succeed()
            if in_fork(_outcome, uri) != wanted:
                raise Fault("other items or other answers than those of an index never killed")
            left = [path.name for path in uri.iterdir() if path.name.endswith((".tmp", "-journal"))]
            if left or len(list(uri.glob("items-*.sqlite"))) != 1:
                raise Fault(f"files are left: {sorted(path.name for path in uri.iterdir())}")
        shutil.rmtree(uri, ignore_errors=True)


def _index(images: Path, uri: Path) -> list[str]:
    model = ROOT / "examples/digits_16bit.safetensors"
    return ["search.py", "index", f"--model={model}", f"--images={images}", f"--index={uri}",
            "--batch=50", "--once"]  # fmt: skip


def _compact(uri: Path) -> list[str]:
    return ["search.py", "compact", f"--index={uri}"]


def _write_images(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(NUM_IMAGES):
        place = folder / str(number % 10)
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (8, 8), np.uint8)).save(place / f"{number:05}.png")


def _outcome(uri: Path) -> str:
    """All items, and the answers to some queries, as text."""
    from dsh_jax.search.index import open_index

    codes = np.random.default_rng(1).integers(0, 256, (50, 2), np.uint8)
    with open_index(uri) as index:
        found = [[(hit.distance, hit.item.id) for hit in hits] for hits in index.search(codes)]
        return repr([index.check(), list(index), found])

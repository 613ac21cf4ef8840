"""Single flipped bits in what a run has written: each is found, or changes nothing."""

import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from tools.attack.report import Report
from tools.attack.runs import Fault, Scratch, in_fork, outcome


def attack(scratch: Scratch, rng: random.Random, scale: float, report: Report) -> None:
    """Flips 200 bits: most in workdirs, the others in image caches and encoder files."""
    cases = ("control", "cnnh")
    commands = {case: scratch.train(case, scratch / f"flips_{case}") for case in cases}
    wanted = {case: in_fork(outcome, command) for case, command in commands.items()}
    images = in_fork(_make_images, scratch / "images", scratch / "cache")
    encoder, codes = in_fork(_make_encoder, scratch / "flips_control", scratch / "encoder")
    asked: tuple[Any, Any]
    right: Any
    for number in range(round(200 * scale)):
        kind = ("checkpoint", "file", "checkpoint", "cache", "encoder")[number % 5]
        if kind == "cache":
            folder = scratch / "cache"
            asked, right = (read_images, scratch / "images"), images
            files = list(folder.rglob("*.array_record"))
        elif kind == "encoder":
            folder = encoder.parent
            asked, right = (read_encoder, encoder), codes
            files = [encoder]
        else:
            case = rng.choice(sorted(commands))
            folder = scratch / f"flips_{case}"
            asked, right = (outcome, commands[case]), wanted[case]
            files = files_of(folder, kind)
        # The folder itself is attacked and then put back, because paths are in what it holds.
        kept = scratch / "kept"
        shutil.copytree(folder, kept)
        try:
            with report.trial(kind):
                what = flip(rng.choice(sorted(files)), rng)
                ending = in_fork(result_of, *asked)
                report.outcomes[judged(what, ending, right)] += 1
        finally:
            shutil.rmtree(folder)
            kept.rename(folder)


def files_of(workdir: Path, kind: str) -> list[Path]:
    """The files of a workdir that are attacked: its checkpoints', or those beside them."""
    if kind == "checkpoint":
        files = [path for path in (workdir / "checkpoints").rglob("*") if path.is_file()]
    else:
        names = ("split.json", "signature.json", "targets.npz", "database_codes.npz")
        files = [workdir / name for name in names if (workdir / name).exists()]
    return [path for path in files if path.stat().st_size]


def flip(path: Path, rng: random.Random) -> str:
    """Flips one bit of a file; returns which, in words."""
    content = bytearray(path.read_bytes())
    byte, bit = rng.randrange(len(content)), rng.randrange(8)
    content[byte] ^= 1 << bit
    path.write_bytes(content)
    return f"bit {bit} of byte {byte} of {path}"


def result_of(call: Any, *arguments: Any) -> tuple[str, Any]:
    """("result", what a call returns), or ("refused", the sentence of its `UserError`)."""
    from dsh_jax.errors import UserError

    try:
        return "result", call(*arguments)
    except (UserError, OSError) as error:
        return "refused", str(error)


def judged(what: str, ending: tuple[str, Any], right: Any) -> str:
    """"found" or "harmless".

    Raises:
      Fault: the flip went unseen and changed something, or the refusal is no sentence.
    """
    kind, result = ending
    if kind == "refused":
        if "\n" in result:
            raise Fault(f"{what}: no sentence: {result!r}")
        return "found"
    if result != right:
        raise Fault(f"{what}: nothing was said, and the result is another")
    return "harmless"


def _make_images(folder: Path, cache: Path) -> str:
    """Writes pictures of digits as files, reads them, and returns what was read."""
    from PIL import Image

    rng = np.random.default_rng(0)
    for number in range(60):
        place = folder / f"class_{number % 3}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (8, 8, 3)).astype(np.uint8)).save(
            place / f"{number}.png"
        )
    return read_images(folder)


def read_images(folder: Path) -> str:
    """All images and labels of a folder as the data set has them, in one digest."""
    import hashlib

    from dsh_jax.data.loading import load_dataset
    from tools.attack.config import get_config

    data = get_config("image_files").data
    data.root, data.cache_dir = str(folder), str(folder.parent / "cache")
    data.memory_limit_gb = 0.0  # from the cache, at every access
    dataset = load_dataset(data)
    ids = np.arange(len(dataset))
    digest = hashlib.sha256(dataset.take(ids)["image"].tobytes())
    digest.update(np.asarray(dataset.labels).tobytes())
    return digest.hexdigest()


def _make_encoder(workdir: Path, folder: Path) -> tuple[Path, bytes]:
    from dsh_jax import load_encoder

    folder.mkdir()
    path = folder / "encoder.safetensors"
    load_encoder(workdir).save(path)
    return path, read_encoder(path)


def read_encoder(path: Path) -> bytes:
    """The codes that an encoder file gives to some images."""
    from dsh_jax import load_encoder

    images = np.random.default_rng(0).integers(0, 256, (50, 8, 8, 1)).astype(np.uint8)
    return np.asarray(load_encoder(path).encode(images)).tobytes()

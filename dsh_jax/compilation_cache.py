"""Compiled programs are kept on disk, so that the next run with the same shapes starts sooner."""

import hashlib
import os
import platform
import warnings
from contextlib import suppress
from pathlib import Path

import jax

from dsh_jax.files import user_cache

MOST_BYTES = 2 * 1024**3


def enable() -> None:
    """Turns JAX's persistent compilation cache on, in `~/.cache/dsh_jax/compiled`.

    `JAX_COMPILATION_CACHE_DIR` names another folder, and `JAX_ENABLE_COMPILATION_CACHE=false` turns
    it off. Without a writable folder every run compiles anew.
    """
    # A damaged entry (its writer was killed, say) is compiled again; that needs no words.
    warnings.filterwarnings("ignore", message="Error (reading|writing) persistent compilation")
    if os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        return
    folder = user_cache() / "compiled" / machine()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return
    prune(folder.parent, MOST_BYTES)
    jax.config.update("jax_compilation_cache_dir", str(folder))
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


def machine() -> str:
    """A name of this kind of CPU: programs for another may use instructions that it lacks."""
    words = platform.machine() + platform.processor()
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        words += next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return hashlib.sha256(words.encode()).hexdigest()[:12]


def prune(folder: Path, most_bytes: int) -> None:
    """Deletes the oldest files below `folder` until the rest takes at most `most_bytes`."""
    found = []
    for path in folder.rglob("*"):
        with suppress(OSError):  # another process deleted it
            if path.is_file():
                found.append((path.stat().st_mtime, path.stat().st_size, path))
    excess = sum(size for _, size, _ in found) - most_bytes
    for _, size, path in sorted(found):
        if excess <= 0:
            return
        with suppress(OSError):
            path.unlink()
            excess -= size

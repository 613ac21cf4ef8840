"""The folder of a FAISS index: its lock, and the manifest that names one generation of files."""

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dsh_jax.errors import UserError
from dsh_jax.files import remove_abandoned, try_lock, write_json
from dsh_jax.search import kinds, manifest, store
from dsh_jax.search.manifest import Manifest

MANIFEST = "manifest.json"
_LOCK = ".lock"


def exists(uri: str) -> bool:
    """Whether there is an index in a folder."""
    return (Path(uri).expanduser() / MANIFEST).is_file()


def create(uri: str, manifest: Manifest) -> None:
    """Makes an empty index.

    Raises:
      UserError: the folder has other things in it, there is an index already, or the kind or its
        options are unknown.
    """
    check_kind(manifest)
    folder = Path(uri).expanduser()
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file: name a folder for the index, or a new one.")
    ours = (_LOCK, "items-0.sqlite", f".{MANIFEST}.")
    if folder.is_dir() and any(not path.name.startswith(ours) for path in folder.iterdir()):
        raise UserError(f"{folder} is not empty and has no index: name a new folder.")
    folder.mkdir(parents=True, exist_ok=True)
    lock = take_lock(folder)
    try:
        if exists(uri):  # made while this process waited
            return
        store.create(folder / "items-0.sqlite")
        write_manifest(folder, manifest, 0, {"items": "items-0.sqlite"})
    finally:
        os.close(lock)


def check_kind(manifest: Manifest) -> None:
    """Refuses a kind or options that FAISS indexes do not have.

    Raises:
      UserError: names those that there are.
    """
    if manifest.kind not in kinds.OPTIONS:
        raise UserError(
            f"FAISS has no index of kind {manifest.kind!r}: choose {', '.join(kinds.OPTIONS)}."
        )
    for name in manifest.options:
        if name not in kinds.OPTIONS[manifest.kind]:
            known = ", ".join(kinds.OPTIONS[manifest.kind]) or "none"
            raise UserError(f"{manifest.kind} has no option {name!r}: set one of these: {known}.")


def take_lock(folder: Path) -> int:
    """Takes the lock of a folder; closing the file descriptor releases it, as does being killed.

    Raises:
      UserError: there is no folder, or another process holds the lock.
    """
    if not folder.is_dir():
        raise UserError(f"there is no index {folder}: make one with search.py index.")
    lock = try_lock(folder / _LOCK)
    if lock is None:
        raise UserError(
            f"another process is writing the index {folder}: wait for its end, or stop it."
        )
    return lock


def write_manifest(
    folder: Path, manifest: Manifest, generation: int, names: Mapping[str, str]
) -> None:
    """Makes some files the index, whole or not at all.

    Args:
      folder: of the index.
      manifest: what the index is.
      generation: of the files.
      names: of the files: "items", "codes" and "fast", the last two where there are such.
    """
    # SQLite changes its file with every commit, and checks itself.
    frozen = [name for name in names.values() if name.endswith(".faiss")]
    content = manifest.to_dict() | {
        "engine": "faiss", "generation": generation, "files": dict(names),
        "digests": {name: digest_of(folder / name) for name in frozen},
    }  # fmt: skip
    write_json(folder / MANIFEST, content | {"checksum": _checksum(content)})


def read_manifest(folder: Path) -> dict[str, Any]:
    """What `write_manifest` wrote: a manifest with "generation", "files" and "digests".

    Raises:
      UserError: there is none, or it is damaged or newer.
    """
    path = folder / MANIFEST
    try:
        content = json.loads(path.read_text())
        manifest.from_dict(content, str(folder))  # a newer one may have other fields
        if content.get("engine") != "faiss":
            raise ValueError(f"engine {content.get('engine')!r}")
        if content.pop("checksum", None) != _checksum(content):
            raise ValueError("its checksum does not fit")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(
            f"there is no index {folder}: make one with search.py index."
        ) from error
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{path} is damaged ({' '.join(str(error).split())[:100]}): restore it, or index again."
        ) from error
    return content


def _checksum(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def digest_of(path: Path) -> str:
    """SHA-256 (hex) of a file; "missing" if there is none."""
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
    return "missing"


def remove_old(folder: Path) -> None:
    """Removes the files of other generations; who still reads them keeps them open."""
    kept = {*read_manifest(folder)["files"].values()}
    for path in folder.glob("*-*.*"):
        stem = path.name.removesuffix("-wal").removesuffix("-shm").removesuffix("-journal")
        if stem not in kept and stem.endswith((".sqlite", ".faiss")):
            path.unlink(missing_ok=True)
    remove_abandoned(folder)

"""Downloads one large file: from several addresses, resumed when interrupted, and checked.

pooch checks the file and moves it to its path; resuming, which pooch lacks, is added here.
"""

import functools
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pooch
import requests
import urllib3
from tqdm import tqdm

from dsh_jax.errors import UserError
from dsh_jax.files import locked

_TIMEOUT = 30  # seconds to connect, and between two pieces of the file
# Failures after which another address may work; a full disk is not one of them. pooch raises
# ValueError for a wrong checksum.
_FAILURES = (requests.RequestException, urllib3.exceptions.HTTPError, ValueError)


def download(path: Path, addresses: Sequence[str], checksum: str, *, max_bytes: int) -> None:
    """Downloads a file, unless `path` already has the right checksum.

    The file appears at `path` only when it is complete. The next call resumes an interrupted
    download. If several processes need the file, one downloads it and the others wait.

    Args:
      path: where the file goes; its folder is made if needed.
      addresses: where the file can be downloaded, tried in this order.
      checksum: "algorithm:hex digest".
      max_bytes: a larger file is refused as soon as it exceeds this size.

    Raises:
      UserError: no address gives a file with this checksum.
      OSError: the file cannot be written.
    """
    pooch.get_logger().setLevel("WARNING")  # the progress bar says the same
    failures = []
    # Before the lock, because a cache that is already filled may be read-only. The size alone would
    # not reveal a damaged copy, and the checksum of 170 MB takes a quarter of a second.
    if _has_checksum(path, checksum):
        return
    with locked(path):
        for address in addresses:
            try:
                # Does nothing if another process has just put the file there.
                _download_from(address, path, checksum, max_bytes)
                return
            except _FAILURES as error:
                failures.append(f"{address}: {_reason(error)}")
        if path.exists():
            failures.append(f"{path} has a wrong checksum")
    raise UserError(
        f"{path.name} cannot be downloaded ({'; '.join(failures)}): check the network connection"
        f" and run again, or download {addresses[0]} on another machine and copy it to {path}."
    )


def _download_from(address: str, path: Path, checksum: str, max_bytes: int) -> None:
    """Downloads from one address; raises one of `_FAILURES` if that does not work."""
    part = path.with_name(f".{path.name}.part")
    while True:
        before = _size(part)
        try:
            pooch.retrieve(
                address, checksum, fname=path.name, path=path.parent,
                downloader=functools.partial(_receive, part, max_bytes),
            )  # fmt: skip
            return
        except _FAILURES:
            after = _size(part)
            progressed = after > before  # the connection broke: resume
            discarded = before and not after  # the resumed part was bad: start over, once
            if not (progressed or discarded):
                raise


def _receive(part: Path, max_bytes: int, address: str, output: str, _: Any) -> None:
    """A downloader for pooch: appends to `part`, then renames it.

    pooch checks the file at `output` and deletes it if its checksum is wrong.
    """
    name = f"downloading {address.rpartition('/')[2]}"
    start = _size(part)
    # Resuming counts bytes of the file itself, so the server must not compress it.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    with requests.get(address, headers=headers, stream=True, timeout=_TIMEOUT) as response:
        if start and response.status_code == 416:  # no bytes are missing: see if they are right
            os.replace(part, output)
            return
        response.raise_for_status()
        if response.status_code != 206:  # the server sends the whole file
            start = 0
        total = start + int(response.headers.get("Content-Length", 0)) or None
        with (
            part.open("ab" if start else "wb") as file,
            tqdm(desc=name, initial=start, total=total, unit="B", unit_scale=True,
                 mininterval=0.5 if sys.stderr.isatty() else 30) as bar,
        ):  # fmt: skip
            received = start
            for chunk in response.raw.stream(2**16, decode_content=False):
                received += len(chunk)
                if received > max_bytes:
                    part.unlink()
                    raise ValueError(f"the file is larger than {max_bytes:,} bytes")
                file.write(chunk)
                bar.update(len(chunk))
    if total and received < total:  # older versions of urllib3 do not raise
        raise requests.ConnectionError(f"the connection broke after {received:,} bytes")
    os.replace(part, output)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _has_checksum(path: Path, checksum: str) -> bool:
    algorithm, _, digest = checksum.partition(":")
    return path.is_file() and pooch.file_hash(str(path), alg=algorithm) == digest


def _reason(error: BaseException) -> str:
    """The first sentence of the innermost cause of an error, without the connection's address."""
    while True:
        nested = (getattr(error, "reason", None), *error.args)
        inner = next((item for item in nested if isinstance(item, BaseException)), None)
        if inner is None:
            break
        error = inner
    sentence = " ".join(str(error).split()).partition(". ")[0]
    sentence = re.sub(r"^(<.*?>|HTTPS?Connection(Pool)?\(.*?\)): ", "", sentence)
    return sentence[:200].rstrip(" .") or type(error).__name__

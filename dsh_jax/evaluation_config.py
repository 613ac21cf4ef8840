"""The config of a workdir, which may be from someone else or from another machine."""

from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from dsh_jax import fields
from dsh_jax.data.documents.collections import NAMES as DOCUMENTS
from dsh_jax.data.loading import FEATURES, WITH_ROOT
from dsh_jax.encoder import Encoder
from dsh_jax.errors import UserError
from dsh_jax.training.experiment import check_data_fields
from dsh_jax.training.workdir import load_config

_IMAGE_CACHE, _VECTOR_CACHE = "~/.cache/dsh_jax/images", "~/.cache/dsh_jax/features"
_TOPIC_CACHE = "~/.cache/dsh_jax/topics"


def load_config_of(workdir: Path, data_dir: str) -> ConfigDict:
    """The config that a workdir was trained with.

    Nothing that it names is imported. Its cache folders may be a stranger's: without `data_dir`
    they are used only if they are the default or something is cached there already.

    Args:
      workdir: of a training.
      data_dir: where the data is now; empty if it has not moved since training.

    Raises:
      UserError: there is no such workdir, or it has no split.
    """
    config = load_config(workdir)
    try:
        for field in ("method", "seed", "num_bits", "num_devices"):
            fields.get(config, field)
        check_data_fields(config)
    except UserError as error:
        raise UserError(f"{workdir}/config.json was changed: {error}") from error
    if not (workdir / "split.json").exists():
        raise UserError(f"{workdir} holds no split.json; run train.py --workdir {workdir} first.")
    if not data_dir:
        _leave_strange_caches(config)
    move_data(config, data_dir)
    return config


def check_place(workdir: Path, config: ConfigDict, data_dir: str) -> None:
    """Refuses a user's files where they are not, in the words of the flag that moves them.

    Args:
      workdir: of a training.
      config: from `load_config_of`.
      data_dir: as there.

    Raises:
      UserError: there is no such file or folder.
    """
    if config.data.source not in (*WITH_ROOT, *DOCUMENTS):
        return
    place = config.data.root if config.data.source in WITH_ROOT else config.data.data_dir
    if place and not Path(place).expanduser().exists():
        if data_dir:
            raise UserError(f"there is no --data_dir {data_dir}; say where the data is now.")
        raise UserError(
            f"the data of {workdir} is no longer at {place}; say where it is now with --data_dir."
        )


def move_data(config: ConfigDict, data_dir: str) -> None:
    """Sets where the data is now, unless `data_dir` is empty."""
    if data_dir:
        config.data["root" if config.data.source in WITH_ROOT else "data_dir"] = data_dir


def keeps_learned_codes(config: ConfigDict) -> bool | None:
    """Whether the database has the codes that were learned for training items.

    Returns:
      None where the method has no choice, or is of a version that had none.
    """
    codes = config.get("codes")
    chosen = codes.get("database_codes") if isinstance(codes, ConfigDict) else None
    return None if chosen is None else chosen == "learned"


def _leave_strange_caches(config: ConfigDict) -> None:
    """Keeps cache folders only if they are caches: nothing is written to any other folder."""

    def is_cache(folder: Any, default: str, files: str) -> bool:
        return folder == default or any(Path(str(folder)).expanduser().glob(files))

    kept, topics = config.data.get("cache_dir"), config.get("topics")
    default, files = _IMAGE_CACHE, "*.array_record"
    if config.data.source == FEATURES:
        default, files = _VECTOR_CACHE, "*.npy"
    if kept is not None and not is_cache(kept, default, files):
        config.data.cache_dir = default
    if isinstance(topics, ConfigDict) and topics.get("cache"):
        if not is_cache(topics.cache, _TOPIC_CACHE, "*.npz"):
            topics.cache = ""  # fitted again


def check_network(workdir: Path, config: ConfigDict, encoder: Encoder) -> None:
    """Refuses a config that was changed after training."""
    for field, value in encoder.network_fields.items():
        found = fields.get(config, field)
        if found != value:
            raise UserError(
                f"{workdir}/config.json has {field} {found!r}, but signature.json has {value!r}; "
                "restore the file that was changed."
            )

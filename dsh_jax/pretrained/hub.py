"""Weights by the name of a repository of the Hugging Face hub, `hf://OWNER/NAME[/FILE]`."""

import re
from pathlib import Path

import requests

from dsh_jax.errors import UserError

SCHEME = "hf://"
FILE = "model.safetensors"
_SECONDS = 10  # until the hub must have answered
_PLACE = re.compile(r"hf://([\w.-]+/[\w.-]+)(?:/([\w./-]+))?")


def fetch(place: str) -> Path:
    """The file of a place, from the hub's cache or downloaded into it.

    Args:
      place: `hf://OWNER/NAME` or `hf://OWNER/NAME/FILE`; the file is `FILE` where none is named.

    Raises:
      UserError: it is no such place, `huggingface_hub` is not installed, there is no network, or
        the hub has no such file.
    """
    match = _PLACE.fullmatch(place)
    if match is None:
        raise UserError(
            f"pretrained.weights is {place!r}; write hf://OWNER/NAME or hf://OWNER/NAME/FILE."
        )
    repository, name = match[1], match[2] or FILE
    try:
        import huggingface_hub
    except ImportError as error:
        raise UserError(
            f"{place} needs huggingface_hub; install it (pip install huggingface_hub), or set "
            "pretrained.weights to a safetensors file."
        ) from error
    try:  # what is in the cache needs no network
        return Path(huggingface_hub.hf_hub_download(repository, name, local_files_only=True))
    except Exception as error:  # of many types, which differ between versions
        if not isinstance(error, OSError | ValueError):
            raise _cannot(place, error) from error
    site = huggingface_hub.constants.ENDPOINT
    try:  # the library itself would try for minutes
        requests.head(site, timeout=_SECONDS)
    except requests.RequestException as error:
        raise UserError(
            f"{place} is not in the cache of huggingface_hub, and {site} cannot be reached; connect"
            " to a network, or download the file elsewhere and set pretrained.weights to it."
        ) from error
    try:
        return Path(huggingface_hub.hf_hub_download(repository, name, etag_timeout=_SECONDS))
    except Exception as error:
        raise _cannot(place, error) from error


def _cannot(place: str, error: Exception) -> UserError:
    missing = type(error).__name__ in ("EntryNotFoundError", "RemoteEntryNotFoundError",
                                       "RepositoryNotFoundError", "GatedRepoError")  # fmt: skip
    if missing:
        return UserError(
            f"the hub has no {place}, or not for you; look at https://huggingface.co for owner, "
            "name and file."
        )
    said = " ".join(str(error).split())[:150].rstrip(" .")
    return UserError(f"{place} cannot be downloaded ({said}); run the same command again.")

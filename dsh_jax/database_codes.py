"""Codes that were learned for training items, as a workdir keeps them for its database.

They belong to one encoder, which encodes all other items: it is named in the file.
"""

import hashlib
from pathlib import Path

import numpy as np

from dsh_jax.data.targets import Targets
from dsh_jax.errors import UserError, reason
from dsh_jax.files import replacing

FILE = "database_codes.npz"


def save(codes: Targets, encoder: str, workdir: Path) -> None:
    """Writes codes, whole or not at all.

    Args:
      codes: packed, uint8 `[n, ceil(num_bits / 8)]`, of the training items.
      encoder: its fingerprint.
      workdir: of the training.
    """
    with replacing(workdir / FILE) as beside, beside.open("wb") as file:
        np.savez(file, ids=codes.ids, codes=codes.codes, encoder=encoder,
                 checksum=_checksum(codes, encoder))  # fmt: skip


def load(workdir: Path, encoder: str, num_bits: int) -> Targets:
    """Reads what `save` wrote.

    Args:
      workdir: of the training.
      encoder: the fingerprint of its encoder.
      num_bits: of a code.

    Raises:
      UserError: the file is missing, damaged, or of another encoder.
    """
    path = workdir / FILE
    repair = "restore it, or train again in another --workdir"
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            codes = Targets(arrays["ids"], arrays["codes"])
            if str(arrays["checksum"]) != _checksum(codes, str(arrays["encoder"])):
                raise ValueError("its checksum does not fit")
            found = str(arrays["encoder"])
    except FileNotFoundError:
        raise UserError(
            f"{path} is missing, which holds the codes of the database (codes.database_codes is "
            f"'learned'): {repair}."
        ) from None
    except Exception as error:  # NumPy and zipfile raise many types for a damaged file
        raise UserError(f"{path} cannot be read ({reason(error)}): {repair}.") from error
    if found != encoder or codes.codes.shape[1] != -(-num_bits // 8):
        raise UserError(f"{path} is of another training than the checkpoint: {repair}.")
    return codes


def _checksum(codes: Targets, encoder: str) -> str:
    return hashlib.sha256(f"{codes.checksum} {encoder}".encode()).hexdigest()

"""Compares features with PyTorch's, on the same random weights, and writes the table.

    python -m tools.parity FOLDER [--result results/parity/features.json]

FOLDER is what `tools/parity_references.py` has written. Exits with 1 if any feature differs by more
than 1e-4. The table in docs/pretrained.md is made from the JSON, and needs no PyTorch:

    python -m tools.parity --table
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dsh_jax.files import write_json
from dsh_jax.networks.backbones import BACKBONES
from dsh_jax.pretrained import weights
from dsh_jax.report.markdown import table
from tools import tables

LIMIT = 1e-4
RESULT = Path("results/parity/features.json")
PAGE = Path("docs/pretrained.md")


def compare(reference: Path) -> dict[str, Any]:
    """One row: a reference `NAME.LIBRARY.npz`, beside which its weights lie."""
    saved = np.load(reference)
    name, images = str(saved["name"]), saved["images"]
    backbone = BACKBONES[name].build(dtype=jnp.float32, axis_name=None)
    like = weights.shapes(backbone, images.shape[1:])
    variables = weights.variables(reference.with_suffix(".safetensors"), name, like)
    # Products of float32 in full, on a GPU too.
    with jax.default_matmul_precision("highest"):
        found = jax.jit(lambda v, x: backbone.apply(v, x, train=False))(variables, images)
    return {
        "network": name,
        "library": str(saved["library"]),
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(like["params"])),
        "largest_difference": float(np.abs(np.asarray(found) - saved["features"]).max()),
        "largest_feature": float(np.abs(saved["features"]).max()),
        "between_images": float(np.abs(np.diff(saved["features"], axis=0)).max()),
        "versions": [str(version) for version in saved["versions"]],
    }


def rows_of(found: list[dict[str, Any]]) -> str:
    """The table of the documentation."""
    header = ("network", "library of the weights", "parameters", "largest difference",
              "largest feature", "between two images")  # fmt: skip
    rows = [
        (f"`{row['network']}`", row["library"], f"{row['parameters']:,}",
         f"{row['largest_difference']:.1e}", f"{row['largest_feature']:.1f}",
         f"{row['between_images']:.1g}")
        for row in found
    ]  # fmt: skip
    return table(header, rows)


def write_table(arguments: Sequence[str] = ()) -> int:
    """Writes the table of the documentation, or checks it; see `tables.options`."""
    options = tables.options(str(__doc__), arguments)
    rows = tables.read_json(options.root / RESULT, "run make parity")
    page = options.root / PAGE
    return tables.update({page: ("parity", rows_of(rows))}, check=options.check)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--result", type=Path, default=None)
    parser.add_argument("--table", action="store_true", help="write the table and compare nothing")
    options = parser.parse_args()
    if options.table:
        write_table()
        return
    if options.folder is None:
        parser.error("name the folder of the references, or give --table")
    found = [compare(path) for path in sorted(options.folder.glob("*.npz"))]
    print(rows_of(found))
    if options.result is not None:
        write_json(options.result, found)
    if not found or max(row["largest_difference"] for row in found) > LIMIT:
        sys.exit(f"a feature differs by more than {LIMIT}, or there is no reference")


if __name__ == "__main__":
    main()

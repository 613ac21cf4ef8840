"""Measures arms of `configs/documents_arms.py` on the queries, as tuned.

    python -m tools.measure_documents reuters DIR --draws 0,1,2
    python -m tools.measure_documents newsgroups DIR --draws 0 --arms rotated,linear

Each arm and draw is trained and evaluated as by `train.py` and `eval.py`, whose command its result
holds, except that one process measures them all and reads the documents of a draw once. Results are
`results/documents/arms_COLLECTION_ARM_drawDRAW.json`; those that are there already are kept.
"""

import argparse
import json
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from dsh_jax import cli, compilation_cache
from dsh_jax.errors import UserError
from dsh_jax.files import write_json
from tools import processes

RESULTS = Path("results/documents")


def measure(collection: str, arm: str, draw: int, data_dir: str) -> dict[str, Any]:
    """Trains an arm on a draw, and measures it on the queries.

    Args:
      collection, arm: keys of `documents_arms.SOURCES` and `ARMS`.
      draw: the seed of training and of the split.
      data_dir: where the archive is.

    Returns:
      What `eval.py --result` writes.
    """
    from dsh_jax.evaluation import evaluate_workdir
    from dsh_jax.training import workdir as workdirs
    from dsh_jax.training.loop import train

    config = f"configs/documents_arms.py:{collection}-{arm}"
    workdir = Path(f"runs/arms_{collection}_{arm}_draw{draw}")
    overrides = [f"--config.seed={draw}", f"--config.data.split_seed={draw}",
                 f"--config.data.data_dir={data_dir}"]  # fmt: skip
    words = ["python", "train.py", "--config", config, "--workdir", str(workdir), *overrides]
    run = workdirs.describe_run(shlex.join(words), overrides)
    run["measured_by"] = workdirs.command_line()
    train(cli.read_config(config, overrides), workdir, run)
    return evaluate_workdir(workdir)


@contextmanager
def reading_once() -> Iterator[None]:
    """A context in which documents are read again only if their config changes."""
    from dsh_jax import evaluation
    from dsh_jax.training import experiment

    read = experiment.load_data
    kept: dict[str, Any] = {}

    def load_data(config: Any, workdir: Path | None, inputs: Any = None) -> Any:
        """As `experiment.load_data`; a workdir of these arms has the split that is drawn anyway."""
        assert inputs is None
        key = json.dumps(config.data.to_dict(), sort_keys=True)
        if key not in kept:
            kept.clear()
            kept[key] = read(config, None)
        return kept[key]

    with (mock.patch.object(experiment, "load_data", load_data),
          mock.patch.object(evaluation, "load_data", load_data)):  # fmt: skip
        yield


def main(arguments: Sequence[str] | None = None) -> int:
    """Reads the options and measures; returns the exit code."""
    from configs.documents_arms import ARMS, SOURCES

    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    parser.add_argument("collection", choices=list(SOURCES))
    parser.add_argument("data_dir", help="where its archive is")
    parser.add_argument("--arms", default=",".join(ARMS), help="in this order (all)")
    parser.add_argument("--draws", default="0,1,2", help="seeds of training and split (0,1,2)")
    options = parser.parse_args(arguments)
    arms, draws = options.arms.split(","), options.draws.split(",")
    if unknown := [arm for arm in arms if arm not in ARMS]:
        raise UserError(f"--arms has {unknown[0]!r}; the arms are {', '.join(ARMS)}.")
    if wrong := [draw for draw in draws if not draw.isdecimal()]:
        raise UserError(f"--draws has {wrong[0]!r}; give numbers, as in 0,1,2.")
    compilation_cache.enable()
    RESULTS.mkdir(parents=True, exist_ok=True)
    with reading_once():
        for draw in map(int, draws):
            for arm in arms:
                path = RESULTS / f"arms_{options.collection}_{arm}_draw{draw}.json"
                if path.exists():
                    continue
                found = measure(options.collection, arm, draw, options.data_dir)
                write_json(path, found)
                print(f"{path}: precision@100 {found['precision_at_100']:.4f}, "
                      f"mAP {found['map']:.4f}", flush=True)  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(processes.guarded(main))

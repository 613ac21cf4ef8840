"""Evaluates a trained workdir, or a baseline on the same split."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dsh_jax import hamming
from dsh_jax.errors import UserError
from dsh_jax.files import replacing
from dsh_jax.retrieval.baselines import fit_itq, fit_lsh
from dsh_jax.retrieval.encode import encode
from dsh_jax.retrieval.metrics import evaluate
from dsh_jax.training import parallel
from dsh_jax.training.checkpoint import Checkpoints
from dsh_jax.training.setup import Experiment, prepare
from dsh_jax.training.workdir import load_config, read_json, write_json

BASELINES: dict[str, Callable[..., Callable[[np.ndarray], np.ndarray]]] = {
    "itq": fit_itq,
    "lsh": fit_lsh,
}
CUTS = (100, 1000, 5000)


def evaluate_workdir(
    workdir: Path, *, data_dir: str, checkpoint: str, baseline: str
) -> dict[str, Any]:
    """Encodes queries and database, measures, and writes `eval.json` and `codes.npz`.

    Args:
      workdir: of a training with `train.py`.
      data_dir: where the data lies now; empty is where it lay when training began.
      checkpoint: "best" (by validation mAP) or "latest".
      baseline: empty for the trained codes; or "itq" or "lsh" on the raw pixels of the same split,
        written as `eval_itq.json`, `codes_itq.npz` and so on.

    Returns:
      What was written to `eval.json`.

    Raises:
      UserError: the workdir or its data is missing, damaged, or does not fit.
    """
    config = load_config(workdir)
    if not (workdir / "split.json").exists():
        raise UserError(f"{workdir} holds no split.json; run train.py --workdir {workdir} first.")
    if data_dir:
        config.data.data_dir = data_dir
    try:
        experiment = prepare(config, workdir, training=False)
    except (AttributeError, KeyError) as error:
        raise UserError(
            f"{workdir}/config.json lacks a field that this version needs "
            f"({' '.join(str(error).split())}); evaluate with the version that trained it."
        ) from error
    if baseline:
        query, database, about = _baseline_codes(experiment, baseline)
    else:
        query, database, about = _trained_codes(experiment, workdir, checkpoint)
    dataset, split = experiment.dataset, experiment.split
    metrics = evaluate(
        query, dataset.labels[split.query], database, dataset.labels[split.database],
        num_bits=config.num_bits, cuts=CUTS,
    )
    result = {
        "method": baseline or config.method,
        "dataset": dataset.name,
        "dataset_version": dataset.version,
        "protocol": split.protocol,
        "split_checksum": split.checksum,
        "seed": config.seed,
        "num_labeled": len(split.labeled),
        "num_unlabeled": len(split.unlabeled),
        **about,
        **metrics,
    }
    suffix = f"_{baseline}" if baseline else ""
    _write_npz(
        workdir / f"codes{suffix}.npz",
        num_bits=np.asarray(config.num_bits),
        query_codes=query, query_ids=split.query, query_labels=dataset.labels[split.query],
        database_codes=database, database_ids=split.database,
        database_labels=dataset.labels[split.database],
    )
    write_json(workdir / f"eval{suffix}.json", result)
    return result


def _trained_codes(
    experiment: Experiment, workdir: Path, which: str
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    config, devices = experiment.config, experiment.devices
    directory = workdir / "checkpoints"
    missing = f"{workdir} holds no checkpoint yet; train first: train.py --workdir {workdir}."
    if not directory.exists():
        raise UserError(missing)
    checkpoints = Checkpoints(directory, keep=config.keep_checkpoints, read_only=True)
    step = checkpoints.best() if which == "best" else checkpoints.latest()
    if step is None:
        raise UserError(missing)
    like = jax.eval_shape(experiment.method.init, jax.random.key(config.seed))
    state, seconds = checkpoints.restore(step, like)
    checkpoints.close()
    stacked = parallel.replicate(state, devices)
    compiled = parallel.compile_encode(experiment.method.encode, devices)

    def codes(ids: np.ndarray) -> np.ndarray:
        return encode(
            compiled, stacked, experiment.dataset.images, ids,
            batch_size=config.encode_batch_size, devices=devices,
        )

    about = {
        "codes": config.triplets,
        "checkpoint": which,
        "step": step,
        "train_seconds": seconds,
        "run": read_json(workdir / "run.json"),
    }
    return codes(experiment.split.query), codes(experiment.split.database), about


def _baseline_codes(
    experiment: Experiment, name: str
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    images = experiment.dataset.images
    features = images.reshape(len(images), -1).astype(np.float32) / 255.0
    config, split = experiment.config, experiment.split
    # Fitted on all that training may see: no labels are needed.
    seen = np.union1d(split.labeled, split.unlabeled)
    encoder = BASELINES[name](features[seen], num_bits=config.num_bits, seed=config.seed)
    query, database = (hamming.pack(encoder(features[i])) for i in (split.query, split.database))
    return query, database, {"codes": name, "run": {}}


def _write_npz(path: Path, **arrays: np.ndarray) -> None:
    with replacing(path) as beside, beside.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)

"""Evaluates a trained workdir, or a baseline on the same split."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dsh_jax import hamming
from dsh_jax.data.documents.dataset import TextDataset
from dsh_jax.data.loading import IMAGE_FILES
from dsh_jax.devices import compile_encode, replicate
from dsh_jax.errors import UserError
from dsh_jax.files import replacing
from dsh_jax.methods.base import State
from dsh_jax.methods.shttm import topic_model
from dsh_jax.report.page import write_report
from dsh_jax.retrieval.baselines import fit_itq, fit_lsh, label_codes, median_codes
from dsh_jax.retrieval.conventions import Conventions
from dsh_jax.retrieval.counts import distance_counts
from dsh_jax.retrieval.encode import encode, packed_bits
from dsh_jax.retrieval.metrics import metrics_of
from dsh_jax.training.checkpoint import Checkpoints
from dsh_jax.training.experiment import Experiment, prepare
from dsh_jax.training.workdir import load_config, read_json, write_json

UNSUPERVISED: dict[str, Callable[..., Callable[[np.ndarray], np.ndarray]]] = {
    "itq": fit_itq,
    "lsh": fit_lsh,
}
TOPICS: dict[str, Callable[..., Callable[[np.ndarray], np.ndarray]]] = {
    "topics": median_codes,
    "topics_itq": fit_itq,
}
BASELINES = (*UNSUPERVISED, *TOPICS, "classifier")


def evaluate_workdir(
    workdir: Path,
    *,
    data_dir: str = "",
    checkpoint: str = "best",
    baseline: str = "",
    conventions: str | Conventions = "expected",
    report: bool = False,
) -> tuple[dict[str, Any], Experiment]:
    """Encodes queries and database, measures, and writes `eval.json` and `codes.npz`.

    Args:
      workdir: written by `train.py`.
      data_dir: where the data is now; empty for where it was in training.
      checkpoint: "best" (by validation mAP) or "latest".
      baseline: empty for the trained codes; "itq" or "lsh" on the raw pixels, or the tf-idf, of the
        same split; "topics", LDA's topics of documents thresholded at their medians, or
        "topics_itq"; or "classifier", the label that the checkpoint's classification stream
        predicts as a code. The files are then `eval_itq.json`, `codes_itq.npz` and so on.
      conventions: of measuring, as for `retrieval.evaluate`.
      report: also write a page with pictures, `report/` (`report_itq/` and so on).

    Returns:
      What was written to `eval.json`, and the experiment that was evaluated.

    Raises:
      UserError: the workdir or its data is missing, damaged, or does not match the config.
    """
    experiment = load_experiment(workdir, data_dir)
    config, dataset, split = experiment.config, experiment.dataset, experiment.split
    if baseline in UNSUPERVISED or baseline in TOPICS:
        query, database, about = _unsupervised_codes(experiment, baseline)
    else:
        query, database, about = _trained_codes(experiment, workdir, checkpoint, baseline)
    measured = (query, dataset.labels[split.query], database, dataset.labels[split.database])
    counts = distance_counts(
        *measured, num_bits=config.num_bits, devices=experiment.devices
    )
    metrics = metrics_of(counts, *measured, num_bits=config.num_bits, conventions=conventions)
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
    arrays = {
        "num_bits": np.asarray(config.num_bits),
        "query_codes": query,
        "query_ids": split.query,
        "query_labels": dataset.labels[split.query],
        "database_codes": database,
        "database_ids": split.database,
        "database_labels": dataset.labels[split.database],
    }
    if isinstance(dataset, TextDataset):
        arrays |= {
            "query_has_words": dataset.has_words[split.query],
            "database_has_words": dataset.has_words[split.database],
        }
        result["queries_without_words"] = int((~arrays["query_has_words"]).sum())
        result["database_without_words"] = int((~arrays["database_has_words"]).sum())
    with replacing(codes_path(workdir, baseline)) as beside, beside.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
    write_json(result_path(workdir, baseline), result)
    if report:
        samples = sorted((workdir / "samples").glob("*.png"))
        write_report(
            report_path(workdir, baseline).parent, result=result, codes=arrays, counts=counts,
            dataset=dataset, samples=samples[-1] if samples and not baseline else None,
        )  # fmt: skip
    return result, experiment


def result_path(workdir: Path, baseline: str = "") -> Path:
    """Path of the result of an evaluation."""
    return workdir / (f"eval_{baseline}.json" if baseline else "eval.json")


def codes_path(workdir: Path, baseline: str = "") -> Path:
    """Path of the codes of an evaluation."""
    return workdir / (f"codes_{baseline}.npz" if baseline else "codes.npz")


def report_path(workdir: Path, baseline: str = "") -> Path:
    """Path of the report of an evaluation; its pictures are in the same folder."""
    return workdir / (f"report_{baseline}" if baseline else "report") / "report.html"


def load_experiment(workdir: Path, data_dir: str) -> Experiment:
    """The experiment that a workdir was trained with, its split checked.

    Raises:
      UserError: the workdir or its data is missing, damaged, or does not match the config.
    """
    config = load_config(workdir)
    if not (workdir / "split.json").exists():
        raise UserError(f"{workdir} holds no split.json; run train.py --workdir {workdir} first.")
    if data_dir:
        config.data["root" if config.data.source in IMAGE_FILES else "data_dir"] = data_dir
    try:
        return prepare(config, workdir, training=False)
    except (AttributeError, KeyError) as error:
        raise UserError(
            f"{workdir}/config.json lacks a field that this version needs "
            f"({' '.join(str(error).split())}); evaluate with the version that trained it."
        ) from error


def _trained_codes(
    experiment: Experiment, workdir: Path, which: str, baseline: str
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    config, devices, split = experiment.config, experiment.devices, experiment.split
    classify = experiment.method.classify
    if baseline and classify is None:
        raise UserError(f"{config.method} has no classifier; leave out --baseline {baseline}.")
    state, step, seconds = _restore(experiment, workdir, which)
    stacked = replicate(state, devices)
    forward = classify if baseline and classify else experiment.method.encode
    compiled = compile_encode(forward, devices)

    def packed_labels(logits: np.ndarray) -> np.ndarray:
        single = config.loss.labels == "single"
        predicted = logits == logits.max(axis=1, keepdims=True) if single else logits > 0
        return hamming.pack(label_codes(predicted, num_bits=config.num_bits))

    def codes(ids: np.ndarray) -> np.ndarray:
        return encode(
            compiled, stacked, experiment.dataset, ids,
            batch_size=config.encode_batch_size, devices=devices,
            finish=packed_labels if baseline else packed_bits,
        )

    about = {
        "codes": baseline or experiment.method.codes,
        "checkpoint": which,
        "step": step,
        "train_seconds": seconds,
        "run": read_json(workdir / "run.json"),
    }
    return codes(split.query), codes(split.database), about


def _restore(experiment: Experiment, workdir: Path, which: str) -> tuple[State, int, float]:
    """(state, step, seconds trained) of the checkpoint asked for."""
    config, directory = experiment.config, workdir / "checkpoints"
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
    return state, step, seconds


def _unsupervised_codes(
    experiment: Experiment, name: str
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    config, dataset, split = experiment.config, experiment.dataset, experiment.split
    # Fitted on all that training may see: no labels are needed.
    seen = split.training
    features: Callable[[np.ndarray], Any] = dataset.features
    options = {"num_bits": config.num_bits, "seed": config.seed}
    if name in TOPICS:
        if not isinstance(dataset, TextDataset):
            raise UserError(f"{dataset.name} has no topics; leave out --baseline {name}.")
        features = topic_model(config, dataset, seen)
    if name == "topics":
        options = {}  # as many topics as bits, and nothing to draw
    encoder = (UNSUPERVISED | TOPICS)[name](features(seen), **options)
    query, database = (
        hamming.pack(encoder(features(ids))) for ids in (split.query, split.database)
    )
    return query, database, {"codes": name, "run": {}}

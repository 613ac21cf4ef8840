"""Evaluates a trained workdir, or a baseline on the same split."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from dsh_jax import fields, hamming
from dsh_jax.data.dataset import Dataset
from dsh_jax.data.documents.dataset import TextDataset
from dsh_jax.data.loading import IMAGE_FILES
from dsh_jax.data.splits.split import Split
from dsh_jax.devices import pick_devices
from dsh_jax.encoder import Encoder
from dsh_jax.encoder_workdir import load as load_encoder
from dsh_jax.errors import UserError, as_user_error
from dsh_jax.files import read_json, refuse_links_out, replacing, write_json
from dsh_jax.forward import packed_bits
from dsh_jax.methods.word_players import topic_model
from dsh_jax.report.page import write_report
from dsh_jax.retrieval.baselines import fit_itq, fit_lsh, label_codes, median_codes
from dsh_jax.retrieval.conventions import Conventions
from dsh_jax.retrieval.counts import distance_counts
from dsh_jax.retrieval.health import code_health
from dsh_jax.retrieval.metrics import metrics_of
from dsh_jax.training.experiment import check_data_fields, load_data
from dsh_jax.training.workdir import load_config

UNSUPERVISED: dict[str, Callable[..., Callable[[np.ndarray], np.ndarray]]] = {
    "itq": fit_itq,
    "lsh": fit_lsh,
}
TOPICS: dict[str, Callable[..., Callable[[np.ndarray], np.ndarray]]] = {
    "topics": median_codes,
    "topics_itq": fit_itq,
}
BASELINES = (*UNSUPERVISED, *TOPICS, "classifier")
_IMAGE_CACHE, _TOPIC_CACHE = "~/.cache/dsh_jax/images", "~/.cache/dsh_jax/topics"


def evaluate_workdir(
    workdir: Path,
    *,
    data_dir: str = "",
    checkpoint: str = "best",
    baseline: str = "",
    conventions: str | Conventions = "expected",
    report: bool = False,
) -> dict[str, Any]:
    """Encodes queries and database, computes metrics, and writes `eval.json` and `codes.npz`.

    Args:
      workdir: written by `train.py`.
      data_dir: where the data is now; empty if it has not moved since training.
      checkpoint: "best" (by validation mAP) or "latest".
      baseline: empty for the trained codes; "itq" or "lsh" on the raw pixels or the tf-idf of the
        same split; "topics", LDA topics of documents thresholded at their medians, or
        "topics_itq"; or "classifier", the predicted label of the checkpoint's classification
        stream as a code. The files are then `eval_itq.json`, `codes_itq.npz` and so on.
      conventions: of the metrics, as for `retrieval.evaluate`.
      report: also write a page with pictures, `report/` (`report_itq/` and so on).

    Returns:
      The content of `eval.json`; `warnings` in it says what is wrong with the codes.

    Raises:
      UserError: the workdir or its data is missing, damaged, or does not match the config; or the
        workdir has links that lead out of it.
    """
    refuse_links_out(workdir)
    config = load_config_of(workdir, data_dir)
    # As many devices as in training, if this machine has them.
    num_devices = min(config.num_devices, jax.local_device_count())
    trained = baseline in ("", "classifier")
    if trained:  # before the data is read, which may take long
        encoder, record = load_encoder(workdir, checkpoint, num_devices)
        _check_network(workdir, config, encoder)
    dataset, split = load_data(config, workdir)
    if trained:
        query, database = _trained_codes(encoder, dataset, split, baseline)
        about = {
            "codes": baseline or encoder.codes,
            "checkpoint": checkpoint,
            "step": record.step,
            "train_seconds": record.seconds,
            "run": read_json(workdir / "run.json"),
        }
    else:
        query, database, about = _unsupervised_codes(config, dataset, split, baseline)
    measured = (query, dataset.labels[split.query], database, dataset.labels[split.database])
    counts = distance_counts(
        *measured, num_bits=config.num_bits, devices=pick_devices(num_devices, {})
    )
    metrics = metrics_of(counts, *measured, num_bits=config.num_bits, conventions=conventions)
    result = {
        "method": baseline or config.method,
        "dataset": dataset.name,
        "dataset_version": dataset.version,
        "protocol": split.protocol,
        "split_checksum": split.checksum,
        "query_checksum": split.query_checksum,
        "seed": config.seed,
        "split_seed": split.seed,
        "num_labeled": len(split.labeled),
        "num_validation": len(split.validation),  # their labels choose the checkpoint
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
    result["warnings"] = _warnings(result, query, baseline)
    write_json(result_path(workdir, baseline), result)
    if report:
        samples = sorted(p for p in (workdir / "samples").glob("*.png") if p.is_file())
        write_report(
            report_path(workdir, baseline).parent, result=result, codes=arrays, counts=counts,
            dataset=dataset, samples=samples[-1] if samples and not baseline else None,
        )  # fmt: skip
    return result


def _warnings(result: dict[str, Any], query: np.ndarray, baseline: str) -> list[str]:
    """What makes scores meaningless, or bits useless, in a sentence each."""
    warnings = []
    healths = {"query": code_health(query, num_bits=result["num_bits"]),
               "database": result["code_health"]}  # fmt: skip
    for name, health in healths.items():
        constant, distinct = health["constant_bits"], health["distinct_codes"]
        if distinct == 1:
            warnings.append(f"all {name} codes are equal, so the scores say nothing.")
        elif constant and baseline != "classifier":  # whose bits stand for classes
            are = "is" if constant == 1 else "are"
            warnings.append(
                f"{constant} of {result['num_bits']} bits {are} the same in all {name} codes."
            )
    return warnings


def result_path(workdir: Path, baseline: str = "") -> Path:
    """Path of the result of an evaluation."""
    return workdir / (f"eval_{baseline}.json" if baseline else "eval.json")


def codes_path(workdir: Path, baseline: str = "") -> Path:
    """Path of the codes of an evaluation."""
    return workdir / (f"codes_{baseline}.npz" if baseline else "codes.npz")


def report_path(workdir: Path, baseline: str = "") -> Path:
    """Path of the report of an evaluation; its pictures are in the same folder."""
    return workdir / (f"report_{baseline}" if baseline else "report") / "report.html"


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
    if data_dir:
        config.data["root" if config.data.source in IMAGE_FILES else "data_dir"] = data_dir
    return config


def _leave_strange_caches(config: ConfigDict) -> None:
    """Keeps cache folders only if they are caches: nothing is written to any other folder."""

    def is_cache(folder: Any, default: str, files: str) -> bool:
        return folder == default or any(Path(str(folder)).expanduser().glob(files))

    images, topics = config.data.get("cache_dir"), config.get("topics")
    if images is not None and not is_cache(images, _IMAGE_CACHE, "*.array_record"):
        config.data.cache_dir = _IMAGE_CACHE
    if isinstance(topics, ConfigDict) and topics.get("cache"):
        if not is_cache(topics.cache, _TOPIC_CACHE, "*.npz"):
            topics.cache = ""  # fitted again


def _check_network(workdir: Path, config: ConfigDict, encoder: Encoder) -> None:
    """Refuses a config that was changed after training."""
    for field, value in encoder.network_fields.items():
        found = fields.get(config, field)
        if found != value:
            raise UserError(
                f"{workdir}/config.json has {field} {found!r}, but signature.json has {value!r}; "
                "restore the file that was changed."
            )


def _trained_codes(
    encoder: Encoder, dataset: Dataset, split: Split, baseline: str
) -> tuple[np.ndarray, np.ndarray]:
    """The encoder's codes of queries and database, or its classifier's labels as codes."""
    single = encoder.signature.labels == "single"

    def packed_labels(logits: np.ndarray) -> np.ndarray:
        predicted = logits == logits.max(axis=1, keepdims=True) if single else logits > 0
        with as_user_error():  # too few bits for the classes
            return hamming.pack(label_codes(predicted, num_bits=encoder.num_bits))

    if baseline and not encoder.has_classifier:
        raise UserError(f"{encoder.method} has no classifier; leave out --baseline {baseline}.")
    query, database = (
        encoder.classify_dataset(dataset, ids, finish=packed_labels)
        if baseline
        else encoder.encode_dataset(dataset, ids, finish=packed_bits)
        for ids in (split.query, split.database)
    )
    return query, database


def _unsupervised_codes(
    config: ConfigDict, dataset: Dataset, split: Split, name: str
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    # Fitted to all training items: no labels are needed.
    seen = split.training
    features: Callable[[np.ndarray], Any] = dataset.features
    options = {"num_bits": config.num_bits, "seed": config.seed}
    if name in TOPICS:
        if not isinstance(dataset, TextDataset):
            raise UserError(f"{dataset.name} has no topics; leave out --baseline {name}.")
        features = topic_model(config, dataset, seen)
    if name == "topics":
        options = {}  # as many topics as bits, and nothing random
    with as_user_error():
        encoder = (UNSUPERVISED | TOPICS)[name](features(seen), **options)
        query, database = (
            hamming.pack(encoder(features(ids))) for ids in (split.query, split.database)
        )
    return query, database, {"codes": name, "run": {}}

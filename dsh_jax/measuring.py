"""Measures codes, or floats, of a split, and writes what was found."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from dsh_jax import hamming, hosts
from dsh_jax import metrics as own_metrics
from dsh_jax.baselines import CLASSIFIERS
from dsh_jax.codes_of_items import Codes, as_arrays
from dsh_jax.data.dataset import Dataset
from dsh_jax.data.documents.dataset import WordDataset
from dsh_jax.data.signature import VectorInputs
from dsh_jax.data.splits.split import Split
from dsh_jax.devices import pick_devices
from dsh_jax.errors import UserError, as_user_error
from dsh_jax.files import replacing, write_json
from dsh_jax.metrics import Metric
from dsh_jax.retrieval.conventions import Conventions
from dsh_jax.retrieval.cosine import evaluate_cosine
from dsh_jax.retrieval.counts import QUERY_BLOCK, distance_counts, levels_of
from dsh_jax.retrieval.health import code_health, problems
from dsh_jax.retrieval.metrics import metrics_of


def measure(
    config: ConfigDict,
    dataset: Dataset,
    split: Split,
    codes: Codes,
    about: Mapping[str, Any],
    counts: np.ndarray | None = None,
    *,
    num_bits: int,
    baseline: str,
    conventions: str | Conventions,
    folder: Path | None,
    report: bool,
    metrics: Mapping[str, Metric],
    image_format: str = "png",
    left_out: Sequence[str] = (),
) -> dict[str, Any]:
    """Computes the metrics of codes, and writes `eval.json` and `codes.npz`.

    Args:
      config: of the experiment.
      dataset: all items.
      split: the role of each item.
      codes: of all items.
      about: more of the result; where it is also in the config, this is what counts.
      counts: of items by distance, if they have been made already.
      num_bits: of the codes.
      baseline, conventions, report, image_format: as for `evaluate_workdir`.
      folder: where to write; None to write nothing.
      metrics: of the user's own, by name.
      left_out: a warning about each other one.

    Returns:
      The content of `eval.json`.

    Raises:
      UserError: the conventions leave out every query.
    """
    query, database = codes.query, codes.database
    measured = (query, dataset.labels[split.query], database, dataset.labels[split.database])
    if counts is None:
        counts = counts_of(config, dataset, split, codes, num_bits)
    with as_user_error():  # conventions that leave out every query
        found = metrics_of(counts, *measured, num_bits=num_bits, conventions=conventions)
    bits, query_labels = hamming.unpack(query, num_bits), dataset.labels[split.query]
    values, problems = own_metrics.measure(metrics, bits, query_labels)
    result = {
        **_described(config, dataset, split, baseline),
        **about,
        **found,
        **({"metrics": values} if metrics else {}),
    }
    arrays = as_arrays(dataset, split, codes, num_bits)
    if isinstance(dataset, WordDataset):
        result["queries_without_words"] = int((~arrays["query_has_words"]).sum())
        result["database_without_words"] = int((~arrays["database_has_words"]).sum())
    result["warnings"] = [*_warnings(result, query, baseline), *left_out, *problems.values()]
    if folder is None:
        return result
    with replacing(codes_path(folder, baseline)) as beside, beside.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
    write_json(result_path(folder, baseline), result)
    if report:
        from dsh_jax.report.page import write_report  # slow to import

        samples = sorted(p for p in (folder / "samples").glob("*.png") if p.is_file())
        log = folder / "metrics.jsonl"
        write_report(
            report_path(folder, baseline).parent, result=result, codes=arrays, counts=counts,
            dataset=dataset, samples=samples[-1] if samples and not baseline else None,
            metrics=log if log.is_file() and not baseline else None,
            image_format=image_format,
        )  # fmt: skip
    return result


def counts_of(
    config: ConfigDict, dataset: Dataset, split: Split, codes: Codes, num_bits: int
) -> np.ndarray:
    """`counts.distance_counts` of the split's queries, of which each process takes a part."""
    query_labels = dataset.labels[split.query]
    devices = pick_devices(min(config.num_devices, jax.local_device_count()), {})
    levels = levels_of(query_labels)  # of all queries: those of a part may have fewer labels each

    def count(rows: np.ndarray) -> np.ndarray:
        return distance_counts(
            codes.query[rows], query_labels[rows], codes.database, dataset.labels[split.database],
            num_bits=num_bits, devices=devices, levels=levels,
        )  # fmt: skip

    return hosts.shared_out(count, np.arange(len(codes.query)), unit=QUERY_BLOCK)


def measure_floats(
    config: ConfigDict,
    dataset: Dataset,
    split: Split,
    baseline: str,
    conventions: str | Conventions,
    folder: Path,
) -> dict[str, Any]:
    """Ranks by the features themselves, which codes of few bits stand for, and writes the result.

    Args:
      config, dataset, split, conventions, folder: as for `measure`.
      baseline: "cosine".

    Returns:
      The content of `eval_cosine.json`: of ranked metrics alone; `num_bits` is that of the floats.

    Raises:
      UserError: the features are sparse, or the conventions leave out every query.
    """
    if isinstance(dataset, WordDataset):
        raise UserError(f"{dataset.name} has sparse features; leave out --baseline {baseline}.")
    with as_user_error():
        found = evaluate_cosine(
            dataset.features(split.query), dataset.labels[split.query],
            lambda rows: dataset.features(split.database[rows]), dataset.labels[split.database],
            conventions=conventions,
        )  # fmt: skip
    width = dataset.features(split.query[:1]).shape[1]
    result = {
        **_described(config, dataset, split, baseline),
        **{"codes": baseline, "run": {}, "num_bits": 32 * width, "warnings": []},
        **found,
    }
    write_json(result_path(folder, baseline), result)
    return result


def _described(
    config: ConfigDict, dataset: Dataset, split: Split, baseline: str
) -> dict[str, Any]:
    """What a result says of the data that it is measured on."""
    kind = dataset.inputs.kind
    return {
        "method": baseline or config.method,
        "dataset": split.dataset,
        "dataset_version": dataset.version,
        **({"kind": kind} if kind == VectorInputs.kind else {}),
        "protocol": split.protocol,
        "split_checksum": split.checksum,
        **({"unseen_classes": list(split.unseen)} if split.unseen else {}),
        "query_checksum": split.query_checksum,
        "seed": config.seed,
        "split_seed": split.seed,
        "num_labeled": len(split.labeled),
        "num_validation": len(split.validation),  # their labels choose the checkpoint
        "num_unlabeled": len(split.unlabeled),
        "num_items": len(dataset.present),  # with a code, measured or not
        **({"changes": list(dataset.changes)} if dataset.changes else {}),
    }


def _warnings(result: dict[str, Any], query: np.ndarray, baseline: str) -> list[str]:
    """What makes scores meaningless, or bits useless, in a sentence each."""
    warnings = []
    if "trained_on_this_split" in result and not result["trained_on_this_split"]:
        warnings.append(
            "the encoder does not say which split it was trained on; if it has seen the queries, "
            "the scores are too high."
        )
    healths = {"query": code_health(query, num_bits=result["num_bits"]),
               "database": result["code_health"]}  # fmt: skip
    for name, health in healths.items():
        # The bits of a classifier stand for classes.
        warnings += problems(health, f"{name} codes", may_be_constant=baseline in CLASSIFIERS)
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

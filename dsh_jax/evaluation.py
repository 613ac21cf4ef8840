"""Evaluates a trained workdir, or a baseline on the same split."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from dsh_jax import database_codes, hamming, hosts
from dsh_jax import metrics as own_metrics
from dsh_jax.baselines import CLASSIFIERS, FEATURES, FLOATS, OF_NETWORK, TOPICS
from dsh_jax.codes_of_items import Codes, as_arrays, encode_all, with_known
from dsh_jax.data.dataset import Dataset
from dsh_jax.data.documents.dataset import WordDataset
from dsh_jax.data.signature import VectorInputs
from dsh_jax.data.splits.split import Split
from dsh_jax.data.splits.unseen import of_seen_classes
from dsh_jax.devices import pick_devices
from dsh_jax.encoder import Encoder
from dsh_jax.encoder_workdir import load as load_encoder
from dsh_jax.errors import UserError, as_user_error
from dsh_jax.evaluation_config import (
    check_network,
    check_place,
    keeps_learned_codes,
    load_config_of,
)
from dsh_jax.files import read_json, refuse_links_out, replacing, write_json
from dsh_jax.forward import packed_bits
from dsh_jax.judged_workdir import judging_of
from dsh_jax.methods.word_players import topic_model
from dsh_jax.metrics import Metric
from dsh_jax.retrieval.baselines import (
    fit_itq,
    fit_lsh,
    fit_pca,
    itq_projection,
    label_codes,
    median_codes,
)
from dsh_jax.retrieval.conventions import Conventions
from dsh_jax.retrieval.cosine import evaluate_cosine
from dsh_jax.retrieval.counts import QUERY_BLOCK, distance_counts
from dsh_jax.retrieval.graded import fit_graded
from dsh_jax.retrieval.health import code_health, problems
from dsh_jax.retrieval.metrics import metrics_of
from dsh_jax.training.experiment import load_data
from dsh_jax.training.features import with_known_features

MOST_FITTED = 200_000  # items that a baseline is fitted to
BLOCK = 2**16  # items whose features are in memory at a time

FITS: dict[str, Callable[..., Callable[[np.ndarray], np.ndarray]]] = {
    "itq": fit_itq,
    "lsh": fit_lsh,
    "pca": fit_pca,
    "topics": median_codes,
    "topics_itq": fit_itq,
}


def evaluate_workdir(
    workdir: Path,
    *,
    data_dir: str = "",
    checkpoint: str = "best",
    baseline: str = "",
    conventions: str | Conventions = "expected",
    report: bool = False,
    image_format: str = "png",
    judge: str | None = None,
    metrics: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Encodes all items, computes metrics, and writes `eval.json` and `codes.npz`.

    Every item that is there gets a code; metrics are of the split's queries and database. Several
    processes (`joining.joined`) share encoding and the counting of distances; process 0 does
    the rest.

    Args:
      workdir: written by `train.py`.
      data_dir: where the data is now; empty if it has not moved since training.
      checkpoint: "best" (by validation mAP) or "latest".
      baseline: empty for the trained codes; "itq", "pca" or "lsh" on the raw pixels, the vectors or
        the tf-idf of the same split; "cosine", the pixels or vectors themselves; "topics", LDA
        topics of documents thresholded at their medians, or "topics_itq"; "classifier",
        the predicted label of the checkpoint's classification stream as a code; or "graded", its
        calibrated probabilities (`retrieval.graded`); or "features_itq", ITQ of the features that
        the checkpoint's network has. The files are then `eval_itq.json`, `codes_itq.npz` and so on.
      conventions: of the metrics, as for `retrieval.evaluate`.
      report: also write a page with pictures, `report/` (`report_itq/` and so on).
      image_format: of the pictures' files, "png", "pdf" or "svg".
      judge: encoder file or workdir that judges synthetic images; None for the config's, empty for
        none. Only the trained codes' result has what it says.
      metrics: of your own, each as "module:function" (see `dsh_jax.metrics`); None for the
        config's, of which those that cannot be imported are left out with a warning.

    Returns:
      The content of `eval.json`; `warnings` in it says what is wrong with the codes. Nothing in
      processes other than process 0.

    Raises:
      UserError: the workdir or its data is missing, damaged, or does not match the config; or the
        workdir has links that lead out of it.
    """
    refuse_links_out(workdir)
    config = load_config_of(workdir, data_dir)
    check_place(workdir, config, data_dir)
    if metrics is None:
        own, left_out = own_metrics.of_workdir(config.get("metrics"), workdir)
    else:
        own, left_out = own_metrics.find(metrics, "--metrics"), []
    # As many devices as in training, if this machine has them.
    num_devices = min(config.num_devices, jax.local_device_count())
    trained = baseline in ("", *OF_NETWORK)
    if hosts.count() > 1 and not trained:
        raise UserError(f"--baseline {baseline} is for one process; leave out --distributed.")
    if trained:  # before the data is read, which may take long
        encoder, record = load_encoder(workdir, checkpoint, num_devices)
        check_network(workdir, config, encoder)
        check_network_has(encoder, baseline)
        learned = None if baseline else keeps_learned_codes(config)
        known = None
        if learned:
            known = database_codes.load(workdir, encoder.fingerprint, encoder.num_bits)
        judging = None if baseline else judging_of(workdir, config, encoder, checkpoint, judge)
    elif judge:
        raise UserError(f"--baseline {baseline} has no synthetic images; leave out --judge.")
    if baseline in FLOATS and (report or metrics):
        raise UserError(f"--baseline {baseline} has no codes; leave out --report and --metrics.")
    dataset, split = load_data(config, workdir)
    if baseline in FLOATS:
        return measure_floats(config, dataset, split, baseline, conventions, workdir)
    if trained:
        items = with_known_features(config, dataset, encoder.variables)
        if baseline in HEADS:
            encoder = HEADS[baseline](encoder, items, split)
            if hosts.is_first():
                encoder.save(workdir / f"encoder_{baseline}.safetensors")
        facts = {"split": split.checksum[:12], "encoder": encoder.fingerprint[:12]}
        hosts.agree(facts, "give all of them the same data and --workdir")
        codes = trained_codes(encoder, items, split, as_labels=baseline == "classifier")
        if known is not None:
            codes = with_known(dataset, split, codes, known)
        counts = counts_of(config, dataset, split, codes, config.num_bits)
        if not hosts.is_first():
            return {}
        about = {
            "codes": baseline or encoder.codes,
            **({} if learned is None else {"database_codes": "learned" if learned else "function"}),
            "checkpoint": checkpoint,
            "step": record.step,
            "train_seconds": record.seconds,
            "run": read_json(workdir / "run.json"),
        }
        if judging is not None:
            about |= judging(of_seen_classes(dataset, split.unseen), split)
    else:
        codes, about = _unsupervised_codes(config, dataset, split, baseline)
        counts = None
    return measure(
        config, dataset, split, codes, about, counts,
        num_bits=config.num_bits, baseline=baseline, conventions=conventions, folder=workdir,
        report=report, image_format=image_format, metrics=own, left_out=left_out,
    )  # fmt: skip


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
    levels = 2 if query_labels.ndim == 1 else 1 + int(query_labels.sum(axis=1).max())

    def count(rows: np.ndarray) -> np.ndarray:
        counts = distance_counts(
            codes.query[rows], query_labels[rows], codes.database, dataset.labels[split.database],
            num_bits=num_bits, devices=devices,
        )  # fmt: skip
        # These queries may have fewer labels each than all.
        return np.pad(counts, ((0, 0), (0, 0), (0, levels - counts.shape[2])))

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


def check_network_has(encoder: Encoder, baseline: str) -> None:
    """Refuses a baseline that needs a classifier, or a hash stream on features, without one."""
    lacks = ""
    if baseline in CLASSIFIERS and not encoder.has_classifier:
        lacks = "classifier"
    if baseline in FEATURES and not encoder.has_hash_stream:
        lacks = "hash stream on features of a network"
    if lacks:
        raise UserError(f"{encoder.method} has no {lacks}; leave out --baseline {baseline}.")


def graded_encoder(encoder: Encoder, dataset: Dataset, split: Split) -> Encoder:
    """The encoder with graded class codes, fitted to the validation items.

    Raises:
      UserError: the split has no validation items, or the codes have fewer bits than classes.
    """
    ids = split.validation
    logits = encoder.classify_dataset(dataset, ids, finish=np.asarray)
    labels = of_seen_classes(dataset, split.unseen).labels[ids]
    with as_user_error():
        return encoder.graded(fit_graded(logits, labels, num_bits=encoder.num_bits))


def features_itq_encoder(encoder: Encoder, dataset: Dataset, split: Split) -> Encoder:
    """The encoder with ITQ of its features, fitted to training items; it takes no labels.

    Raises:
      UserError: the network has fewer features than the codes have bits.
    """
    seen = _fitted_to(split)
    with as_user_error():
        features = encoder.represent_dataset(dataset, seen)
        fitted = itq_projection(features, num_bits=encoder.num_bits, seed=split.seed)
        mean, projection = hosts.from_first(fitted)
        return encoder.with_hash_layer(projection, -mean @ projection, "features_itq")


HEADS: dict[str, Callable[[Encoder, Dataset, Split], Encoder]] = {
    "graded": graded_encoder,
    "features_itq": features_itq_encoder,
}
"""Baseline -> an encoder with the same network and other codes."""


def trained_codes(encoder: Encoder, dataset: Dataset, split: Split, *, as_labels: bool) -> Codes:
    """The encoder's codes of all items, or its classifier's labels as codes.

    Several processes make a part each.
    """
    single = encoder.signature.labels == "single"

    def packed_labels(logits: np.ndarray) -> np.ndarray:
        predicted = logits == logits.max(axis=1, keepdims=True) if single else logits > 0
        with as_user_error():  # too few bits for the classes
            return hamming.pack(label_codes(predicted, num_bits=encoder.num_bits))

    def encode_part(ids: np.ndarray) -> np.ndarray:
        if as_labels:
            return encoder.classify_dataset(dataset, ids, finish=packed_labels)
        return encoder.encode_dataset(dataset, ids, finish=packed_bits)

    def encode(ids: np.ndarray) -> np.ndarray:
        return hosts.shared_out(encode_part, ids, unit=encoder.batch_size)

    return encode_all(dataset, split, encode)


def _fitted_to(split: Split) -> np.ndarray:
    """Ids of training items of any kind, for what needs no labels; of millions, some of them."""
    return split.training[:: -(-len(split.training) // MOST_FITTED)]


def _unsupervised_codes(
    config: ConfigDict, dataset: Dataset, split: Split, name: str
) -> tuple[Codes, dict[str, Any]]:
    seen = _fitted_to(split)
    features: Callable[[np.ndarray], Any] = dataset.features
    options = {"num_bits": config.num_bits, "seed": config.seed}
    if name in TOPICS:
        if not isinstance(dataset, WordDataset):
            raise UserError(f"{dataset.name} has no topics; leave out --baseline {name}.")
        features = topic_model(config, dataset, seen)
    if name == "topics":
        options = {}  # as many topics as bits, and nothing random
    with as_user_error():
        encoder = FITS[name](features(seen), **options)
        codes = encode_all(
            dataset, split, lambda ids: np.concatenate([
                hamming.pack(encoder(features(ids[first : first + BLOCK])))
                for first in range(0, len(ids), BLOCK)
            ])
        )  # fmt: skip
    return codes, {"codes": name, "run": {}}

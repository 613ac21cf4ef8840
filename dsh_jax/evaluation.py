"""Evaluates a trained workdir, or a baseline on the same split."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from dsh_jax import database_codes, hosts
from dsh_jax import metrics as own_metrics
from dsh_jax.baselines import FLOATS, OF_NETWORK
from dsh_jax.codes_of_items import with_known
from dsh_jax.data.splits.unseen import of_seen_classes
from dsh_jax.encoder_workdir import load as load_encoder
from dsh_jax.errors import UserError
from dsh_jax.evaluation_codes import (
    HEADS,
    check_network_has,
    trained_codes,
    unsupervised_codes,
)
from dsh_jax.evaluation_config import (
    check_network,
    check_place,
    keeps_learned_codes,
    load_config_of,
)
from dsh_jax.files import read_json, refuse_links_out
from dsh_jax.judged_workdir import judging_of
from dsh_jax.measuring import counts_of, measure, measure_floats
from dsh_jax.retrieval.conventions import Conventions
from dsh_jax.training.experiment import load_data
from dsh_jax.training.features import with_known_features


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
        codes, about = unsupervised_codes(config, dataset, split, baseline)
        counts = None
    return measure(
        config, dataset, split, codes, about, counts,
        num_bits=config.num_bits, baseline=baseline, conventions=conventions, folder=workdir,
        report=report, image_format=image_format, metrics=own, left_out=left_out,
    )  # fmt: skip

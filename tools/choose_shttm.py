"""Chooses SHTTM's weights on validation documents: `python -m tools.choose_shttm CORPUS DIR`.

For the published form (no rotation, medians of the codes) and for ours, tries all combinations and
writes them to `results/choice/shttm_CORPUS.json`, the best first. It never reads the queries.
"""

import argparse
import itertools
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

from configs import shttm as shttm_config
from dsh_jax.files import write_json
from dsh_jax.forward import packed_bits
from dsh_jax.methods import shttm
from dsh_jax.methods.shttm_codes import learn_codes
from dsh_jax.methods.shttm_hash import fit_hash_function
from dsh_jax.methods.word_players import topic_model
from dsh_jax.retrieval.counts import distance_counts, without_self
from dsh_jax.retrieval.ranking import average_precision, precision_at
from dsh_jax.training import workdir
from dsh_jax.training.experiment import Experiment, prepare

FORMS: dict[str, dict[str, Any]] = {
    "published": {"rotation": False, "fitted_to": "codes", "thresholds": "median"},
    "rotated": {"rotation": True, "fitted_to": "function", "thresholds": "mean"},
}
GRID = {
    "missing": (0.003, 0.01, 0.03, 0.1),
    "tag_ridge": (0.1, 1.0),
    "topic_weight": (1e-4, 1e-3, 1e-2),
    "hash_ridge": (1.0, 3.0),
}


def scores(experiment: Experiment, state: Any) -> dict[str, float]:
    """mAP and precision@100 of the validation documents among themselves."""
    dataset, ids = experiment.dataset, experiment.split.validation
    relaxed = jax.jit(experiment.method.encode)(state, dataset.take(ids))
    codes, labels = packed_bits(np.asarray(relaxed)), dataset.labels[ids]
    counts = distance_counts(codes, labels, codes, labels, num_bits=experiment.config.num_bits)
    counts = without_self(counts, labels)
    return {
        "validation_map": float(average_precision(counts).mean()),
        "validation_precision_at_100": float(precision_at(counts, 100).mean()),
    }


def choose(experiment: Experiment) -> dict[str, list[dict[str, Any]]]:
    """All settings of each form with their scores, the best mAP first."""
    config, dataset, split = experiment.config, experiment.dataset, experiment.split
    ids = split.training
    tags, features = dataset.multi_hot(ids), dataset.features(ids)
    topics = topic_model(config, dataset, ids)(ids)
    tried: dict[str, list[dict[str, Any]]] = {form: [] for form in FORMS}
    for values in tqdm(list(itertools.product(*GRID.values()))):
        chosen = dict(zip(GRID, values, strict=True))
        settings = ConfigDict(config.codes.to_dict() | chosen)
        learned = learn_codes(tags, topics, **shttm.code_options(settings))
        kernel = fit_hash_function(features, learned.codes, ridge=settings.hash_ridge)
        for form, fields in FORMS.items():
            settings.update(fields)
            rotation, threshold = shttm.binarisation(
                settings, learned.codes, kernel, features, seed=config.seed
            )
            state = shttm.state_of(kernel @ rotation, threshold, 0)
            tried[form].append(chosen | scores(experiment, state))
    return {form: sorted(rows, key=lambda r: -r["validation_map"]) for form, rows in tried.items()}


def main() -> None:
    """Reads the flags and writes the file."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("corpus", choices=["reuters21578", "20newsgroups"])
    parser.add_argument("data_dir")
    parser.add_argument("--bits", type=int, default=32)
    options = parser.parse_args()
    config = shttm_config.get_config(options.corpus, options.bits)
    config.data.data_dir = options.data_dir
    if options.corpus == "20newsgroups":
        config.data.query_share = 0.1
    experiment = prepare(config, Path("."))
    tried = choose(experiment)
    path = Path(f"results/choice/shttm_{options.corpus}.json")
    path.parent.mkdir(exist_ok=True)
    write_json(
        path,
        {
            "split_checksum": experiment.split.checksum,
            "num_bits": options.bits,
            "tried": tried,
            "run": workdir.describe_run(workdir.command_line(), []),
        },
    )
    print(json.dumps({form: rows[:3] for form, rows in tried.items()}, indent=1))


if __name__ == "__main__":
    main()

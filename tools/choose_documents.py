"""Tunes the arms of `configs/documents_arms.py` on validation documents; reads no query.

    python -m tools.choose_documents reuters DIR
    python -m tools.choose_documents newsgroups DIR --arms linear,joint_topics

For each arm a pattern search (`tools/pattern_search.py`) over its own fields, learning rate and
steps first, by precision@100 of validation documents among training documents, in the mean over the
draws. An arm starts from what was chosen for the arm that it adds to. The result is
`results/choice/documents_COLLECTION.json`, with every setting that was tried; it is written after
each of them, and the same command goes on from there.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dsh_jax import compilation_cache, fields
from dsh_jax.errors import UserError
from dsh_jax.files import read_json, write_json
from dsh_jax.training import workdir
from tools import processes
from tools.pattern_search import Axis, Decades, Doubled, Ladder, search

SCORE = "precision_at_100"
LEAST_GAIN = 5e-4  # far below the standard error over the validation documents
LEAST_GAIN_OF_TRAINED = 2e-3  # the same of what is trained by steps, whose score is noisier

_CODES: dict[str, Axis] = {
    "codes.hash_ridge": Decades(), "codes.topic_weight": Decades(), "codes.tag_ridge": Decades(),
}  # fmt: skip
_FIXED = {"codes.missing": Decades(), **_CODES}
_EXPOSED = {"exposure.precision": Decades(), "exposure.alpha": Decades((1,), 1.0), **_CODES}
_CORRELATION: dict[str, Axis] = {
    "correlation.weight": Ladder((0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)),
    "correlation.smoothing": Decades(),
}
_TRAINING: dict[str, Axis] = {
    "optimizer.network.learning_rate": Decades((1, 2, 5)),
    "num_steps": Ladder((100, 200, 400)),  # more would take too long; all arms are cut alike
}  # fmt: skip
_NEURAL: dict[str, Axis] = {
    **_TRAINING, "loss.missing": Ladder((0.01, 0.03, 0.1, 0.3, 0.5, 0.7, 0.9)),
    "encoder.word_dropout": Ladder((0.0, 0.1, 0.3, 0.5, 0.7, 0.8)),
}  # fmt: skip
_ENCODER: dict[str, Axis] = {"encoder.dropout": Ladder((0.0, 0.2, 0.5, 0.7, 0.8))}
_RECALL: dict[str, Axis] = {
    "exposure.alpha": Decades((1,), 1.0), "exposure.beta": Decades((1,), 1.0),
}  # fmt: skip
_BOUND: dict[str, Axis] = {
    "loss.word_weight": Decades(), "loss.kl_weight": Ladder((0.0, 1e-3, 3e-3, 1e-2, 3e-2, 0.1)),
}  # fmt: skip
_VARIATIONAL: dict[str, Axis] = {**_TRAINING, "loss.kl_weight": Decades()}
_SUPERVISED: dict[str, Axis] = {**_TRAINING, "loss.tag_weight": Decades(),
                                "loss.kl_weight": Decades()}  # fmt: skip
AXES: Mapping[str, Mapping[str, Axis]] = {
    "published": _FIXED, "published_learned": _FIXED, "mean_thresholds": _FIXED, "rotation": _FIXED,
    "fitted_to_function": _FIXED, "rotated": _FIXED, "rotated_learned": _FIXED,
    "exposure": _EXPOSED,
    "correlated_tags": {**_CORRELATION, **_FIXED},
    "exposure_correlated": {**_EXPOSED, **_CORRELATION},
    "linear": {**_NEURAL, "loss.topic_weight": Decades()},
    "nonlinear_encoder": {**_TRAINING, **_ENCODER},
    "nonlinear_decoder": {**_TRAINING, "decoder.hidden": Doubled()},
    "binary_codes": {**_TRAINING, "encoder.sharpness": Doubled()},
    "learned_uncertainty": {**_TRAINING, **_RECALL},
    "joint_topics": {**_TRAINING, **_BOUND},
    "neural_correlated_tags": {**_TRAINING, **_CORRELATION},
    "nonlinear": _NEURAL,
    **dict.fromkeys(("all", "all_linear_decoder"), {**_NEURAL, "loss.word_weight": Decades()}),
    "vdsh_supervised": _SUPERVISED, "nash_supervised": _SUPERVISED,
    "vdsh": _VARIATIONAL, "nash": _VARIATIONAL,
}  # fmt: skip
"""Arm -> the fields that are tuned, in this order. The others stay as they are in its base."""
_THREE = ("nonlinear_encoder", "nonlinear_decoder", "binary_codes")
BASES: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("published_learned", "mean_thresholds", "rotation", "fitted_to_function"),
                    ("published",)),
    **dict.fromkeys(("rotated_learned", "exposure", "correlated_tags"), ("rotated",)),
    "exposure_correlated": ("rotated", "exposure", "correlated_tags"),
    **dict.fromkeys((*_THREE, "learned_uncertainty", "joint_topics", "neural_correlated_tags"),
                    ("linear",)),
    "nonlinear": ("linear", *_THREE),
    "all": ("linear", "nonlinear", "learned_uncertainty", "neural_correlated_tags",
            "joint_topics"),
    "all_linear_decoder": ("linear", "nonlinear_encoder", "binary_codes", "learned_uncertainty",
                           "neural_correlated_tags", "joint_topics"),
}  # fmt: skip
"""Arm -> the arms from whose settings it starts: a base, then what each of the others changed."""


def start_of(arm: str, own: Mapping[str, Any], chosen: Mapping[str, Mapping[str, Any]]) -> dict:
    """The setting that the search for an arm starts from.

    Learning rate and steps are the arm's own: a deep network needs others than a linear map.

    Args:
      arm: a key of `AXES`.
      own: the values of `fields_of(arm)` before it is tuned.
      chosen: arm -> what was chosen for it, for arms that have been tuned.
    """
    start = dict(own)
    base, *others = [chosen.get(name, {}) for name in BASES.get(arm, ())] or [{}]
    for setting in (base, *others):
        changed = {f: v for f, v in setting.items() if setting is base or base.get(f) != v}
        start |= {f: v for f, v in changed.items() if f in start and f not in _TRAINING}
    return start


def fields_of(arm: str) -> list[str]:
    """The fields that are tuned for an arm or for one that it starts from, its own first."""
    bases = [field for base in BASES.get(arm, ()) for field in fields_of(base)]
    return list(dict.fromkeys([*AXES[arm], *bases]))


class Record:
    """What was tried, in a file.

    Its `arms` have, by name, what was `chosen`, the scores of that, the number of `draws`, whether
    the search is `done`, and all that was `tried`.
    """

    def __init__(self, path: Path, draws: int, about: Mapping[str, Any]) -> None:
        """Reads the file, if there is one.

        Args:
          path: of the file.
          draws: how many each setting of an arm is tried on.
          about: what the file says besides.
        """
        self.path, self.draws, self.about = path, draws, about
        self.arms: dict[str, Any] = read_json(path)["arms"] if path.exists() else {}

    def of(self, arm: str) -> dict[str, Any]:
        """What is known of an arm.

        Raises:
          UserError: it was tried on another number of draws.
        """
        new = {"chosen": {}, "done": False, "draws": self.draws, "tried": []}
        found = self.arms.setdefault(arm, new)
        if found["draws"] != self.draws:
            raise UserError(
                f"{self.path} has {arm} on {found['draws']} draws; give --draws {found['draws']}, "
                "or --result for another file."
            )
        return found

    def scores(self, arm: str, setting: Mapping[str, Any]) -> list[dict[str, Any]] | None:
        """The scores of a setting on each draw, None if it was not tried."""
        for row in self.of(arm)["tried"]:
            if row["setting"] == setting:
                return row["of_draws"]
        return None

    def add(self, arm: str, setting: Mapping[str, Any], of_draws: list[dict[str, Any]]) -> None:
        """Keeps the scores of a setting."""
        self.of(arm)["tried"].append({"setting": dict(setting), "of_draws": of_draws})
        self.write()

    def choose(self, arm: str, setting: Mapping[str, Any], *, done: bool) -> None:
        """Keeps the best setting so far."""
        found = self.of(arm)
        found |= {"chosen": dict(setting), "done": done}
        of_draws = self.scores(arm, setting) or []
        for name in (SCORE, "map"):
            found[name] = mean(of_draws, name)
        self.write()

    def write(self) -> None:
        """Writes the file, whole or not at all."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_json(self.path, {**self.about, "arms": self.arms})


def mean(of_draws: Sequence[Mapping[str, Any]], name: str) -> float | None:
    """The mean of a score over draws; None where a draw failed."""
    values = [scores[name] for scores in of_draws if name in scores]
    return sum(values) / len(values) if values and len(values) == len(of_draws) else None


def tune(arm: str, collection: str, benches: Any, record: Record) -> None:
    """Searches for the setting of one arm, unless that is done."""
    from configs import documents_arms

    if record.of(arm)["done"]:
        return
    axes = AXES[arm]
    config = documents_arms.untuned(collection, arm)
    own = {field: fields.get(config, field) for field in fields_of(arm)}
    chosen = {name: found["chosen"] for name, found in record.arms.items()}
    top = -1.0

    def score(setting: Mapping[str, Any]) -> float:
        nonlocal top
        of_draws = record.scores(arm, setting)
        if of_draws is None:
            config.update_from_flattened_dict(setting)
            of_draws = []
            for bench in benches():
                try:
                    of_draws.append({"draw": bench.draw, **bench.score(config)})
                except (UserError, ValueError) as error:  # weights too far apart, or diverged
                    of_draws.append({"draw": bench.draw, "error": str(error)})
            record.add(arm, setting, of_draws)
        found = mean(of_draws, SCORE)
        print(f"{arm}: {found} {mean(of_draws, 'map')} {dict(setting)}", flush=True)
        if found is None:
            return -1.0
        if found > top:
            top = found
            record.choose(arm, setting, done=False)
        return found

    least_gain = LEAST_GAIN_OF_TRAINED if arm in documents_arms.TRAINED else LEAST_GAIN
    best = search(start_of(arm, own, chosen), axes, score, least_gain)
    record.choose(arm, best, done=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Reads the options and tunes; returns the exit code."""
    from configs import documents_arms
    from tools.validation import Bench

    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    parser.add_argument("collection", choices=list(documents_arms.SOURCES))
    parser.add_argument("data_dir", help="where its archive is")
    parser.add_argument("--arms", default=",".join(AXES), help="in this order (all)")
    parser.add_argument("--draws", type=int, default=3, help="how many, from 0 on (3)")
    parser.add_argument("--result", type=Path, help="file of the choice")
    options = parser.parse_args(arguments)
    arms = options.arms.split(",")
    if unknown := [arm for arm in arms if arm not in AXES]:
        raise UserError(f"--arms has {unknown[0]!r}; the arms are {', '.join(AXES)}.")
    compilation_cache.enable()
    about = {
        "command": workdir.command_line(),
        "chosen_by": "precision@100 of validation documents among training documents, mean over "
        "the draws; no query was used",
        "run": workdir.describe_run(workdir.command_line(), []),
    }
    record = Record(options.result or documents_arms.choice_path(options.collection),
                    options.draws, about)  # fmt: skip
    made: list[Bench] = []

    def benches() -> list[Bench]:
        if not made:
            config = documents_arms.untuned(options.collection, "rotated")
            config.data.data_dir = options.data_dir
            made.extend(Bench(config, draw) for draw in range(options.draws))
        return made

    for arm in arms:
        tune(arm, options.collection, benches, record)
    return 0


if __name__ == "__main__":
    sys.exit(processes.guarded(main))

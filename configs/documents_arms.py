"""Documents, 32 bits: the forms of SHTTM and its improvements one by one, each tuned alike.

    python train.py --config configs/documents_arms.py:reuters-rotated --workdir runs/rotated \\
      --config.data.data_dir=DIR

The argument is a collection, reuters or newsgroups, and an arm:

    published           the published form, the database re-encoded
    published_learned   the same, where training documents keep the codes learned for them
    mean_thresholds, rotation, fitted_to_function
                        the same with one of the three changes of `rotated`
    rotated             with all three
    rotated_learned     the same, where training documents keep the codes learned for them
    exposure            rotated, with learned uncertainty
    correlated_tags     rotated, with correlated tags
    exposure_correlated rotated, with both

    linear              neural SHTTM without improvements
    nonlinear_encoder, nonlinear_decoder, binary_codes, learned_uncertainty, neural_correlated_tags,
    joint_topics        neural SHTTM with one improvement
    nonlinear           with the first three of them
    all                 with all of them
    all_linear_decoder  with all but the non-linear decoder

    vdsh_supervised, nash_supervised, vdsh, nash
                        other methods

`tools/choose_documents.py` tunes each arm on validation documents and writes what it chose to
`results/choice/documents_reuters.json` and `documents_newsgroups.json`, from where it is read here.
Machine: two CPU cores, one to a few minutes. Scores: docs/results.md.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from configs import nash, shttm, shttm_neural, vdsh
from dsh_jax.errors import UserError

CHOICES = Path(__file__).parents[1] / "results/choice"
SOURCES = {"reuters": "reuters21578", "newsgroups": "20newsgroups"}
BITS = 32

_PUBLISHED = {"codes.rotation": False, "codes.fitted_to": "codes", "codes.thresholds": "median",
              "codes.missing": 0.0003, "codes.tag_ridge": 0.01,
              "codes.topic_weight": 0.0003}  # fmt: skip
_NEURAL = ("nonlinear_encoder", "nonlinear_decoder", "binary_codes", "learned_uncertainty",
           "correlated_tags", "joint_topics")  # fmt: skip


# Where the search starts; all hidden layers are as wide, and no arm may take more steps.
_TRAINED = {"encoder.hidden": 256, "num_steps": 400, "optimizer.network.learning_rate": 0.005}
_VARIATIONAL = _TRAINED | {"loss.kl_steps": 100}


def _neural(*on: str) -> dict[str, Any]:
    switches = {f"improvements.{name}": name in on for name in _NEURAL}
    own = {"loss.missing": 0.7, "encoder.word_dropout": 0.5, "correlation.weight": 0.1}
    # A linear map wants larger steps.
    rate = 0.005 if "nonlinear_encoder" in on else 0.02
    return switches | _TRAINED | own | {"optimizer.network.learning_rate": rate}


ARMS: Mapping[str, Mapping[str, Any]] = {
    "published": _PUBLISHED,
    "published_learned": _PUBLISHED | {"codes.database_codes": "learned"},
    "mean_thresholds": _PUBLISHED | {"codes.thresholds": "mean"},
    "rotation": _PUBLISHED | {"codes.rotation": True},
    "fitted_to_function": _PUBLISHED | {"codes.fitted_to": "function"},
    "rotated": {},
    "rotated_learned": {"codes.database_codes": "learned"},
    "exposure": {"codes.exposure": True},
    "correlated_tags": {"codes.correlated_tags": True},
    "exposure_correlated": {"codes.exposure": True, "codes.correlated_tags": True},
    "linear": _neural(),
    **{name: _neural(name) for name in _NEURAL if name != "correlated_tags"},
    "neural_correlated_tags": _neural("correlated_tags"),
    "nonlinear": _neural(*_NEURAL[:3]),
    "all": _neural(*_NEURAL),
    "all_linear_decoder": _neural(*(name for name in _NEURAL if name != "nonlinear_decoder")),
    **dict.fromkeys(("vdsh_supervised", "nash_supervised", "vdsh", "nash"), _VARIATIONAL),
}
"""Arm -> the config fields that make it what it is, before it is tuned."""
TRAINED = tuple(ARMS)[tuple(ARMS).index("linear") :]
"""Those that are trained by steps."""


def untuned(collection: str, arm: str) -> ConfigDict:
    """The config of an arm before it is tuned.

    Args:
      collection: a key of `SOURCES`.
      arm: a key of `ARMS`.
    """
    source = SOURCES[collection]
    if arm.startswith(("vdsh", "nash")):
        maker = vdsh if arm.startswith("vdsh") else nash
        config = maker.get_config(source, BITS, supervised=arm.endswith("supervised"))
    else:
        config = (shttm_neural if arm in TRAINED else shttm).get_config(source, BITS)
    if collection == "newsgroups":
        config.data.query_share = 0.1  # the collection has no official test set
        if arm in TRAINED:
            config.unlabeled_batch_size = 0  # every message has its tag
    config.update_from_flattened_dict(ARMS[arm])
    return config


def choice_path(collection: str) -> Path:
    """The file with what was chosen for a collection."""
    return CHOICES / f"documents_{collection}.json"


def get_config(arm: str = "") -> ConfigDict:
    """An arm with the settings that were chosen for it, if it has been tuned.

    Args:
      arm: collection-arm.

    Raises:
      UserError: there is no such arm.
    """
    collection, _, name = arm.partition("-")
    if collection not in SOURCES or name not in ARMS:
        raise UserError(
            f"configs/documents_arms.py takes {' or '.join(SOURCES)} and an arm after a colon, as "
            f"in documents_arms.py:reuters-rotated, not {arm!r}; the arms are {', '.join(ARMS)}."
        )
    config = untuned(collection, name)
    path = choice_path(collection)
    if path.exists():
        chosen = json.loads(path.read_text())["arms"].get(name, {}).get("chosen", {})
        config.update_from_flattened_dict(chosen)
    return config

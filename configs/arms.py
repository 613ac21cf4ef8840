"""The arms of the comparison that says what synthetic images are worth.

All have the same network, the same class loss and the same number of updates of the shared network.
`get_config` makes one out of a config:

    gan            DSH-GANs: triplets with synthetic positives and negatives
    gan_real       the same game, but positives and negatives are real labeled images
    network        the network alone, on the same real triplets
    ..+consistency with strong views of unlabeled images; as many in all

`digits_arms.py` and `cifar10_arms.py` are the experiments. `tools/choose_arms.sh` tunes each arm
alike, on validation images; what it chose is in `results/choice/`, from where it is read here.
"""

import json
from pathlib import Path

from ml_collections import ConfigDict

from dsh_jax.errors import UserError

NAMES = ("gan", "gan_real", "network")
CHOICES = Path(__file__).parents[1] / "results/choice"


def get_config(config: ConfigDict, name: str, file: str) -> ConfigDict:
    """Makes the config an arm.

    Args:
      config: of the whole game, with the consistency that "+consistency" keeps.
      name: of the arm.
      file: the config's own name, for errors.

    Raises:
      UserError: there is no such arm.
    """
    kind, plus, option = name.partition("+")
    if kind not in NAMES or option not in ("", "consistency") or bool(plus) != bool(option):
        raise UserError(
            f"configs/{file}.py takes an arm after a colon, {', '.join(NAMES)}, each also with "
            f"+consistency; not {name!r}."
        )
    if not option:
        config.consistency.batch_size = 0
    config.gan = kind != "network"
    config.triplets = "synthetic" if kind == "gan" else "real"
    if kind == "network":
        # A joint step updates the shared network twice: in the discriminator and the hash step.
        config.num_steps *= 2
        config.consistency.batch_size //= 2
        if not option:  # then there is one stage only
            config.num_steps += config.pretraining_steps
    path = CHOICES / f"{file}_{name}.json"
    if path.exists():
        config.update_from_flattened_dict(json.loads(path.read_text())["chosen"])
    return config

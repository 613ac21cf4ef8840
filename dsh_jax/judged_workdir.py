"""Judges the synthetic images of a trained workdir."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from dsh_jax import fields
from dsh_jax.checkpoints import Checkpoints
from dsh_jax.data.dataset import Dataset
from dsh_jax.data.splits.split import Split
from dsh_jax.encoder import Encoder
from dsh_jax.errors import UserError, as_user_error
from dsh_jax.judge import IMAGES, Judge, load_judge
from dsh_jax.methods import METHODS

Judging = Callable[[Dataset, Split], dict[str, Any]]
"""Data with the classes that training saw, split -> what a result says of synthetic images."""


def judging_of(
    workdir: Path, config: ConfigDict, encoder: Encoder, checkpoint: str, judge: str | None
) -> Judging | None:
    """Loads judge and generator; what is left to do needs the data.

    Args:
      workdir: of a training.
      config: its own. Nothing that it names is imported.
      encoder: of the workdir.
      checkpoint: "best" or "latest".
      judge: encoder file or workdir; None for the config's, empty for none.

    Returns:
      What judges; None where there is no judge.

    Raises:
      UserError: the judge does not exist or does not fit, or the workdir has no generator.
    """
    path = config.get("judge", "") if judge is None else judge
    if not path:
        return None
    recipe = METHODS[encoder.method]
    with as_user_error():
        source = recipe.images and recipe.images(config, encoder.signature)
    if source is None:
        raise UserError(f"{workdir} has no generator to be judged; leave out --judge.")
    fields.check({"judge": path}, {"judge": fields.Text()})
    num_devices = min(config.num_devices, jax.local_device_count())
    judged_by = load_judge(path, encoder.signature, num_devices=num_devices)
    like = jax.eval_shape(source.init, jax.random.key(0))
    _, variables = Checkpoints(workdir / "checkpoints").read_kept(checkpoint, like)
    draw = partial(jax.jit(source.draw), variables)

    def judging(dataset: Dataset, split: Split) -> dict[str, Any]:
        said = Judge(judged_by, dataset, split)(draw)
        return {"judge": judged_by.fingerprint, "judged_images": IMAGES, **said}

    return judging

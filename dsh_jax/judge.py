"""Judges synthetic images by a classifier that was trained on real ones.

The judge is an encoder with class outputs. Its features give the Fréchet distance between synthetic
and real training images, and its classes the share of synthetic images that show what was asked for
(the "classification accuracy" of Odena, Olah and Shlens, ICML 2017). Noise and labels are fixed, so
that checkpoints and runs on one split can be compared.
"""

from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from dsh_jax.data.dataset import Dataset
from dsh_jax.data.images.augment import as_uint8
from dsh_jax.data.signature import ImageInputs, Signature
from dsh_jax.data.splits.split import Split
from dsh_jax.encoder import Encoder, load_encoder
from dsh_jax.errors import UserError
from dsh_jax.fitting import classes_misfit, inputs_misfit
from dsh_jax.frechet import Moments, frechet_distance, moments
from dsh_jax.rng import named_key, stream_rng

IMAGES = 2000
"""How many synthetic images are judged, and how many real ones, at most, they are compared with."""

_AT_A_TIME = 250

Draw = Callable[[jax.Array, np.ndarray], jax.Array]
"""Key, class vectors `[batch, classes]` -> synthetic images in [-1, 1] `[batch, h, w, c]`."""


class Judge:
    """An encoder, and what it sees in real training images.

    Args:
      encoder: as `load_judge` returns it.
      dataset: of images, with the classes that training sees.
      split: of the training. Real images are its labeled and unlabeled ones; synthetic images are
        asked for with the labels of its labeled ones.
    """

    def __init__(self, encoder: Encoder, dataset: Dataset, split: Split) -> None:
        rng = stream_rng(0, "judge", 0)
        real = np.sort(rng.permutation(split.training)[:IMAGES])
        self._encoder = encoder
        self._real: Moments = moments(encoder.represent_dataset(dataset, real))
        self._labels = dataset.multi_hot(np.resize(rng.permutation(split.labeled), IMAGES))

    def __call__(self, draw: Draw) -> dict[str, float]:
        """Judges the images that a generator draws.

        Args:
          draw: see `Draw`; called with the same keys and labels every time.

        Returns:
          frechet_distance: to real training images, in the judge's features; 0 is best.
          judged_accuracy: share of the images whose most probable class is the one asked for. With
            several labels per image, share of right decisions over images and classes.
        """
        key = named_key(jax.random.key(0), "judge")
        images = np.concatenate([
            as_uint8(draw(jax.random.fold_in(key, at), self._labels[at : at + _AT_A_TIME]))
            for at in range(0, IMAGES, _AT_A_TIME)
        ])  # fmt: skip
        features, probabilities = self._encoder.features_and_probabilities(images)
        distance = frechet_distance(moments(features), self._real)
        if self._encoder.signature.labels == "single":
            right = probabilities.argmax(axis=1) == self._labels.argmax(axis=1)
        else:
            right = (probabilities > 0.5) == (self._labels > 0)
        return {"frechet_distance": distance, "judged_accuracy": float(right.mean())}


def load_judge(path: str, signature: Signature, *, num_devices: int) -> Encoder:
    """The encoder of a judge, which must fit the data.

    Args:
      path: of an encoder file or a workdir.
      signature: of the data.
      num_devices: to judge on.

    Raises:
      UserError: there is no such encoder, it has no class outputs, or it takes other images or
        knows other classes.
    """
    if not Path(path).expanduser().exists():
        raise UserError(
            f"there is no judge {path}; name an encoder file or a workdir, or leave it empty."
        )
    encoder = load_encoder(path, num_devices=num_devices)
    found, wanted = encoder.signature, signature
    shape = wanted.image_shape if isinstance(wanted.inputs, ImageInputs) else None
    misfit = (
        ("" if encoder.has_classifier else "has no class outputs")
        or inputs_misfit(found.inputs, wanted.inputs.kind, shape, "the data")
        or classes_misfit(found.class_names, wanted.class_names, "the data")
    )
    if not misfit and found.labels != wanted.labels:
        misfit = f"is for {found.labels}-label images, not {wanted.labels}-label ones"
    if misfit:
        raise UserError(f"the judge {path} {misfit}; name one trained on such data.")
    return encoder

"""Files in the layout of the VDSH benchmark: three subjects, each with words of its own."""

import numpy as np
import scipy.io
import scipy.sparse

from tests import corpus

SIZES = {"train": 120, "cv": 30, "test": 24}
WORDS, SUBJECTS = 30, 3


def content(seed=0, multi=False):
    """Sparse weights and one-hot labels, or multi-hot ones; train has one row without words."""
    rng = np.random.default_rng(seed)
    made = {}
    for part, size in SIZES.items():
        labels = np.eye(SUBJECTS, dtype=np.uint8)[rng.integers(0, SUBJECTS, size)]
        if multi:
            labels |= np.eye(SUBJECTS, dtype=np.uint8)[rng.integers(0, SUBJECTS, size)]
        likely = np.repeat(labels, WORDS // SUBJECTS, axis=1) * 0.5 + 0.02
        weights = (rng.random((size, WORDS)) < likely) * rng.uniform(0.5, 3, (size, WORDS))
        weights[weights.sum(axis=1) == 0, 0] = 1
        if part == "train":
            weights[7] = 0
        made |= {part: scipy.sparse.csc_matrix(weights), f"gnd_{part}": labels}
    return made


def write(path, **changed):
    """Writes a file with other values of some keys, or without those that are None."""
    keys = {**content(), **changed}
    scipy.io.savemat(path, {key: value for key, value in keys.items() if value is not None})
    return path


def config(path, method="shttm", num_bits=6):
    """A config for this file: seconds on one CPU core."""
    config = corpus.config(path, method, num_bits)
    config.data.source = "vdsh"
    if method != "shttm":
        config.unlabeled_batch_size = 0
    return config

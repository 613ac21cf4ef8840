"""The class "none" after a short training of stage 1 on digits."""

from functools import lru_cache

import jax
import numpy as np

from configs import digits_16bit
from dsh_jax.data.batches import make_batch
from dsh_jax.devices import compile_step, replicate, shard, unreplicate
from dsh_jax.methods.base import kept_variables
from dsh_jax.training.experiment import prepare

NUM_STEPS = 200


def small(unlabeled):
    config = digits_16bit.get_config()
    config.loss.unlabeled = unlabeled
    # Few synthetic images: they take most of a step's time.
    config.update(batch_size=32, anchor_every=8, unlabeled_batch_size=32, ema_decay=0.0)
    config.generator.width = 4
    config.augment.crop_padding = 0
    config.representation.update(width=16, features=64, dropout=0.0)
    config.optimizer.discriminator.update(learning_rate=4e-3, b1=0.9, schedule="constant")
    return config


@lru_cache
def none_probability(unlabeled):
    """P(none) of the labeled images and of the unlabeled ones, `[n]` each."""
    experiment = prepare(small(unlabeled), None)
    method, devices = experiment.method, jax.local_devices()[:1]
    stage, dataset, split = method.stages[0], experiment.dataset, experiment.split
    step = compile_step(stage.step, 0, devices)
    stacked = replicate(jax.jit(method.init)(jax.random.key(0)), devices)
    for number in range(NUM_STEPS):
        batch = make_batch(dataset, split, stage.batch, number)
        stacked, _ = step(stacked, shard(batch, devices))
    kept = kept_variables(unreplicate(stacked))
    classify = jax.jit(method.network.classify)
    logits = [np.asarray(classify(kept, {"image": dataset.images[ids]}))
              for ids in (split.labeled, split.unlabeled)]  # fmt: skip
    return [1 / (1 + np.exp(one).sum(1)) for one in logits]


def test_unlabeled_images_are_none_and_labeled_ones_are_not():
    labeled, unlabeled = none_probability("zero")
    assert unlabeled.mean() > labeled.mean() + 0.4
    assert np.median(labeled) < 0.5 < np.median(unlabeled)


def test_masked_images_do_not_learn_none():
    labeled, unlabeled = none_probability("mask")
    assert unlabeled.mean() < labeled.mean() + 0.2

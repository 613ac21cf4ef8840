"""Hard triplets against a search with plain loops, over one and over two devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dsh_jax.devices import AXIS
from dsh_jax.errors import UserError
from dsh_jax.losses.mining import hardest, of_drawn, of_hardest
from dsh_jax.losses.triplet import triplet_ranking
from tests.small_dsh_gan import BATCH, build, handed_out, make_batch

ANCHORS, IMAGES, BITS, CLASSES = 4, 12, 5, 3


def problem(seed=0, *, multi=False):
    """Codes, the first of them the anchors', and labels."""
    rng = np.random.default_rng(seed)
    labels = np.eye(CLASSES, dtype=np.float32)[rng.integers(0, CLASSES, IMAGES)]
    if multi:
        labels = (rng.random((IMAGES, CLASSES)) < 0.4).astype(np.float32)
        labels[0], labels[1] = 0, 1  # no label, and all of them
    return rng.random((IMAGES, BITS)).astype(np.float32), labels


def squared(a, b):
    return sum((x - y) ** 2 for x, y in zip(a, b, strict=True))


def oracle(anchor, codes, labels, row):
    """(row of the hardest positive, of the hardest negative), None where there is none."""
    positive = negative = None
    for k in range(len(codes)):
        distance = squared(anchor, codes[k])
        if any(labels[row][c] and labels[k][c] for c in range(CLASSES)):
            if k != row and (positive is None or distance > squared(anchor, codes[positive])):
                positive = k
        elif k != row and (negative is None or distance < squared(anchor, codes[negative])):
            negative = k
    return positive, negative


@pytest.mark.parametrize("multi", [False, True])
def test_the_hardest_are_those_of_a_plain_search(multi):
    missing = 0
    for seed in range(5):
        codes, labels = problem(seed, multi=multi)
        is_self = np.eye(ANCHORS, IMAGES, dtype=bool)
        found = jax.jit(hardest)(codes[:ANCHORS], labels[:ANCHORS], codes, labels, is_self)
        for row in range(ANCHORS):
            wanted = oracle(codes[row], codes, labels, row)
            assert bool(found.exist[row]) == (None not in wanted)
            missing += None in wanted
            if None not in wanted:
                assert (found.positive[row], found.negative[row]) == wanted
    assert bool(missing) == multi


def mined(codes, labels, devices):
    """Losses and gradient, with the batch shared by some devices."""
    parts = [np.stack(np.split(part, devices)) for part in (codes, labels)]

    def losses(codes):
        of_device = jax.vmap(
            lambda c, y: of_hardest(triplet_ranking, c, y, 2), axis_name=AXIS
        )
        return of_device(codes, parts[1])

    def both(codes):
        found, pullback = jax.vjp(losses, codes)
        return found, pullback(jnp.ones_like(found))[0]

    found, gradient = jax.jit(both)(parts[0])
    return np.asarray(found), gradient.reshape(codes.shape)


@pytest.mark.parametrize("multi", [False, True])
@pytest.mark.parametrize("devices", [1, 2])
def test_losses_are_of_the_whole_batch(devices, multi):
    codes, labels = problem(7, multi=multi)
    found, gradient = mined(codes, labels, devices)
    rows = [device * IMAGES // devices + k for device in range(devices) for k in range(2)]
    wanted, slope = [], np.zeros_like(codes)
    for row in rows:
        p, n = oracle(codes[row], codes, labels, row)
        if p is None or n is None:
            wanted.append(0.0)
            continue
        wanted.append(max(0, 1 + squared(codes[row], codes[p]) - squared(codes[row], codes[n])))
        if wanted[-1]:  # with the choice fixed
            slope[row] += 2 * (codes[n] - codes[p])
            slope[p] += 2 * (codes[p] - codes[row])
            slope[n] -= 2 * (codes[n] - codes[row])
    np.testing.assert_allclose(found.ravel(), wanted, rtol=1e-4)
    np.testing.assert_allclose(gradient, slope, rtol=1e-3, atol=1e-5)


def test_mined_triplets_are_no_easier_than_the_drawn_ones():
    codes, _ = problem()
    labels = np.eye(CLASSES, dtype=np.float32)[[0, 1, 2, 0] * 2 + [1, 2, 0, 1]]
    with_axis = jax.jit(jax.vmap(
        lambda c: of_hardest(triplet_ranking, c, jnp.asarray(labels), 4), axis_name=AXIS
    ))  # fmt: skip
    drawn = jax.jit(lambda c: of_drawn(triplet_ranking, c, 4))(codes)
    assert np.all(with_axis(codes[None])[0] >= drawn - 1e-6)


def test_drawn_triplets_with_two_negatives_each():
    codes, _ = problem()
    anchor, positive, first, second = np.split(codes, 4)[0][:3], *np.split(codes[3:], 3)
    wanted = [max(0, 1 + squared(anchor[k], positive[k]) - squared(anchor[k], negative[k]))
              for negative in (first, second) for k in range(3)]  # fmt: skip
    found = jax.jit(lambda c: of_drawn(triplet_ranking, c, 3))(codes)
    np.testing.assert_allclose(found, wanted, rtol=1e-4)


def test_each_anchor_gets_as_many_negatives_as_asked_for():
    method = build(negatives_per_anchor=3, loss__mining="batch")
    batch = handed_out(method, "joint", make_batch())["hash"]
    n = BATCH // 2
    assert batch["positive_image"].shape[0] == n
    assert len(batch["negative_image"]) == len(batch["negative_label"]) == 3 * n
    assert not (batch["negative_label"] * np.tile(batch["label"], (3, 1))).any()
    assert len(set(batch["synthetic_position"].tolist())) == 4 * n  # noise of their own
    assert len({image.tobytes() for image in batch["synthetic_image"]}) == 4 * n


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"negatives_per_anchor": 2, "triplets": "real"}, "negatives_per_anchor is 2"),
        ({"loss__mining": "batch", "triplets": "none", "gan": False}, "loss.mining is 'batch'"),
        ({"loss__mining": "easy"}, "loss.mining is 'easy'; set it to one of"),
    ],
)
def test_contradictions_are_refused(changes, sentence):
    with pytest.raises(UserError, match=sentence):
        build(**changes)

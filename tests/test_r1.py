"""R1 by hand, against finite differences through our convolution, and in the training step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dsh_jax.losses.adversarial import r1_penalty
from dsh_jax.networks.conv import conv2d
from tests.small_dsh_gan import build, compiled, gan_of, joint_batches, method_and_state


def test_of_a_linear_discriminator_by_hand():
    weights = jnp.array([[1.0, -2.0], [0.0, 2.0]])[:, :, None]
    images = jnp.ones((5, 2, 2, 1))
    # The gradient is the weights at every image: (1 + 4 + 4) / 2.
    assert r1_penalty(lambda x: jnp.sum(x * weights, axis=(1, 2, 3)), images) == 4.5


def test_of_a_square_by_hand():
    images = jnp.array([1.0, 3.0]).reshape(2, 1, 1, 1)
    # d(x^2) = 2x: (4 + 36) / 2 / 2.
    assert r1_penalty(lambda x: jnp.square(x)[:, 0, 0, 0], images) == 10


@pytest.mark.parametrize(("size", "strides"), [(1, (1, 1)), (3, (1, 1)), (5, (2, 2))])
def test_its_gradient_is_that_of_finite_differences(size, strides):
    rng = np.random.default_rng(0)
    images = rng.normal(size=(3, 8, 8, 3)).astype(np.float32)
    kernel, way = 0.3 * rng.normal(size=(2, size, size, 3, 6)).astype(np.float32)

    @jax.jit
    def penalty(kernel):
        def discriminate(x):
            return jax.nn.softplus(conv2d(x, kernel, strides=strides)).sum((1, 2, 3))

        return r1_penalty(discriminate, images)

    step = 1e-2
    difference = (penalty(kernel + step * way) - penalty(kernel - step * way)) / (2 * step)
    slope = jnp.vdot(jax.grad(penalty)(kernel), way)
    assert slope == pytest.approx(float(difference), rel=1e-2)


def test_the_discriminator_step_adds_its_weighted_penalty():
    _, state = method_and_state()
    steps, batch = gan_of(build(loss__weights__r1=3.0)).steps, joint_batches()["discriminator"]
    after, metrics = compiled(steps.discriminator_step)(state, batch)
    parts = [metrics[f"discriminator/{name}"] for name in ("adversarial", "classification", "r1")]
    wanted = parts[0] + parts[1] + 3 * parts[2]
    assert metrics["discriminator/loss"] == pytest.approx(wanted, rel=1e-5)
    networks = steps.players.networks

    def logit(image):
        features = networks["representation"].apply(
            {"params": state.params["representation"]}, image[None], train=False
        )
        return networks["adversary"].apply(
            {"params": state.params["adversary"]}, features, train=False
        )[0]

    # Labeled and unlabeled images, one by one, and no synthetic ones.
    real = np.concatenate([batch["image"], batch["unlabeled_image"]])
    gradient = jax.jit(jax.grad(logit))
    squares = [np.sum(np.square(gradient(image))) for image in real]
    assert parts[2] == pytest.approx(np.mean(squares) / 2, rel=1e-3)

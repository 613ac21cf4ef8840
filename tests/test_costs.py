"""FLOPs counted by hand, and what the page about scaling makes of them."""

import jax
import jax.numpy as jnp
import pytest

from benchmarks.costs import flops
from dsh_jax.networks.conv import conv2d
from tools import scaling_table


def counted(function, *shapes):
    return flops(jax.make_jaxpr(function)(*(jnp.zeros(shape) for shape in shapes)).jaxpr)


def test_products_and_convolutions():
    assert counted(lambda a, b: a @ b, (3, 5), (5, 7)) == 2 * 3 * 5 * 7
    # Our convolution has another program on a CPU; counted is that of a GPU.
    image, kernel = (2, 8, 8, 3), (5, 5, 3, 4)
    forward = 2 * (2 * 8 * 8 * 4) * (5 * 5 * 3)
    assert counted(conv2d, image, kernel) == forward
    with_gradients = counted(
        jax.grad(lambda x, k: conv2d(x, k).sum(), argnums=(0, 1)), image, kernel
    )
    assert with_gradients == pytest.approx(3 * forward, rel=0.01)


def test_loops():
    def scanned(x, w):
        return jax.lax.scan(lambda x, _: (x @ w, None), x, length=6)[0]

    assert counted(scanned, (4, 4), (4, 4)) == 6 * 2 * 4**3
    with pytest.raises(ValueError, match="unknown length"):
        counted(lambda x: jax.lax.while_loop(lambda x: x.sum() < 9, lambda x: x @ x, x), (4, 4))


def test_time_of_a_step():
    machine = scaling_table.Machine("m", devices=4, teraflops=100, link_gigabytes=10, dollars=1)
    costs = {"flops_per_step": 5e12, "parameters": 10**7}
    compute, averaging = scaling_table.step_seconds(costs, machine)
    assert compute == pytest.approx(5 / (4 * 100 * scaling_table.USED))
    assert averaging == pytest.approx(40e6 * 2 * 3 / 4 / 10e9)

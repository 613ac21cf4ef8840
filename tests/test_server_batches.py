"""Several requests' items through one call."""

import threading
from concurrent.futures import CancelledError

import pytest

from dsh_jax.search.server.batches import Batches


class Doubling:
    """Doubles numbers, once it may, and keeps what it was called with."""

    def __init__(self):
        self.calls, self.began, self.may_go_on = [], threading.Event(), threading.Event()

    def __call__(self, items):
        self.calls.append(list(items))
        self.began.set()
        assert self.may_go_on.wait(20)
        if -1 in items:
            raise ValueError("negative")
        return [2 * item for item in items]


def test_what_comes_meanwhile_is_the_next_batch():
    run = Doubling()
    batches = Batches(run, 3)
    alone = batches.submit(0)
    assert run.began.wait(20)
    waiting = [batches.submit(item) for item in range(1, 6)]
    run.may_go_on.set()
    assert [each.result(20) for each in (alone, *waiting)] == [0, 2, 4, 6, 8, 10]
    assert run.calls == [[0], [1, 2, 3], [4, 5]]


def test_what_is_cancelled_is_left_out_and_an_error_is_that_of_its_batch():
    run = Doubling()
    batches = Batches(run, 2)
    batches.submit(0)
    assert run.began.wait(20)
    waiting = [batches.submit(item) for item in (1, 2, 3, -1, 5)]
    waiting[1].cancel()
    run.may_go_on.set()
    assert waiting[0].result(20) == 2 and waiting[4].result(20) == 10
    with pytest.raises(CancelledError):
        waiting[1].result(20)
    for each in waiting[2:4]:
        with pytest.raises(ValueError, match="negative"):
            each.result(20)
    assert run.calls == [[0], [1], [3, -1], [5]]


def test_a_wrong_number_of_results_is_an_error():
    batches = Batches(lambda items: [], 8)
    with pytest.raises(ValueError):
        batches.submit(1).result(20)

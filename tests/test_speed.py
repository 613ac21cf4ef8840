"""How fast steps are taken, as it is logged."""

from dsh_jax.training import speed


def test_speed_leaves_out_compiling_and_pauses(monkeypatch):
    times = iter([10.0, 12.0, 50.0, 51.0])
    monkeypatch.setattr(speed.time, "monotonic", lambda: next(times))
    clock = speed.Speed()
    for _ in range(5):
        clock.count(1)  # the first one returns at 10
    assert clock.metrics() == {"steps_per_second": 2.0}  # 4 steps until 12
    clock.pause()
    clock.count(1)  # at 50
    assert clock.metrics() == {}  # at 51, after no further step

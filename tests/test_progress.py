"""The bar: which stage runs, what is finished, and a steady time left."""

from types import SimpleNamespace

from dsh_jax.training import progress as module
from dsh_jax.training.progress import Progress


def test_a_stage_is_named_and_its_first_step_is_said_to_compile(tmp_path, capsys):
    progress = Progress(tmp_path, step=0, num_steps=10)
    with progress.stage("joint"):
        pass
    progress.advance()
    progress._bar.refresh()
    progress.close()
    err = capsys.readouterr().err
    assert "joint: compiling ..." in err and "1/10" in err
    assert err.rindex("joint:  10%") > err.index("compiling")


def test_time_left_is_that_of_the_stage_without_its_compilation(tmp_path, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(module, "time", SimpleNamespace(time=lambda: now[0]))
    progress = Progress(tmp_path, step=5, num_steps=100)
    progress._bar._time = lambda: now[0]

    def take(steps, seconds):
        for _ in range(steps):
            now[0] += seconds
            progress.advance()
        bar = progress._bar.format_dict
        return (bar["n"] - bar["initial"]) / bar["elapsed"]

    for steps, seconds in ((20, 0.1), (10, 0.5)):
        with progress.stage("a stage"):
            now[0] += 60.0
        speed = take(steps, seconds)
        assert abs(speed - 1 / seconds) < 1e-6
        now[0] += 5.0  # a validation counts: there will be more of them
        assert take(1, seconds) < speed
    assert progress._bar.format_dict["rate"] is None  # hence the mean since the stage's start
    progress.close()

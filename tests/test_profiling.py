"""Profiles of steps: names of parts, shares, and a traced training."""

import re
from collections import Counter

import pytest

from configs import digits_16bit, smoke
from dsh_jax.errors import UserError
from dsh_jax.training import loop, profiling
from dsh_jax.training.profiling import largest_parts, part_of


@pytest.mark.parametrize(
    ("operation", "part"),
    [("jit(f)/hash/transpose(jvp(Conv3))/Conv_0/dot_general", "hash: gradient of Conv3"),
     ("jit(f)/hash/jvp(Conv3)/Conv_0/dot_general", "hash: Conv3"),
     ("jit(f)/hash/jvp()/mul", "hash: loss"),
     ("jit(f)/vmap(jit(_randint))/while/body/add", "random numbers"),
     ("jit(f)/cond/branch_0_fun/add", "branch_0_fun: add"),
     ("jit(f)/optimizer/add", "optimizer: add"),
     ("jit(f)/add", "others: add"), ("add", "others: add")],
)  # fmt: skip
def test_parts_are_named_by_update_and_network(operation, part):
    assert part_of(operation) == part


def test_shares_are_of_operations_and_not_of_the_loops_around_them():
    compiled = """
      %dot.1 = f32[2]{0} dot(%a, %b), metadata={op_name="jit(f)/hash/jvp(Conv3)/dot"}
      ROOT %dot.2 = f32[2]{0} dot(%a, %b), metadata={op_name="jit(f)/hash/jvp(Conv3)/dot"}
      add.3 = f32[2]{0} add(%a, %b), metadata={op_name="jit(f)/add" stack_frame_id=1}
      while.4 = (s32[], f32[2]) while(%t), condition=%c, metadata={op_name="jit(f)/while"}
      add.5 = f32[2]{0} add(%a, %b), metadata={op_name="jit(f)/never_run"}
    """
    taken = Counter({"dot.1": 2, "dot.2": 4, "add.3": 2, "while.4": 100, "copy.6": 7})
    assert largest_parts(taken, compiled) == [("hash: Conv3", 0.75), ("others: add", 0.25)]


def test_a_training_is_traced_and_told(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(profiling, "WARM_UP", 1)
    monkeypatch.setattr(profiling, "STEPS", 2)
    config = smoke.shrink(digits_16bit.get_config())
    config.update(profile=True, gan=False, triplets="real", num_steps=4)
    loop.train(config, tmp_path / "run", {"command": ""})
    (stage,) = (tmp_path / "run/profile").iterdir()
    told = capsys.readouterr().err
    assert re.search(rf"profile     {stage.name}: [\d.]+ ms a step; trace in {stage}\n", told)
    shares = re.findall(r"^ +([\d.]+) %  (\w+)", told, re.MULTILINE)
    numbers = [float(share) for share, _ in shares]
    assert len(shares) == 5 and "hash" in {name for _, name in shares}
    assert 0 < sum(numbers) <= 100.1 and numbers == sorted(numbers, reverse=True)
    assert list(stage.rglob("*.xplane.pb"))


def test_a_trace_of_a_short_stage_is_closed(tmp_path):
    for name in ("a", "b"):
        profiler = profiling.Profiler(tmp_path / name)
        assert profiler.before_step(profiling.WARM_UP, "stage", None, 0, None) == []
        profiler.close()
        profiler.close()


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="profile cannot be written"):
        profiling.Profiler(tmp_path / "file/profile")

"""Files of a workdir and what is said of a run."""

import json
import re
import subprocess

import pytest
from ml_collections import ConfigDict

from dsh_jax.errors import UserError
from dsh_jax.files import write_json
from dsh_jax.overrides import config_overrides
from dsh_jax.training import workdir


def test_write_json_makes_folders_and_leaves_nothing_beside(tmp_path):
    path = tmp_path / "results" / "a.json"
    write_json(path, {"map": 0.5})
    assert json.loads(path.read_text()) == {"map": 0.5}
    assert [p.name for p in path.parent.iterdir()] == ["a.json"]


def test_overrides_are_found_with_and_without_an_equals_sign():
    arguments = ["--config", "c.py", "--config.seed=3", "--config.num_bits", "24", "--workdir=w"]
    assert config_overrides(arguments) == ["--config.seed=3", "--config.num_bits=24"]


def test_flatten_names_fields_by_their_path():
    assert workdir.flatten({"a": {"b": 1, "c": {"d": 2}}, "e": 3}) == {"a.b": 1, "a.c.d": 2, "e": 3}


def test_only_the_place_of_the_data_may_differ(tmp_path):
    config = ConfigDict({"seed": 0, "data": {"data_dir": "here"}, "widths": (1, 2)})
    write_json(tmp_path / "config.json", workdir.as_dict(config))
    config.data.data_dir = "there"
    assert workdir.check_same_config(tmp_path, config)
    config.seed = 1
    assert not workdir.check_same_config(tmp_path, config)  # nothing is lost without a checkpoint
    (tmp_path / "checkpoints/3").mkdir(parents=True)
    with pytest.raises(UserError, match=r"seed \(0 there, 1 now\)"):
        workdir.check_same_config(tmp_path, config)


def test_more_steps_are_the_same_config_where_that_is_asked_for(tmp_path):
    write_json(tmp_path / "config.json", {"num_steps": 5})
    (tmp_path / "checkpoints/3").mkdir(parents=True)
    more, fewer = ConfigDict({"num_steps": 6}), ConfigDict({"num_steps": 4})
    assert workdir.check_same_config(tmp_path, more, more_steps=True)
    for config, options in ((more, {}), (fewer, {"more_steps": True})):
        with pytest.raises(UserError, match=r"num_steps \(5 there, [46] now\)"):
            workdir.check_same_config(tmp_path, config, **options)


def test_the_command_line_is_as_typed(monkeypatch):
    typed = ["-m", "benchmarks.evaluate", "--result", "a b.json"]
    monkeypatch.setattr("sys.orig_argv", ["/somewhere/bin/python", *typed])
    assert workdir.command_line() == "python -m benchmarks.evaluate --result 'a b.json'"


def test_devices_that_change_while_a_run_resumes_are_recorded(tmp_path):
    path = tmp_path / "run.json"
    assert workdir.record_run(path, {"command": "a"}, 0, 1) == []
    assert workdir.record_run(path, {"command": "b"}, 5, 1) == []
    first = {"from_step": 0, "num_devices": 1}
    assert json.loads(path.read_text()) == {"command": "a", "devices": [first]}
    (line,) = workdir.record_run(path, {"command": "c"}, 9, 2)
    assert "2 from step 9 on, 1 before" in line and "dropout" in line
    second = {"from_step": 9, "num_devices": 2}
    assert json.loads(path.read_text()) == {"command": "a", "devices": [first, second]}
    path.write_text('{"comm')  # cut off
    assert workdir.record_run(path, {"command": "d"}, 9, 2) == []
    assert json.loads(path.read_text()) == {"command": "d", "devices": [second]}


def test_a_commit_is_dirty_if_code_has_changed_but_not_for_measured_rows(tmp_path):
    def git(*arguments):
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        subprocess.run(["git", "-C", str(tmp_path), *identity, *arguments], check=True)

    code, row = tmp_path / "code.py", tmp_path / "results/row.json"
    row.parent.mkdir()
    code.write_text("1")
    row.write_text("1")
    assert workdir.commit_of(tmp_path) == "unknown"
    git("init", "--quiet")
    git("add", ".")
    git("commit", "--quiet", "--message=first")
    commit = workdir.commit_of(tmp_path)
    assert re.fullmatch("[0-9a-f]{40}", commit)
    row.write_text("2")
    (tmp_path / "untracked").write_text("")
    assert workdir.commit_of(tmp_path) == commit
    code.write_text("2")
    assert workdir.commit_of(tmp_path) == f"{commit}-dirty"

"""The runs of a sweep: which there are, what they are called, and what is refused before any."""

import json
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsh_jax.errors import UserError
from dsh_jax.files import write_json
from dsh_jax.training.workdir import as_dict
from tools import grid

SMOKE = "configs/smoke.py"


def options(*arguments, config=SMOKE):
    parser = grid.Parser("A test.", draws=1, out="runs/test_")
    return parser.parse([f"--config={config}", *arguments])


def runs(*arguments, bits=(), config=SMOKE):
    return grid.runs_of(options(*arguments, config=config), bits)


def test_every_combination_has_a_run():
    made = runs("--draws=2", "--set=triplets=real,synthetic", "--set", "loss.weights.triplet=1,0.5",
                "--config.num_steps=7", bits=[8, 12])  # fmt: skip
    wanted = product(("real", "synthetic"), (1.0, 0.5), (8, 12), (0, 1))
    assert [
        (r.config.triplets, r.config.loss.weights.triplet, r.num_bits, r.draw) for r in made
    ] == list(wanted)
    for run in made:
        assert run.config.num_bits == run.num_bits and run.config.num_steps == 7
        assert run.config.seed == run.config.data.split_seed == run.draw
        assert run.values == {
            "triplets": run.config.triplets,
            "loss.weights.triplet": run.config.loss.weights.triplet,
        }
    assert made[0].name == "smoke_8bit_triplets=real_loss.weights.triplet=1_draw0"
    assert made[0].arguments == (
        f"--config={SMOKE}", "--config.num_steps=7", "--config.seed=0",
        "--config.data.split_seed=0", "--config.num_bits=8", "--config.triplets=real",
        "--config.loss.weights.triplet=1",
    )  # fmt: skip


def test_a_config_has_its_own_bits_and_a_folder_of_its_name():
    (run,) = runs()
    assert (run.name, run.num_bits, run.setting) == ("smoke_16bit_draw0", 16, ())
    assert str(options().out) == "runs/test_smoke"
    (run,) = runs(config="configs/cifar10.py:24")
    assert run.name == "cifar10_24bit_draw0"
    assert grid.config_name("a/b.py:case") == "b_case"


@given(st.lists(st.text(min_size=1), min_size=1, max_size=5, unique=True))
def test_names_are_files_and_differ(texts):
    names = [grid._name(["smoke", text]) for text in texts]
    assert len(set(names)) == len(names)
    assert all("/" not in name and len(name.encode()) < 250 for name in names)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--draws=0"], "--draws has '0'"),
        (["--draws=1,2"], "--draws is '1,2'"),
        (["--draws="], "--draws is an empty list"),
        (["--set=triplets"], "write --set field=value1,value2"),
        (["--set=triplets="], "--set triplets is an empty list"),
        (["--set=triplets=real,real"], "'real' twice"),
        (["--set=triplets=real", "--set=triplets=synthetic"], "triplets twice"),
        (["--set=tripletz=real"], "did you mean triplets?"),
        (["--set=triplets=fake"], "triplets is 'fake'"),
        (["--set=num_steps=many"], "num_steps is 'many'"),
        (["--set=seed=1,2"], "--draws sets"),
        (["--set=num_bits=8,16"], "--bits sets"),
        (["--config.seed=1"], "--draws"),
        (["--config.num_stepz=1"], "did you mean num_steps?"),
        (["--more=1"], "'--more=1'"),
        (["more"], "'more'"),
        (["--dra=1"], "'--dra=1'"),
    ],
)
def test_a_mistake_is_one_sentence(arguments, named):
    with pytest.raises(UserError) as caught:
        runs(*arguments)
    assert named in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", ",", "0", "-1", "8,0", "8,8", "8,,12", "8.5", "x", "9999999"])
def test_bits_are_integers_of_1_or_more(text):
    with pytest.raises(UserError, match="--bits"):
        grid.integers(text, "--bits")


def test_bits_are_read():
    assert grid.integers("12, 24,48", "--bits") == [12, 24, 48]
    with pytest.raises(UserError, match="give one integer"):
        grid.integers("12,24", "--bits", most=1)


def test_an_empty_string_may_be_one_of_several_values():
    plain, named = runs("--set=loss.pair=,dsh_jax.losses.pairs:dpsh")
    assert plain.config.loss.pair == "" and named.config.loss.pair == "dsh_jax.losses.pairs:dpsh"
    assert named.name.startswith("smoke_16bit_loss.pair=dsh_jax.losses.pairs-dpsh_draw0-")


@pytest.mark.parametrize("config", ["configs/none.py", "configs/cifar10.py"])
def test_a_config_that_cannot_be_read(config):
    with pytest.raises(UserError, match=config):
        runs(config=config)


def test_a_run_is_done_if_its_own_file_says_so(tmp_path):
    (run,) = runs()
    workdir, done = tmp_path / run.name, tmp_path / "done.json"
    assert not grid.check_done(run, workdir, done)
    write_json(workdir / "config.json", as_dict(run.config))
    assert not grid.check_done(run, workdir, done)
    done.write_text("{}")
    assert grid.check_done(run, workdir, done)
    (other,) = runs("--config.num_steps=9")
    with pytest.raises(UserError, match="done.json is not of this config"):
        grid.check_done(other, workdir, done)
    (workdir / "checkpoints/4").mkdir(parents=True)
    with pytest.raises(UserError, match=r"num_steps \(4 there, 9 now\); choose another --out"):
        grid.check_done(other, workdir, done)
    (workdir / "config.json").unlink()
    (workdir / "checkpoints/4").rmdir()
    with pytest.raises(UserError, match="its workdir .* is gone"):
        grid.check_done(run, workdir, done)
    assert json.loads(done.read_text()) == {}

"""Whatever stands in a config, preparing a run succeeds or refuses it in one sentence."""

import random

import pytest
from ml_collections import ConfigDict

from configs import smoke
from dsh_jax import fields
from dsh_jax.errors import UserError
from dsh_jax.training.experiment import prepare
from tests import corpus
from tests.commands import SMOKE, only_sentence, refused, run_forked
from tools.attack import fuzz
from tools.attack.config import CASES, DOCUMENTS, get_config


def config_of(case, tmp_path):
    config = get_config(case)
    if case in DOCUMENTS:
        config.data.data_dir = str(corpus.write(tmp_path / "corpus.jsonl"))
    return config


# All of them are a long test.
@pytest.mark.parametrize("share", [0.2, pytest.param(1.0, marks=pytest.mark.long)])
@pytest.mark.parametrize("case", CASES)
def test_fields_with_absurd_values(case, share, tmp_path):
    config = config_of(case, tmp_path)
    prepare(config, tmp_path / "run")
    tried, wrong, accepted = fuzz.check(config, tmp_path / "run", share, random.Random(0))
    assert wrong == [] and len(accepted) < tried / 2
    if share == 1:
        assert tried > 15 * len(fields.names(config)) and accepted
    else:  # drawn by chance
        assert tried > 0.8 * share * 15 * len(fields.names(config))
    assert not (tmp_path / "run").exists()


def test_the_fuzz_finds_what_is_no_sentence():
    def fail(error):
        raise error

    assert fuzz.fault(fail, UserError("a is b; set it to c.")) is None
    assert fuzz.fault(fail, UserError("a\nis b.")) == "no sentence: 'a\\nis b.'"
    assert fuzz.fault(fail, KeyError("a")) == "KeyError: 'a'"


@pytest.mark.parametrize(
    ("field", "similar"),
    [("loss.tripelt", "loss.triplet"), ("generator.widht", "generator.width"),
     ("data.sorce", "data.source"), ("optimzer.hash.b1", "optimizer.hash.b1")],
)  # fmt: skip
def test_a_misspelt_field_in_the_file(field, similar, tmp_path):
    config = smoke.get_config().unlock()
    config.update(fields.nest({field: 1}))
    sentence = f"^{field} is not a field of this config; write {similar}, or remove it.$"
    with pytest.raises(UserError, match=sentence):
        prepare(config, tmp_path)


def test_options_of_losses_and_fields_of_another_method_are_known(tmp_path):
    config = get_config("cnnh").unlock()
    config.generator = ConfigDict({"width": 8})
    config.loss.code_options = ConfigDict()
    prepare(config, tmp_path)


@pytest.mark.parametrize(
    ("rule", "right", "wrong"),
    [
        (fields.Integer(1, 3), (1, 3), (0, 4, 2.0, True, None)),
        (fields.Integer(1), (1, 10**400), (0, -1)),
        (fields.Number(least=0), (0, 10**12, 0.5), (10**400, float("nan"), float("inf"), "1")),
        (fields.Text(), ("", "\u5b57"), ("a\0", "\ud800", None)),
    ],
)
def test_which_values_a_rule_allows(rule, right, wrong):
    assert all(map(rule.allows, right)) and not any(map(rule.allows, wrong))


def test_a_value_is_named_on_one_line():
    config = {"a": ConfigDict({"b": 1})}
    one_line = r"a is \{'b': 1\}; set it to an integer from 1 to 3\."
    with pytest.raises(UserError, match=f"^{one_line}$"):
        fields.check(config, {"a": fields.Integer(1, 3)})
    with pytest.raises(UserError, match=r"^a is a huge int; set it to True or False\.$"):
        fields.check({"a": 10**5000}, {"a": fields.Switch()})


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("def get_config():\n    pass\n", "returns NoneType"),
        ("def get_config():\n    return {'method': 'dsh_gan'}\n", "returns dict"),
        ("from ml_collections import ConfigDict\nget_config = ConfigDict\n", "method"),
    ],
)
def test_a_config_file_that_returns_no_config(text, named, tmp_path):
    (tmp_path / "mine.py").write_text(text)
    sentence = refused(tmp_path, tmp_path / "run", "train.py", f"--config={tmp_path / 'mine.py'}")
    assert named in sentence


@pytest.mark.parametrize(
    ("override", "named"),
    [("nope=1", "no field nope; did you mean "), ("data.sorce=a", "did you mean data.source?"),
     ("num_bits.x=1", "did you mean num_bits?"),
     ("learning_rate=1", "did you mean optimizer.hash.learning_rate?")],
)  # fmt: skip
def test_an_unknown_field_on_the_command_line(override, named, tmp_path):
    sentence = refused(tmp_path, tmp_path / "run", "train.py", SMOKE, f"--config.{override}")
    assert named in sentence and "Error" not in sentence


def test_an_empty_workdir(tmp_path):
    done = run_forked(tmp_path, "train.py", SMOKE, "--workdir=")
    assert "--workdir is empty" in only_sentence(*done)

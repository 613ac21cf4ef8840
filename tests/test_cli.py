"""What `train.py` and `eval.py` leave in a workdir, and how they refuse one that is damaged."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tensorboardX.proto.event_pb2 import Event

from tests.commands import SMOKE, only_sentence, refused, run, run_forked, tree

NUM_BITS = 12  # not a multiple of 8, so that packed codes have padding
COMMAND = ("train.py", SMOKE, f"--config.num_bits={NUM_BITS}")


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """A workdir trained once; no test damages it."""
    folder = tmp_path_factory.mktemp("cli") / "run"
    run(*COMMAND, f"--workdir={folder}")
    return folder


@pytest.fixture(scope="module")
def evaluated(workdir, tmp_path_factory):
    """The same, evaluated; (workdir, what eval.py printed, the file given by --result)."""
    result = tmp_path_factory.mktemp("result") / "result.json"
    stdout, _ = run("eval.py", f"--workdir={workdir}", f"--result={result}")
    return workdir, stdout, result


@pytest.fixture
def copied(workdir, tmp_path):
    """A copy of the trained workdir, to damage."""
    return Path(shutil.copytree(workdir, tmp_path / "copy"))


def test_train_leaves_what_it_says(workdir):
    config = json.loads((workdir / "config.json").read_text())
    assert config["num_bits"] == NUM_BITS and config["data"]["source"] == "digits"
    made = json.loads((workdir / "run.json").read_text())
    assert made["overrides"] == [f"--config.num_bits={NUM_BITS}"]
    assert made["command"].startswith("python train.py --config")
    assert made["hardware"]["platform"] == "cpu" and "jax" in made["versions"] and made["commit"]

    total = config["pretraining_steps"] + config["num_steps"]
    checkpoints = {int(p.name) for p in (workdir / "checkpoints").iterdir()}
    assert max(checkpoints) == total and checkpoints <= {3, 6}
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    steps = [row["step"] for row in rows]
    assert steps == sorted(steps) and steps[-1] == total
    validated = {row["step"]: row["validation_map"] for row in rows if "validation_map" in row}
    assert set(validated) == {3, 6} and all(0 < value <= 1 for value in validated.values())
    stage_2 = [row for row in rows if row["step"] > 2 and "seconds" in row]
    assert stage_2 and all(np.isfinite(row["hash/triplet"]) for row in stage_2)

    samples = sorted((workdir / "samples").iterdir())
    assert [p.name for p in samples] == ["step_0000003.png", "step_0000006.png"]
    with Image.open(samples[-1]) as image:
        # Ten rows and columns of 8x8 digits, enlarged to at least 64 pixels.
        assert image.mode == "RGB" and min(image.size) >= 640
        assert len(image.getcolors(1 << 24) or ()) > 2  # not blank


def events(folder):
    """The events of all files in a folder, each a length, a checksum, the content, a checksum."""
    for path in sorted(folder.glob("events.*")):
        content = path.read_bytes()
        while content:
            length = int.from_bytes(content[:8], "little")
            yield Event.FromString(content[12 : 12 + length])
            content = content[16 + length :]


def test_what_tensorboard_gets(workdir):
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    config = json.loads((workdir / "config.json").read_text())
    settings = config["optimizer"]["hash"]
    assert settings["schedule"] == "cosine" and config["num_steps"] == 4
    # The hash step begins after two steps, so step n is its update n - 2, after n - 3 others.
    falling = {n: settings["learning_rate"] * (1 + math.cos(math.pi * (n - 3) / 4)) / 2
               for n in (3, 4, 6)}  # fmt: skip
    logged = {row["step"]: row["hash/learning_rate"] for row in rows if "hash/loss" in row}
    assert logged == pytest.approx(falling)
    assert any(row.get("steps_per_second", 0) > 0 for row in rows)
    values = [(e.step, v) for e in events(workdir / "tensorboard") for v in e.summary.value]
    rates = {step: v.simple_value for step, v in values if v.tag == "hash/learning_rate"}
    assert rates == pytest.approx(falling)
    assert {"steps_per_second", "validation_map"} <= {v.tag for _, v in values}
    ((step, text),) = [(step, v) for step, v in values if v.tag.startswith("config")]
    assert step == 0 and text.metadata.plugin_data.plugin_name == "text"
    assert f"| num_bits | {NUM_BITS} |" in text.tensor.string_val[0].decode()


def test_eval_writes_codes_that_give_its_numbers(evaluated):
    from dsh_jax import hamming

    workdir, stdout, result_file = evaluated
    result = json.loads((workdir / "eval.json").read_text())
    assert json.loads(result_file.read_text()) == result
    split = json.loads((workdir / "split.json").read_text())
    assert result["num_bits"] == NUM_BITS
    assert (result["num_queries"], result["num_database"]) == (100, 1697)
    assert result["protocol"] == split["protocol"] == "100/200/1697"
    assert result["split_checksum"] == split["checksum"]
    assert result["codes"] == "synthetic" and "expected" in result["rules"]
    assert result["run"]["overrides"] == [f"--config.num_bits={NUM_BITS}"]
    assert 0 <= result["precision_at_100"] <= 1
    assert f"{result['map']:.4f}" in stdout and result["protocol"] in stdout

    codes = np.load(workdir / "codes.npz")
    assert codes["num_bits"] == NUM_BITS
    from sklearn.datasets import load_digits

    labels = load_digits().target
    bits = {}
    for role in ("query", "database"):
        assert codes[f"{role}_ids"].tolist() == split[role]
        assert np.array_equal(codes[f"{role}_labels"], labels[split[role]])
        assert codes[f"{role}_codes"].dtype == np.uint8
        bits[role] = hamming.unpack(codes[f"{role}_codes"], NUM_BITS)
        assert bits[role].shape == (len(split[role]), NUM_BITS)

    # The mean over many random orders of the ties, which eval.json gives exactly.
    rng = np.random.default_rng(0)
    distance = (bits["query"][:, None] != bits["database"][None]).sum(axis=2)
    relevant = codes["query_labels"][:, None] == codes["database_labels"][None]
    scores = []
    for _ in range(40):
        order = np.lexsort((rng.random(distance.shape), distance))
        ranked = np.take_along_axis(relevant, order, axis=1)
        precision = np.cumsum(ranked, axis=1) / np.arange(1, ranked.shape[1] + 1)
        scores.append(((precision * ranked).sum(axis=1) / ranked.sum(axis=1)).mean())
    error = np.std(scores) / np.sqrt(len(scores))
    assert abs(np.mean(scores) - result["map"]) < 5 * error < 0.01


def test_baseline_is_written_beside(evaluated):
    workdir, _, _ = evaluated
    before = (workdir / "eval.json").read_bytes(), (workdir / "codes.npz").read_bytes()
    stdout, _ = run("eval.py", f"--workdir={workdir}", "--baseline=itq")
    assert before == ((workdir / "eval.json").read_bytes(), (workdir / "codes.npz").read_bytes())
    trained = json.loads((workdir / "eval.json").read_text())
    itq = json.loads((workdir / "eval_itq.json").read_text())
    assert itq["codes"] == "itq" and f"{itq['map']:.4f}" in stdout
    for field in ("protocol", "split_checksum", "num_queries", "num_database", "num_bits"):
        assert itq[field] == trained[field]
    assert itq["map"] > 0.4  # digits are easy, and chance is 0.1
    codes = np.load(workdir / "codes_itq.npz")
    assert codes["query_codes"].shape == (100, 2) and codes["database_codes"].shape == (1697, 2)


def test_runs_are_compared(evaluated, tmp_path):
    workdir, _, _ = evaluated
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(workdir / "eval.json", other)
    stdout, _ = run("eval.py", "--compare", workdir, other, f"--output={tmp_path / 'out'}")
    assert str(workdir) in stdout and str(other) in stdout
    assert (tmp_path / "out/compare.md").read_text() in stdout
    result = json.loads((other / "eval.json").read_text())
    (other / "eval.json").write_text(json.dumps(result | {"protocol": "1/2/3"}))
    code, stderr = run_forked(tmp_path, "eval.py", "--compare", workdir, other)
    sentence = only_sentence(code, stderr)
    assert "1/2/3" in sentence and "100/200/1697" in sentence


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--conventions=sorted"], "sorted"),
        (["--compare=a"], "--compare"),
        (["more"], "more"),
        (["--baseline=none"], "baseline"),
    ],
)
def test_eval_refuses_arguments(workdir, tmp_path, arguments, named):
    assert named in refused(tmp_path, workdir, "eval.py", *arguments)


def test_training_again_when_finished_changes_nothing(workdir):
    kept = ("checkpoints", "samples")
    before = [tree(workdir / name) for name in kept]
    files = ("metrics.jsonl", "config.json", "split.json", "run.json")
    contents = [(workdir / name).read_bytes() for name in files]
    stdout, _ = run(*COMMAND, f"--workdir={workdir}")
    assert [tree(workdir / name) for name in kept] == before
    assert [(workdir / name).read_bytes() for name in files] == contents
    assert "eval.py" in stdout


def test_train_refuses_a_workdir_of_another_config(copied, tmp_path):
    sentence = refused(tmp_path, copied, *COMMAND, "--config.seed=5")
    assert "seed (0 there, 5 now)" in sentence and str(copied) in sentence


def cut(path):
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


def no_checkpoint(workdir):
    shutil.rmtree(workdir / "checkpoints")
    return "no checkpoint"


def empty_checkpoints(workdir):
    shutil.rmtree(workdir / "checkpoints")
    (workdir / "checkpoints").mkdir()
    return "no checkpoint"


def cut_config(workdir):
    cut(workdir / "config.json")
    return "config.json"


def config_of_a_list(workdir):
    (workdir / "config.json").write_text("[1]")
    return "config.json"


def config_without_a_field(workdir):
    config = json.loads((workdir / "config.json").read_text())
    del config["data"]["split_seed"]
    (workdir / "config.json").write_text(json.dumps(config))
    return "data.split_seed"


def tampered_split(workdir):
    split = json.loads((workdir / "split.json").read_text())
    split["query"][0], split["labeled"][0] = split["labeled"][0], split["query"][0]
    (workdir / "split.json").write_text(json.dumps(split))
    return "split.json"


def cut_split(workdir):
    cut(workdir / "split.json")
    return "split.json"


def no_split(workdir):
    (workdir / "split.json").unlink()
    return "split.json"


def cut_checkpoints(workdir):
    for step in (workdir / "checkpoints").iterdir():
        for file in [p for p in (step / "state").rglob("*") if p.parent.name == "d"]:
            cut(file)
    return "checkpoints"


def checkpoints_without_records(workdir):
    for step in (workdir / "checkpoints").iterdir():
        shutil.rmtree(step / "record")
    return "no checksums"


def another_network(workdir):
    config = json.loads((workdir / "config.json").read_text())
    config["num_bits"] = 24
    (workdir / "config.json").write_text(json.dumps(config))
    return "num_bits 24"


DAMAGES = [no_checkpoint, empty_checkpoints, cut_config, config_of_a_list, config_without_a_field,
           tampered_split, cut_split, no_split, cut_checkpoints, checkpoints_without_records,
           another_network]  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_eval_refuses_a_damaged_workdir(copied, tmp_path, damage):
    named = damage(copied)
    sentence = refused(tmp_path, copied, "eval.py")
    assert named in sentence and str(copied) in sentence


@pytest.mark.parametrize("damage", [cut_config, tampered_split, cut_checkpoints])
def test_train_refuses_a_damaged_workdir(copied, tmp_path, damage):
    named = damage(copied)
    sentence = refused(tmp_path, copied, *COMMAND)
    assert named in sentence and str(copied) in sentence

"""`tools.search`: chooses by validation mAP, never evaluates the queries, resumes."""

import json

import pytest

from dsh_jax.fields import Integer, Number
from tests.commands import run
from tools import choice, grid, search

SMOKE = "--config=configs/smoke.py"
FIELD = "optimizer.hash.learning_rate"


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """(folder, command, stdout, stderr, the choice) of a search over two learning rates."""
    out = tmp_path_factory.mktemp("search") / "out"
    result = out.parent / "choice/smoke.json"
    command = ("-m", "tools.search", SMOKE, "--config.triplets=real", f"--set={FIELD}=0.0001,0.01",
               f"--out={out}", f"--result={result}")  # fmt: skip
    stdout, stderr = run(*command)
    return out, command, stdout, stderr, json.loads(result.read_text())


def validated(workdir):
    lines = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    return [line["validation_map"] for line in lines if "validation_map" in line]


def test_the_best_validation_chooses(searched):
    out, _, stdout, stderr, found = searched
    scores = {
        value: max(validated(out / f"smoke_16bit_{FIELD}={value}_draw0"))
        for value in ("0.0001", "0.01")
    }
    best = max(scores, key=lambda value: scores[value])
    assert found["chosen"] == {FIELD: float(best)}
    assert f"Chosen: --config.{FIELD}={float(best)}" in stdout
    tried = {row["setting"][FIELD]: row["validation_map"] for row in found["tried"]}
    assert tried == {float(value): score for value, score in scores.items()}
    assert list(tried.values()) == sorted(tried.values(), reverse=True)
    # Of two values each is at the edge, which is said where it is seen.
    assert set(found["on_edge"]) == {FIELD}
    assert f"warning: {FIELD}={float(best)} is the " in stderr


def test_the_queries_are_never_evaluated(searched):
    out, _, _, _, _ = searched
    names = {path.name for path in out.rglob("*")}
    assert "metrics.jsonl" in names and not names & {"eval.json", "codes.npz", "results"}
    logs = "".join(path.read_text() for path in (out / "logs").iterdir())
    assert logs.count("$ python ") == logs.count("$ python train.py ") == 2


def test_the_choice_says_how_it_was_made(searched):
    out, _, _, _, found = searched
    assert found["config"] == "configs/smoke.py" and found["num_bits"] == 16
    assert found["draws"] == [0] and found["num_validation"] == 200
    assert found["command"].startswith("python -m tools.search --config=configs/smoke.py")
    assert found["run"]["commit"] and found["run"]["hardware"]["platform"] == "cpu"
    config = found["chosen_config"]
    assert config["optimizer"]["hash"]["learning_rate"] == found["chosen"][FIELD]
    assert config["triplets"] == "real" and "data_dir" not in config["data"]
    split = json.loads(next(out.glob("smoke*/split.json")).read_text())
    assert found["split_checksums"] == [split["checksum"]]
    assert all(row["seconds"] > 0 and row["commits"] for row in found["tried"])


def test_a_search_resumes(searched):
    out, command, stdout, _, found = searched
    again, _ = run(*command)
    assert again.count("finished before") == 2
    assert again[again.index("| setting") :] == stdout[stdout.index("| setting") :]
    logs = "".join(path.read_text() for path in (out / "logs").iterdir())
    assert logs.count("$ python train.py") == 2


def test_what_is_missing(tmp_path):
    _, stderr = run("-m", "tools.search", SMOKE, f"--out={tmp_path / 'out'}", expected=2)
    assert "give either --set" in stderr and not (tmp_path / "out").exists()


def record(score, **changes):
    run = {"commit": "abc", "hardware": {}}
    return {"validation_map": score, "step": 3, "seconds": 2.0, "num_validation": 9,
            "split_checksum": "c", "run": run} | changes  # fmt: skip


def runs(*sets, draws=1):
    parser = grid.Parser("", draws=1, out="")
    arguments = [SMOKE, f"--draws={draws}", *(f"--set={text}" for text in sets)]
    return grid.runs_of(parser.parse(arguments), [])


def test_settings_are_ranked_by_the_mean_over_draws():
    made = runs("num_steps=4,6,8", draws=2)
    # Means 0.5, 0.6, and none: one of its draws died.
    scores = [0.1, 0.9, 0.55, 0.65, 0.99]
    records = {run.name: record(score) for run, score in zip(made, scores, strict=False)}
    rows = choice.tried(made, records)
    assert [row["setting"]["num_steps"] for row in rows] == [6, 4, 8]
    assert [row["validation_map"] for row in rows] == [pytest.approx(0.6), 0.5, None]
    assert rows[1]["standard_deviation"] == pytest.approx(0.32**0.5)
    assert rows[2]["of_draws"] == [0.99, None] and rows[2]["steps"] == [3, None]
    assert [row["seconds"] for row in rows] == [4, 4, 2]
    lines = choice.render(rows).splitlines()
    assert lines[2] == "| num_steps=6 | 0.600 ± 0.071 | 2 | 3, 3 |"
    assert lines[4] == "| num_steps=8 | - | 1 of 2 | 3, - |"
    found = choice.choice("configs/smoke.py", made, records, rows)
    assert found["chosen"] == {"num_steps": 6} and found["on_edge"] == {}
    assert found["draws"] == [0, 1] and found["chosen_config"]["seed"] == 0
    assert json.loads(json.dumps(found)) == found


def test_nothing_is_chosen_without_a_score():
    made = runs("num_steps=4,6")
    assert [row["validation_map"] for row in choice.tried(made, {})] == [None, None]


def test_equal_scores_choose_the_first():
    made = runs("num_steps=4,6")
    rows = choice.tried(made, {run.name: record(0.5) for run in made})
    assert [row["setting"]["num_steps"] for row in rows] == [4, 6]


RULES = {"rate": Number(above=0), "weight": Number(least=0), "steps": Integer(0, 10)}


@pytest.mark.parametrize(
    ("field", "values", "chosen", "edge"),
    [
        ("rate", [0.1, 0.2, 0.4], 0.2, None),
        ("rate", [0.4, 0.1, 0.2], 0.1, "smallest"),
        ("rate", [0.1, 0.2, 0.4], 0.4, "largest"),
        ("weight", [0.0, 1.0], 0.0, None),  # no value below 0 is valid
        ("weight", [0.0, 1.0], 1.0, "largest"),
        ("steps", [5, 10], 10, None),
        ("steps", [5, 9], 9, "largest"),
        ("steps", [0, 5, 9], 0, None),
        ("no rule", [1, 2], 1, "smallest"),
        ("rate", [0.1], 0.1, None),  # not tuned
        ("rate", [True, False], True, None),
        ("rate", ["a", "b"], "a", None),
    ],
)
def test_a_choice_at_the_edge_of_its_grid(field, values, chosen, edge):
    found = choice.on_edge({field: chosen}, [{field: value} for value in values], RULES)
    assert found == ({field: edge} if edge else {})


def test_the_best_of_several_validations_is_the_latest_of_equals(tmp_path):
    lines = [{"step": 3, "validation_map": 0.4}, {"step": 4, "seconds": 1.5, "loss": 2.0},
             {"step": 6, "validation_map": 0.4}, {"step": 9, "validation_map": 0.2}]  # fmt: skip
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "split.json").write_text('{"validation": [1, 2], "checksum": "c"}')
    (tmp_path / "run.json").write_text('{"commit": "abc"}')
    assert choice.record_of(tmp_path) == {
        "validation_map": 0.4, "step": 6, "seconds": 1.5, "num_validation": 2,
        "split_checksum": "c", "run": {"commit": "abc"},
    }  # fmt: skip
    (tmp_path / "metrics.jsonl").write_text(json.dumps(lines[1]) + "\n")
    with pytest.raises(choice.Died, match="no validation_map"):
        choice.record_of(tmp_path)


def test_a_walk_ends_where_both_neighbours_are_worse(monkeypatch, tmp_path):
    scores = {0.001: 0.3, 0.0002: 0.1, 0.0005: 0.2, 0.002: 0.6, 0.005: 0.5, 0.01: 0.9}
    trained = []

    def train(out, made):
        values = [run.values[FIELD] for run in made]
        trained.extend(values)
        pairs = zip(made, values, strict=True)
        return {run.name: record(scores[value]) for run, value in pairs}, True

    monkeypatch.setattr(search, "train", train)
    parser = grid.Parser("", draws=1, out="")
    parser.add_argument("--walk")
    options = parser.parse([SMOKE, f"--walk={FIELD}", f"--config.{FIELD}=0.001"])
    made, records, whole = search.walk(options, [])
    rows = choice.tried(made, records)
    # 0.01 is better still, but lies behind a worse value.
    assert trained == [0.001, 0.002, 0.005] and rows[0]["setting"] == {FIELD: 0.002} and whole
    assert choice.choice(SMOKE, made, records, rows)["on_edge"] == {}


@pytest.mark.parametrize(
    "walk, message",
    [("loss.weights.pear", "loss.weights.pear"), ("gan", "gan, which is True"),
     ("loss.weights.quantization", "which is 0.0"), ("num_bits,num_bits", "twice")],
)  # fmt: skip
def test_what_cannot_be_walked_along(walk, message, tmp_path):
    command = ("-m", "tools.search", SMOKE, f"--walk={walk}", f"--out={tmp_path / 'out'}")
    _, stderr = run(*command, expected=2)
    assert message in stderr and not (tmp_path / "out").exists()

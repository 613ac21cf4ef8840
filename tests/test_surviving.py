"""A user's stories: a workdir is trained once, then files come, go and move, and it goes on."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from PIL import Image

from configs import image_folder, smoke
from dsh_jax.data import known_items
from dsh_jax.data.splits.split import load as load_split
from dsh_jax.encoder import load_encoder
from dsh_jax.errors import UserError
from dsh_jax.evaluation import evaluate_workdir
from dsh_jax.measuring import codes_path
from dsh_jax.training import loop, resuming
from tests import corpus
from tests.image_files import decodings_from_now
from tests.messages import one_sentence

COLORS = {"blue": (30, 30, 210), "green": (20, 180, 40), "red": (200, 30, 30)}
ROLES = ("query", "labeled", "unlabeled", "validation", "database")


def draw(path, color, seed):
    rng = np.random.default_rng(seed)
    pixels = np.clip(np.array(color) + rng.normal(0, 25, (12, 16, 3)), 0, 255).astype(np.uint8)
    path.parent.mkdir(exist_ok=True, parents=True)
    Image.fromarray(pixels).save(path)


def config_of(root, cache, **more):
    config = smoke.shrink(image_folder.get_config())
    config.update_from_flattened_dict({
        "gan": False, "triplets": "real", "pretraining_steps": 0, "num_bits": 8, "num_steps": 2,
        "eval_every_steps": 2, "representation.name": "conv3",
        "optimizer.hash.schedule": "constant", "data.root": str(root),
        "data.cache_dir": str(cache), "data.image_size": 16, "data.queries_per_class": 3,
        "data.validation_per_class": 2, **more,
    })  # fmt: skip
    return config


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A folder with photos/ and a workdir trained on them, evaluated. Copy it to change it."""
    root = tmp_path_factory.mktemp("first")
    for name, color in COLORS.items():
        for number in range(8):
            draw(root / "photos" / name / f"{number}.png", color, number)
    for number in range(4):
        draw(root / "photos/unlabeled" / f"{number}.png", COLORS["red"], 50 + number)
    loop.train(config_of(root / "photos", root / "cache"), root / "run", {"command": ""})
    evaluate_workdir(root / "run")
    return root


@pytest.fixture
def copy(first, tmp_path):
    """The same, to be changed; its photos are at another place, as are all files of a user."""
    shutil.copytree(first / "run", tmp_path / "run")
    shutil.copytree(first / "photos", tmp_path / "photos")
    return tmp_path


def evaluated(workdir, photos, baseline="lsh"):
    """The result of a baseline, which compiles little, and its codes."""
    result = evaluate_workdir(workdir, baseline=baseline, data_dir=str(photos))
    with np.load(codes_path(workdir, baseline)) as codes:
        return result, dict(codes)


def measures(result):
    """What is measured, and of what."""
    return {name: result[name] for name in (
        "map", "query_average_precision", "split_checksum", "query_checksum", "dataset",
        "dataset_version", "num_queries", "num_database", "protocol",
    )}  # fmt: skip


def test_every_item_has_a_code_and_a_name(first):
    with np.load(first / "run/codes.npz") as codes:
        assert len(codes["codes"]) == len(codes["names"]) == 28
        unlabeled = codes["is_unlabeled"]
        assert codes["names"][unlabeled].tolist() == [f"unlabeled/{k}.png" for k in range(4)]
        paths = [first / "photos" / name for name in codes["names"]]
        assert np.array_equal(load_encoder(first / "run").encode(paths), codes["codes"])
        assert codes["names"][codes["is_query"]].tolist() == codes["query_names"].tolist()
        assert np.array_equal(codes["ids"], np.arange(28))
    result = json.loads((first / "run/eval.json").read_text())
    assert (result["num_items"], result["num_queries"], result["num_database"]) == (28, 9, 15)
    assert "changes" not in result


def test_the_folder_is_renamed(first, copy, monkeypatch):
    decodings = decodings_from_now(monkeypatch)
    renamed = (copy / "photos").rename(copy / "pictures")
    before, codes = evaluated(first / "run", first / "photos")
    after, again = evaluated(copy / "run", renamed)
    assert after == before and not decodings
    assert all(np.array_equal(codes[name], again[name]) for name in codes)


def test_photos_are_added(first, copy, monkeypatch):
    decodings = decodings_from_now(monkeypatch)
    draw(copy / "photos/blue/00.png", COLORS["blue"], 90)  # the second in order
    draw(copy / "photos/unlabeled/x.png", COLORS["blue"], 91)
    before, codes = evaluated(first / "run", first / "photos")
    after, again = evaluated(copy / "run", copy / "photos")
    assert measures(after) == measures(before) and len(decodings) == 2
    assert after["num_items"] == 30 and after["changes"] == [
        "new         2 items can be found now, and the measured split stays as it was drawn: "
        "blue/00.png, unlabeled/x.png"
    ]
    for name in ("query_names", "query_codes", "database_names", "database_codes"):
        assert np.array_equal(codes[name], again[name])
    assert again["names"][28:].tolist() == ["blue/00.png", "unlabeled/x.png"]
    assert not any(again[f"is_{role}"][28:].any() for role in ROLES)


def test_a_photo_is_removed(first, copy, monkeypatch):
    decodings = decodings_from_now(monkeypatch)
    split = load_split(copy / "run/split.json")
    names = known_items.load(copy / "run/items.json").names
    (copy / "photos" / names[split.query[0]]).unlink()
    (copy / "photos" / names[split.labeled[0]]).unlink()
    result, codes = evaluated(copy / "run", copy / "photos")
    assert not decodings and result["num_items"] == 26
    assert (result["num_queries"], result["num_database"]) == (8, 14)
    assert result["protocol"].endswith(", 2 left out")
    (line,) = result["changes"]
    assert line.startswith("lost        2 items") and names[split.query[0]] in line
    assert names[split.query[0]] not in codes["names"]
    assert np.array_equal(codes["query_ids"], split.query[1:])
    # It comes back, and all is as it was.
    shutil.copytree(first / "photos", copy / "photos", dirs_exist_ok=True)
    assert measures(evaluated(copy / "run", copy / "photos")[0]) == measures(
        evaluated(first / "run", first / "photos")[0]
    )


def test_other_labels_and_other_data_are_refused(copy):
    split = load_split(copy / "run/split.json")
    names = known_items.load(copy / "run/items.json").names
    name = names[split.labeled[-1]]  # a red one
    (copy / "photos" / name).rename(copy / "photos/blue/from_red.png")
    one_sentence(lambda: evaluated(copy / "run", copy / "photos"),
                 f"the first is {name}: red before, blue now")  # fmt: skip
    draw(copy / "others/a/1.png", COLORS["red"], 70)
    draw(copy / "others/b/1.png", COLORS["blue"], 71)
    one_sentence(lambda: evaluated(copy / "run", copy / "others"), "are in others", "--workdir")


def same(state, other):
    leaves = zip(jax.tree.leaves(state), jax.tree.leaves(other), strict=True)
    return all(np.array_equal(one, two) for one, two in leaves)


def test_a_run_goes_on_for_more_steps_beside_new_photos(first, copy, capfd):
    draw(copy / "photos/blue/00.png", COLORS["blue"], 90)
    config = config_of(copy / "photos", first / "cache", num_steps=4)
    state = loop.train(config, copy / "run", {"command": ""})
    shown = capfd.readouterr().err
    assert "new         1 item can be found now" in shown and "blue/00.png" in shown
    assert ("more steps  num_steps is 4, 2 before; learning rates are constant, so the result is "
            "that of so many steps from the start") in shown  # fmt: skip
    assert "goes on without" not in shown
    whole = config_of(first / "photos", first / "cache", num_steps=4)
    assert same(state, loop.train(whole, copy / "whole", {"command": ""}))
    run = json.loads((copy / "run/run.json").read_text())
    assert run["overrides"] == ["--config.num_steps=4"]
    assert run["continued"] == [{"from_step": 2, "num_steps": 4, "num_steps_before": 2}]
    for name in ("split.json", "items.json"):
        assert (copy / "run" / name).read_bytes() == (first / "run" / name).read_bytes()
    assert json.loads((copy / "run/config.json").read_text())["num_steps"] == 4
    assert load_encoder(copy / "run", checkpoint="latest").encode(
        [copy / "photos/blue/00.png"]
    ).shape == (1, 1)
    with pytest.raises(UserError, match=r"num_steps \(4 there, 3 now\)"):
        loop.train(config_of(copy / "photos", first / "cache", num_steps=3), copy / "run", {})


def test_a_run_that_goes_on_otherwise_says_so(first, copy):
    config = config_of(first / "photos", first / "cache", num_steps=5)
    config.optimizer.hash.schedule = "cosine"
    state = SimpleNamespace(opt_state={"hash": ()})
    assert resuming.about_more_steps(config, state, 3, 4) == (
        "more steps  num_steps is 5, 4 before; learning rates are those of the longer run from "
        "step 3 on (hash: cosine), so the result is not that of so many steps from the start"
    )
    split = load_split(copy / "run/split.json")
    assert resuming.about_lost_items(copy / "run", split) == []
    fewer = replace(split, labeled=split.labeled[2:], database=split.database[1:])
    assert resuming.about_lost_items(copy / "run", fewer) == [
        f"training    goes on without 2 of its {len(split.training)} items, so the result is not "
        "that of an undisturbed run"
    ]


class Stopped(Exception):
    """Stands for whatever ends a run half way."""


def test_what_was_not_trained_yet_takes_the_data_as_it_is(first, copy, monkeypatch):
    def stop(*_):
        raise Stopped

    monkeypatch.setattr(loop, "Trainer", stop)
    shutil.rmtree(copy / "run/checkpoints")
    draw(copy / "photos/blue/00.png", COLORS["blue"], 90)
    with pytest.raises(Stopped):
        loop.train(config_of(copy / "photos", first / "cache"), copy / "run", {"command": ""})
    assert "blue/00.png" in known_items.load(copy / "run/items.json").names
    assert load_split(copy / "run/split.json").protocol == "9/16/16"


@pytest.fixture(scope="module")
def documents(tmp_path_factory):
    """A folder with documents.jsonl and a workdir fitted to them."""
    root = tmp_path_factory.mktemp("documents")
    config = corpus.config(corpus.write(root / "documents.jsonl"))
    loop.train(config, root / "run", {"command": ""})
    return root


def test_documents_come_go_and_change_their_order(documents, tmp_path):
    workdir = Path(shutil.copytree(documents / "run", tmp_path / "run"))
    before, codes = evaluated(workdir, documents / "documents.jsonl", "")
    rows = corpus.lines()
    new = {"id": "new", "text": rows[0]["text"], "tags": ["of today"]}
    rows = [new, *rows[::-1]]
    moved = corpus.write(tmp_path / "renamed.jsonl", rows)
    after, again = evaluated(workdir, moved, "")
    assert measures(after) == measures(before)
    assert after["num_items"] == 151 and [line.split()[0] for line in after["changes"]] == [
        "new", "classes"]  # fmt: skip
    assert again["names"][-1] == "new" and np.array_equal(again["codes"][-1], codes["codes"][0])
    assert again["names"][:-1].tolist() == codes["names"].tolist() == [str(k) for k in range(150)]
    assert np.array_equal(again["codes"][:-1], codes["codes"])
    assert np.array_equal(again["has_words"][:-1], codes["has_words"])
    gone = str(codes["query_names"][0])
    corpus.write(moved, [row for row in rows if str(row["id"]) != gone])
    result, _ = evaluated(workdir, moved, "")
    assert any(line.endswith(f"measured: {gone}") for line in result["changes"])
    assert result["num_queries"] == before["num_queries"] - 1


def test_a_workdir_of_the_last_version_can_be_evaluated(first, copy):
    # It has no items.json, and its split the name of the folder; its data may move, not change.
    (copy / "run/items.json").unlink()
    split = json.loads((copy / "run/split.json").read_text())
    old = replace(load_split(copy / "run/split.json"), dataset="photos")
    split |= {"dataset": "photos", "checksum": old.checksum}
    (copy / "run/split.json").write_text(json.dumps(split))
    renamed = (copy / "photos").rename(copy / "pictures")
    result, _ = evaluated(copy / "run", renamed)
    assert result["dataset"] == "photos" and result["split_checksum"] == old.checksum
    assert result["map"] == evaluated(first / "run", first / "photos")[0]["map"]
    draw(renamed / "blue/00.png", COLORS["blue"], 90)
    with pytest.raises(UserError, match=r"choose another --workdir"):
        evaluated(copy / "run", renamed)

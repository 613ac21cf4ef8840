"""Classes that training never sees: the split by set algebra, then every method and command."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from configs import cnnh_plus_digits_16bit, image_folder, smoke
from dsh_jax import load_encoder
from dsh_jax.data.batches import make_batch
from dsh_jax.data.images import built_in
from dsh_jax.data.splits import by_class, unseen
from dsh_jax.data.splits.split import ID_FIELDS, load_for
from dsh_jax.data.splits.split import load as load_split
from dsh_jax.data.splits.split import save as save_split
from dsh_jax.errors import UserError
from dsh_jax.evaluation import evaluate_workdir
from dsh_jax.training.experiment import prepare
from dsh_jax.training.loop import train, training_ids
from tests import corpus
from tests.commands import SMOKE, only_sentence, run, run_forked
from tests.test_splits import make_dataset

SMALL = make_dataset([20, 25, 30, 22, 21], test_per_class=3)
ASKED = {"queries_per_class": 4, "labeled_per_class": 5, "validation_per_class": 3,
         "validation_from": "unlabeled"}  # fmt: skip


def draw(dataset=SMALL, **changes):
    return unseen.draw(dataset, **({"seed": 0, "unseen_classes": 2} | ASKED | changes))


def classes_of(dataset, ids):
    return {dataset.class_names[label] for label in dataset.labels[ids]}


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 2**40),
    count=st.integers(2, 3),
    queries=st.integers(0, 4),
    labeled=st.integers(4, 6),
    held_from=st.sampled_from(["unlabeled", "labeled"]),
)
def test_definition(seed, count, queries, labeled, held_from):
    asked = ASKED | {"seed": seed, "queries_per_class": queries, "labeled_per_class": labeled,
                     "validation_from": held_from}  # fmt: skip
    split = unseen.draw(SMALL, unseen_classes=count, **asked)
    hidden, seen = set(split.unseen), set(SMALL.class_names) - set(split.unseen)
    assert len(hidden) == count and list(split.unseen) == sorted(hidden)
    for role in ("query", "database"):
        assert classes_of(SMALL, getattr(split, role)) == hidden
    for role in ("labeled", "validation"):
        assert classes_of(SMALL, getattr(split, role)) == seen
    assert classes_of(SMALL, split.unlabeled) <= seen
    # All items of the unseen classes are searched for or searched.
    found = [i for i, label in enumerate(SMALL.labels) if f"c{label}" in hidden]
    assert sorted([*split.query, *split.database]) == found
    # Everything but the database is in the ordinary split too.
    whole = by_class.draw(SMALL, database="rest", **asked)
    for role in ID_FIELDS:
        assert set(getattr(split, role)) <= set(getattr(whole, role))
    held = len(split.validation) * (held_from == "labeled")
    sizes = f"{len(split.query)}/{len(split.labeled) + held}/{len(split.database)}"
    assert split.protocol == f"unseen {count} of 5, {sizes}"
    assert len(split.query) == count * (queries or 3)
    assert len(split.labeled) + held == (5 - count) * labeled
    assert len(split.validation) == (5 - count) * 3


def test_classes_are_drawn_by_the_seed_alone():
    drawn = [draw(seed=seed).unseen for seed in range(40)]
    assert len(set(drawn)) == 10  # of two out of five
    assert drawn == [draw(seed=seed, labeled_per_class=0, validation_from="labeled").unseen
                     for seed in range(40)]  # fmt: skip


def test_official_test_items_on_data_like_cifar10():
    data = make_dataset([6000] * 10, test_per_class=1000)
    split = draw(data, unseen_classes=3, queries_per_class=0, labeled_per_class=0,
                 validation_from="labeled")  # fmt: skip
    assert split.protocol == "unseen 3 of 10, 3000/35000/15000"
    assert data.is_test[split.query].all() and not data.is_test[split.training].any()


def several_labels(seed=0):
    """Sets of two or three of six classes, and some items without any."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((900, 6), np.uint8)
    for row in labels[:860]:
        row[rng.permutation(6)[: rng.integers(1, 4)]] = 1
    made = make_dataset([900])
    return replace(made, labels=labels, class_names=tuple("abcdef"))


def test_items_with_several_labels():
    data = several_labels()
    split = draw(data, unseen_classes=3)
    hidden = np.isin(data.class_names, split.unseen)
    has_unseen, has_seen = data.labels[:, hidden].any(1), data.labels[:, ~hidden].any(1)
    for ids in (split.query, split.database):
        assert has_unseen[ids].all() and not has_seen[ids].any()
    for ids in (split.labeled, split.unlabeled, split.validation):
        assert has_seen[ids].all() and not has_unseen[ids].any()
    assert (len(split.query), len(split.labeled), len(split.validation)) == (12, 15, 9)
    counted = np.union1d(split.query, split.database)
    np.testing.assert_array_equal(counted, np.flatnonzero(has_unseen & ~has_seen))
    view = unseen.of_seen_classes(data, split.unseen)
    np.testing.assert_array_equal(view.labels, data.labels[:, ~hidden])
    assert view.multi_label and len(view.class_names) == 3


def test_how_training_sees_the_data():
    split = draw()
    view = unseen.of_seen_classes(SMALL, split.unseen)
    assert view.class_names == tuple(n for n in SMALL.class_names if n not in split.unseen)
    for name, label, new in zip(
        np.asarray(SMALL.class_names)[SMALL.labels], SMALL.labels, view.labels, strict=True
    ):
        assert new == -1 if name in split.unseen else view.class_names[new] == f"c{label}"
    assert unseen.of_seen_classes(SMALL, ()) is SMALL


def test_a_split_file_names_the_unseen_classes(tmp_path):
    split = draw()
    save_split(split, tmp_path / "split.json")
    again = load_for(SMALL, tmp_path / "split.json")
    assert again.unseen == split.unseen and again.checksum == split.checksum
    assert all(np.array_equal(getattr(again, f), getattr(split, f)) for f in ID_FIELDS)
    content = json.loads((tmp_path / "split.json").read_text())
    assert content["unseen"] == list(split.unseen)
    assert replace(split, unseen=()).checksum != split.checksum

    for wrong, message in (([], "was edited"), (["c0", "x"], "was edited"), ("c0", "not a split"),
                           ([1], "not a split")):  # fmt: skip
        (tmp_path / "wrong.json").write_text(json.dumps(content | {"unseen": wrong}))
        with pytest.raises(UserError, match=message):
            load_split(tmp_path / "wrong.json")
    save_split(replace(split, unseen=("c0", "x")), tmp_path / "other.json")
    with pytest.raises(UserError, match="unseen class 'x', which made lacks: draw"):
        load_for(SMALL, tmp_path / "other.json")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"unseen_classes": 1}, "unseen_classes is 1, but made has 5 .* choose from 2 to 3, or 0"),
        ({"unseen_classes": 4}, "unseen_classes is 4"),
        ({"unseen_classes": 400}, "unseen_classes is 400"),
        ({"queries_per_class": 19}, "Class 'c0' of made has 20 items, too few"),
        ({"dataset": make_dataset([9, 9, 9])}, "unseen_classes is 2, but made has 3 .* to 0"),
        ({"queries_per_class": 0, "dataset": make_dataset([9] * 5)}, "no official test items"),
        (
            {"queries_per_class": 0,
             "dataset": replace(SMALL, is_test=SMALL.is_test & (SMALL.labels == 9 // 3))},
            "is unseen and has no official test item, so queries_per_class=0",
        ),
    ],
)  # fmt: skip
def test_refuses(changes, message):
    with pytest.raises(UserError, match=message) as caught:
        draw(**changes)
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)


def test_refuses_classes_that_are_always_together():
    data = several_labels()
    together = data.labels.copy()
    together[:, 5] = 0
    together[together[:, :5].all(axis=1), 5] = 1
    together[0] = 1  # the only image of "f" has every label
    with pytest.raises(UserError, match="class 'f' of made also has a label of the"):
        draw(replace(data, labels=together))
    few = data.labels.copy()
    few[40:, 0] = 0
    with pytest.raises(UserError, match=r"'a' of made \(without images that .* too few"):
        draw(replace(data, labels=few), queries_per_class=10)


def folder_config(root, tmp_path, **changes):
    config = smoke.shrink(image_folder.get_config())
    config.data.root, config.data.cache_dir = str(root), str(tmp_path / "cache")
    config.update_from_flattened_dict(
        {"num_bits": 8, "data.image_size": 8, "data.queries_per_class": 3,
         "data.labeled_per_class": 4, "data.validation_per_class": 2,
         "data.validation_from": "unlabeled", "data.unseen_classes": 2} | changes
    )  # fmt: skip
    return config


def test_a_folder_with_images_that_never_had_a_label(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("a", "b", "c", "d", "unlabeled"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(12):
            pixels = rng.integers(0, 256, (8, 8, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / name / f"{number}.png")
    experiment = prepare(folder_config(tmp_path / "images", tmp_path), None)
    split, dataset = experiment.split, experiment.dataset
    assert not dataset.multi_label and split.protocol == "unseen 2 of 4, 6/8/18"
    assert len(split.unlabeled) == 2 * (12 - 3 - 4 - 2)  # none of the folder "unlabeled"
    assert (dataset.labels[split.training] >= 0).all()
    # Nothing is left as unlabeled where all of the seen classes is labeled.
    changes = {"data.labeled_per_class": 0, "data.validation_from": "labeled"}
    changes["consistency.batch_size"] = 8
    with pytest.raises(UserError, match="no unlabeled items: set consistency.batch_size to 0"):
        prepare(folder_config(tmp_path / "images", tmp_path, **changes), None)
    changes["consistency.batch_size"] = 0
    train(folder_config(tmp_path / "images", tmp_path, **changes), tmp_path / "run", {})
    assert evaluate_workdir(tmp_path / "run")["num_labeled"] == 2 * (12 - 3 - 2)


def test_splits_that_are_not_drawn_by_class(tmp_path):
    config = corpus.config(corpus.write(tmp_path / "corpus.jsonl"))
    config.data.unseen_classes = 2
    with pytest.raises(UserError, match="unseen_classes is 2, but the split of .* not drawn by"):
        prepare(config, None)


def config_of(kind):
    config = smoke.get_config()
    if kind in ("cnnh_plus", "cnnh"):
        config = smoke.shrink(cnnh_plus_digits_16bit.get_config())
        config.class_outputs = kind == "cnnh_plus"
    else:
        config.triplets = kind
    config.data.unseen_classes = 3
    return config


@pytest.mark.parametrize("kind", ["synthetic", "real", "cnnh", "cnnh_plus"])
def test_no_image_and_no_label_of_an_unseen_class_is_in_training(kind, tmp_path):
    experiment = prepare(config_of(kind), None)
    every, split = built_in.load("digits"), experiment.split
    hidden = [every.class_names.index(name) for name in split.unseen]
    assert len(hidden) == 3 and experiment.signature.num_classes == 7
    assert experiment.signature.class_names == experiment.dataset.class_names
    assert not set(experiment.signature.class_names) & set(split.unseen)
    for ids in (training_ids(experiment), split.validation):
        assert not np.isin(every.labels[ids], hidden).any()
        assert experiment.dataset.labels[ids].min() == 0
    if experiment.method.learn_targets is not None:
        codes, _ = experiment.method.learn_targets(experiment.dataset, split.labeled)
        assert len(np.unique(codes, axis=0)) == 7
    for stage in experiment.method.stages:
        if stage.batch.real_triplets or kind == "synthetic":
            batch = make_batch(experiment.dataset, split, stage.batch, 0)
            for name, labels in batch.items():
                if name.endswith("label"):
                    assert labels.shape[1] == 7 and (labels.sum(axis=1) == 1).all()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A workdir trained by the command, and what it said."""
    workdir = tmp_path_factory.mktemp("unseen") / "run"
    _, stderr = run("train.py", SMOKE, "--config.data.unseen_classes=3", f"--workdir={workdir}")
    return workdir, stderr


def test_the_commands(trained, tmp_path):
    workdir, said = trained
    split = load_split(workdir / "split.json")
    assert split.protocol.startswith("unseen 3 of 10, 30/140/") and split.protocol in said
    assert f"unseen      {', '.join(split.unseen)}\n" in said
    assert load_encoder(workdir).class_names == tuple(
        name for name in map(str, range(10)) if name not in split.unseen
    )
    stdout, _ = run("eval.py", f"--workdir={workdir}", "--report")
    result = json.loads((workdir / "eval.json").read_text())
    assert result["protocol"] == split.protocol and split.protocol in stdout
    assert result["unseen_classes"] == list(split.unseen)
    assert ", ".join(split.unseen) in stdout
    assert (result["num_queries"], result["num_labeled"]) == (30, 140)
    codes = np.load(workdir / "codes.npz")
    for role in ("query", "database"):
        assert {str(label) for label in codes[f"{role}_labels"]} == set(split.unseen)
    assert (workdir / "report/classes.png").is_file()


@pytest.mark.parametrize("baseline", ["itq", "lsh", "classifier"])
def test_baselines(trained, baseline):
    workdir, _ = trained
    run("eval.py", f"--workdir={workdir}", f"--baseline={baseline}")
    result = json.loads((workdir / f"eval_{baseline}.json").read_text())
    assert result["protocol"].startswith("unseen 3 of 10")
    assert result["map"] > 0.33  # chance


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (["unseen_classes=9"], "choose from 2 to 8, or 0 for none"),
        (["unseen_classes=1"], "unseen_classes is 1"),
        (["unseen_classes=-1"], "data.unseen_classes is -1"),
        (["unseen_classes=3", "queries_per_class=190"], "too few"),
        (["unseen_classes=3", "protocol=1000/5000/59000"], "leave data.protocol empty"),
    ],
)
def test_a_wrong_choice_is_refused_before_training(overrides, named, tmp_path):
    fields = [f"--config.data.{override}" for override in overrides]
    code, stderr = run_forked(tmp_path, "train.py", SMOKE, *fields, f"--workdir={tmp_path / 'r'}")
    assert named in only_sentence(code, stderr)
    assert not (tmp_path / "r").exists()


def test_the_split_of_another_run(trained, tmp_path):
    workdir, _ = trained
    config = smoke.get_config()
    config.data.split_file = str(workdir / "split.json")
    experiment = prepare(config, None)
    assert experiment.split.checksum == load_split(workdir / "split.json").checksum
    assert experiment.signature.num_classes == 7
    config.data.unseen_classes = 2
    with pytest.raises(UserError, match="data.unseen_classes is 2, but .* has 3; set it to 0"):
        prepare(config, None)


def test_configs_of_version_0_2_have_no_such_field(tmp_path):
    config = smoke.get_config()
    del config.data.unseen_classes
    assert prepare(config, None).split.unseen == ()

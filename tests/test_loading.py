"""Images from files as experiments: folders, lists and roles; the dry run; what users get wrong."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from configs import image_folder, nus_wide, smoke
from dsh_jax.data.images.cache import CachedImages
from dsh_jax.data.images.dataset import ImageFiles
from dsh_jax.data.loading import load_dataset
from dsh_jax.data.prefetch import stream
from dsh_jax.data.splits.from_lists import split_by_roles
from dsh_jax.encoder import load_encoder
from dsh_jax.errors import UserError
from dsh_jax.evaluation import evaluate_workdir
from dsh_jax.training import trainer
from dsh_jax.training.experiment import prepare
from dsh_jax.training.loop import train
from dsh_jax.training.preview import preview
from dsh_jax.training.trainer import stage_batches
from tests import corpus
from tests.commands import ROOT, only_sentence, run_forked

COLORS = {"green": (20, 180, 40), "red": (200, 30, 30), "blue": (30, 30, 210)}


def draw(path, color, seed):
    rng = np.random.default_rng(seed)
    pixels = np.clip(np.array(color) + rng.normal(0, 25, (20, 24, 3)), 0, 255).astype(np.uint8)
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three classes of 30 images, 12 without a label, and a file that is no image."""
    root = tmp_path_factory.mktemp("files") / "colors"
    root.mkdir()
    for name, color in COLORS.items():
        for number in range(30):
            draw(root / name / f"{number:02}.png", color, number)
        for number in range(4):
            draw(root / "unlabeled" / f"{name}{number}.png", color, 50 + number)
    (root / "red" / "broken.png").write_bytes(b"")
    return root


def config_of(root, tmp_path, **changes):
    config = smoke.shrink(image_folder.get_config())
    config.num_bits = 8
    config.data.root = str(root)
    config.data.cache_dir = str(tmp_path / "cache")
    config.data.image_size = 16
    config.data.queries_per_class, config.data.validation_per_class = 5, 5
    config.update_from_flattened_dict(changes)
    return config


def test_a_folder_is_trained_on_and_evaluated(folder, tmp_path):
    config = config_of(folder, tmp_path)
    train(config, tmp_path / "run", {"command": ""})
    result = evaluate_workdir(tmp_path / "run")
    assert load_encoder(tmp_path / "run").signature.labels == "single"  # also with unlabeled ones
    assert json.loads((tmp_path / "run/config.json").read_text())["loss"]["labels"] == "auto"
    assert result["dataset"] == "image_files" and result["protocol"] == "15/75/75"
    assert result["num_unlabeled"] == 12 and "ndcg_at_100" not in result
    # The labels moved with the images: neighbours in pixels share the class.
    itq = evaluate_workdir(tmp_path / "run", baseline="itq")
    assert itq["map"] > 0.9

    moved = folder.rename(folder.with_name("renamed"))
    try:
        again = evaluate_workdir(tmp_path / "run", data_dir=str(moved))
        assert again == result
        with pytest.raises(UserError, match=r"no longer at .*colors; say .* --data_dir\.$"):
            evaluate_workdir(tmp_path / "run")
        with pytest.raises(UserError, match="there is no --data_dir nowhere;"):
            evaluate_workdir(tmp_path / "run", data_dir="nowhere")
    finally:
        moved.rename(folder)


def test_without_unlabeled_images_one_label_each_is_one_label(folder, tmp_path):
    lines = ["path,labels"]
    lines += [f"{p.relative_to(folder).as_posix()},{p.parent.name}"
              for p in sorted(folder.glob("*/*.png")) if p.parent.name in COLORS]  # fmt: skip
    listing = tmp_path / "labels.csv"
    listing.write_text("\n".join(lines))
    config = config_of(listing, tmp_path, **{"data.image_root": str(folder)})
    experiment = prepare(config, tmp_path / "none")
    assert experiment.signature.labels == "single" and not experiment.dataset.multi_label
    assert any("broken.png" in line for line in experiment.dataset.skipped)
    # Strong views are of labeled images where there are no others.
    assert experiment.method.stages[-1].batch.unlabeled_batch_size == 24
    batch = next(stage_batches(experiment, experiment.method.stages[-1], range(1)))
    assert batch["unlabeled_image"].shape[1] == 24
    # If a number asks for unlabeled ones, that they cannot be had shows before training.
    config.consistency.batch_size = 8
    with pytest.raises(UserError, match="no unlabeled items: set consistency.batch_size to 0"):
        train(config, tmp_path / "run", {})
    assert not (tmp_path / "run").exists()


def test_streamed_images_give_the_same_batches(folder, tmp_path, monkeypatch):
    streamed = []
    monkeypatch.setattr(trainer, "stream", lambda *a: streamed.append(a) or stream(*a))
    batches, datasets = [], []
    for limit in (4.0, 1e-9):
        config = config_of(folder, tmp_path, **{"data.memory_limit_gb": limit})
        experiment = prepare(config, tmp_path / "none")
        datasets.append(experiment.dataset)
        stage = experiment.method.stages[0]
        made = stage_batches(experiment, stage, range(3, 7))
        batches.append([{k: np.asarray(v) for k, v in batch.items()} for batch in made])
    memory, files = datasets
    assert isinstance(memory.images, np.ndarray) and isinstance(files.images, CachedImages)
    assert len(streamed) == 1
    assert "kept in memory" in memory.storage and "streamed" in files.storage
    assert memory.version == files.version
    for one, other in zip(*batches, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])


def test_a_dry_run_counts_and_shows_and_trains_nothing(folder, tmp_path):
    workdir = tmp_path / "run"
    command = [sys.executable, "train.py", "--config", "configs/image_folder.py", "--workdir",
               str(workdir), f"--config.data.root={folder}", "--config.data.dry_run=True",
               f"--config.data.cache_dir={tmp_path / 'cache'}"]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in workdir.iterdir()} == {"preview.txt", "preview.png"}
    counts = {words[0]: words[1:] for words in map(str.split, done.stdout.splitlines()) if words}
    assert counts["green"][0] == "30" and counts["images"][0] == "102"
    assert counts["class"] == ["all", "query", "labeled", "unlabeled", "validation", "database"]
    assert counts["blue"] == ["30", "3", "24", "0", "3", "27"]
    assert "queries     9: a tenth of each class" in done.stdout
    assert "red/broken.png" in done.stdout
    with Image.open(workdir / "preview.png") as picture:
        assert picture.size[0] > 300

    # Counts come also where no split can be drawn, and say why.
    config = config_of(folder, tmp_path, **{"data.queries_per_class": 50})
    text, problems = preview(config, workdir)
    assert "images" in text and len(problems) == 1 and problems[0].startswith("Class 'blue' of")
    written = (workdir / "preview.txt").read_text()
    assert f"Training could not start:\n  {problems[0]}" in written
    # And training starts in the same workdir.
    train(config_of(folder, tmp_path), workdir, {"command": ""})


def nus_lists(folder, root):
    """The field's lists: two concepts, three images of each in both other lists."""
    files = sorted(root.glob("[gr]*/[0-9]*.png"))
    roles = {"test.txt": files[:5] + files[30:35], "train.txt": files[10:15] + files[40:45]}
    roles["database.txt"] = [f for f in files if f not in roles["test.txt"]]
    for name, members in roles.items():
        # The last image of a class is said to show both.
        lines = [f"{f.relative_to(root).as_posix()} {int(f.parent.name == 'green')} "
                 f"{int(f.parent.name == 'red' or f.stem == '29')}" for f in members]  # fmt: skip
        (folder / name).write_text("\n".join(lines) + "\n")


def test_lists_bring_their_split(folder, tmp_path):
    nus_lists(tmp_path, folder)
    config = smoke.shrink(nus_wide.get_config(48))
    config.data.update(root=str(tmp_path), image_root=str(folder), image_size=16,
                       cache_dir=str(tmp_path / "cache"), validation_per_class=4)  # fmt: skip
    experiment = prepare(config, tmp_path / "none")
    split, dataset = experiment.split, experiment.dataset
    assert isinstance(dataset, ImageFiles) and split.protocol == "10/10/50"
    assert {dataset.names[row] for row in split.query} == {
        line.split()[0] for line in (tmp_path / "test.txt").read_text().splitlines()
    }
    assert len(split.validation) == 8 and len(split.unlabeled) == 32
    assert not set(split.validation) & (set(split.labeled) | set(split.query))
    assert experiment.signature.labels == "multi"


def test_invalid_roles(folder, tmp_path):
    dataset = load_dataset(config_of(folder, tmp_path).data)
    n = len(dataset)
    roles = {name: np.zeros(n, bool) for name in ("query", "labeled", "database")}
    options = {"seed": 0, "validation_per_class": 2}
    with pytest.raises(UserError, match="name no query image"):
        split_by_roles(dataset, roles, **options)
    roles["query"][:5] = roles["labeled"][4:20] = roles["database"][10:] = True
    with pytest.raises(UserError, match="1 queries of colors are also labeled"):
        split_by_roles(dataset, roles, **options)
    roles["query"][4] = False
    with pytest.raises(UserError, match="data.validation_per_class is 40, 120 images .* 13 or"):
        split_by_roles(dataset, roles, seed=0, validation_per_class=40)
    split = split_by_roles(dataset, roles, **options)
    assert len(split.validation) == 6 and set(split.validation) <= set(range(20, n))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data.root": ""}, "data.root is empty"),
        ({"data.root": "nowhere"}, "nowhere"),
        ({"data.image_size": 4}, "data.image_size is 4"),
        ({"data.queries_per_class": 40}, "Class 'blue' of colors has 30 items"),
    ],
)
def test_what_users_get_wrong(folder, tmp_path, changes, message):
    with pytest.raises(UserError, match=message) as caught:
        train(config_of(folder, tmp_path, **changes), tmp_path / "run", {})
    assert "\n" not in str(caught.value) and not (tmp_path / "run").exists()


def test_several_labels(folder, tmp_path):
    """Sigmoids, no consistency, the full similarity matrix: all without being asked for."""
    rows = [(p, f"{p.parent.name};warm" if p.parent.name == "red" else p.parent.name)
            for p in sorted(folder.glob("*/[0-9]*.png"))]  # fmt: skip
    file = tmp_path / "colors.csv"
    lines = ["path,labels", *(f"{p.relative_to(folder).as_posix()},{labels}" for p, labels in rows)]
    file.write_text("\n".join(lines))
    config = config_of(file, tmp_path, **{"data.image_root": str(folder)})
    experiment = prepare(config, None)
    assert experiment.signature.labels == "multi" and len(experiment.method.stages) == 1
    config.method = "cnnh"
    assert prepare(config, None).method.codes == "cnnh_plus"
    config.loss.labels = "single"
    with pytest.raises(UserError, match="loss.labels is 'single', but colors has items with sever"):
        prepare(config, None)


def test_a_dry_run_of_documents(tmp_path):
    rows = corpus.lines()
    config = corpus.config(corpus.write(tmp_path / "c.jsonl", rows))
    config.data.dry_run = True
    text, problems = preview(config, tmp_path / "run")
    assert problems == [] and [p.name for p in (tmp_path / "run").iterdir()] == ["preview.txt"]
    assert (tmp_path / "run/preview.txt").read_text() == f"{text}\n"
    counts = {words[0]: words[1:] for words in map(str.split, text.splitlines()) if words}
    fruit = [row for row in rows if "fruit" in row["tags"]]
    assert counts["fruit"][:2] == [str(len(fruit)), str(sum(row["test"] for row in fruit))]
    assert counts["documents"][0] == "150" and counts["(no"][1] == "9"
    assert "2 documents have none of them" in text and "in the most documents: " in text
    assert f"  0 [{', '.join(rows[0]['tags'])}] {rows[0]['text'][:20]}" in text


def test_a_dry_run_lists_all_that_training_would_refuse(tmp_path):
    config = corpus.config(corpus.write(tmp_path / "c.jsonl"), num_bits=100)
    config.data.validation_share = 0.0
    config.metrics = ("no_module:f",)
    config.data.token_pattern, config.codes.iterations, config.seed = "(", 0, -1
    text, problems = preview(config, tmp_path / "run")
    told = "\n".join(problems)
    assert [line.split(" ")[0] for line in problems] == [
        "seed", "codes.iterations", "data.token_pattern", "metrics",
    ]  # fmt: skip
    assert "Nothing can be shown" in text
    config.data.token_pattern, config.codes.iterations, config.seed = r"\w+", 1, 0
    text, problems = preview(config, tmp_path / "run")
    told = "\n".join(problems)
    assert len(problems) == 2 and "metrics has 'no_module:f'" in told
    assert "leaves 0 validation items" in told and "fruit" in text
    config.data.validation_share, config.metrics = 0.1, ()
    (problem,) = preview(config, tmp_path / "run")[1]
    assert problem.startswith("num_bits is 100, but ")


def test_a_dry_run_of_a_file_with_mistakes(tmp_path):
    lines = [json.dumps(row) for row in corpus.lines()]
    lines[3:15] = ['{"id": 1}'] * 12
    (tmp_path / "c.jsonl").write_text("\n".join(lines))
    code, stderr = run_forked(
        tmp_path, "train.py", f"--config={ROOT}/configs/shttm_reuters_32bit.py",
        "--config.data.source=jsonl", f"--config.data.data_dir={tmp_path / 'c.jsonl'}",
        "--config.data.dry_run=True", f"--workdir={tmp_path / 'run'}",
    )  # fmt: skip
    sentence = only_sentence(code, stderr)
    assert sentence == "error: training could not start (preview.txt has it all):"
    told = stderr.partition(sentence)[2].split("\n  ")[1:]
    assert told[0].startswith(f"12 lines of {tmp_path}/c.jsonl are wrong: write lines like")
    assert told[1] == 'line 4 has no "text"' and told[-1].strip() == "and 3 more"
    assert (tmp_path / "run/preview.txt").read_text().count('has no "text"') == 12

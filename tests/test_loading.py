"""Images from files as experiments: folders, lists and roles; the dry run; what users get wrong."""

import json
import subprocess
import sys
from pathlib import Path

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
from dsh_jax.training import loop
from dsh_jax.training.experiment import prepare, preview
from dsh_jax.training.loop import stage_batches, train

ROOT = Path(__file__).parents[1]
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
    assert load_encoder(tmp_path / "run").signature.labels == "multi"  # some images have no label
    assert json.loads((tmp_path / "run/config.json").read_text())["loss"]["labels"] == "auto"
    assert result["dataset"] == "colors" and result["protocol"] == "15/75/75"
    assert result["num_unlabeled"] == 12 and "ndcg_at_100" not in result
    # The labels moved with the images: neighbours in pixels share the class.
    itq = evaluate_workdir(tmp_path / "run", baseline="itq")
    assert itq["map"] > 0.9

    moved = tmp_path / "moved" / "colors"
    moved.parent.mkdir()
    folder.rename(moved)
    try:
        again = evaluate_workdir(tmp_path / "run", data_dir=str(moved))
        assert again == result
        with pytest.raises(UserError, match="colors"):
            evaluate_workdir(tmp_path / "run")
    finally:
        moved.rename(folder)


def test_without_unlabeled_images_one_label_each_is_one_label(folder, tmp_path):
    lines = ["path,labels"]
    lines += [f"{p.relative_to(folder).as_posix()},{p.parent.name}"
              for p in sorted(folder.glob("*/*.png")) if p.parent.name in COLORS]  # fmt: skip
    listing = tmp_path / "labels.csv"
    listing.write_text("\n".join(lines))
    changes = {"data.image_root": str(folder), "unlabeled_batch_size": 0}
    config = config_of(listing, tmp_path, **changes)
    experiment = prepare(config, tmp_path / "none")
    assert experiment.signature.labels == "single" and not experiment.dataset.multi_label
    assert any("broken.png" in line for line in experiment.dataset.skipped)
    # With no unlabeled image a batch of them cannot be made, and that shows before training.
    config.unlabeled_batch_size = 8
    with pytest.raises(UserError, match="no unlabeled images: set unlabeled_batch_size to 0"):
        train(config, tmp_path / "run", {})
    assert not (tmp_path / "run").exists()


def test_streamed_images_give_the_same_batches(folder, tmp_path, monkeypatch):
    streamed = []
    monkeypatch.setattr(loop, "stream", lambda *a: streamed.append(a) or stream(*a))
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
    assert counts["blue"] == ["30", "10", "10", "0", "10", "20"]
    assert "red/broken.png" in done.stdout
    with Image.open(workdir / "preview.png") as picture:
        assert picture.size[0] > 300

    # Counts come also where no split can be drawn, and say why.
    config = config_of(folder, tmp_path, **{"data.queries_per_class": 50})
    assert "There is no split yet: Class" in preview(config, workdir)
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
        ({"loss.labels": "single"}, "loss.labels is 'single', but colors has several labels"),
        ({"data.queries_per_class": 40}, "Class 'blue' of colors has 30 images"),
    ],
)
def test_what_users_get_wrong(folder, tmp_path, changes, message):
    with pytest.raises(UserError, match=message) as caught:
        train(config_of(folder, tmp_path, **changes), tmp_path / "run", {})
    assert "\n" not in str(caught.value) and not (tmp_path / "run").exists()


def test_a_dry_run_of_documents(tmp_path):
    from tests import corpus

    config = corpus.config(corpus.write(tmp_path / "c.jsonl"))
    with pytest.raises(UserError, match="data.dry_run shows images, and jsonl has none"):
        preview(config, tmp_path / "run")

"""The page "Your own images, by the evening", followed word by word with a tiny network."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.commands import ROOT, only_sentence, run_forked
from tests.pretrained_files import write

PAGE = (ROOT / "docs/own_images.md").read_text()
BLOCKS = re.findall(r"```\n(.*?)```", PAGE, re.DOTALL)
LINES = [line for block in BLOCKS for line in block.replace("\\\n", "").splitlines()]
COMMANDS = [shlex.split(line)[1:] for line in LINES if line.startswith("python ")]
SMALL = ["--config.num_steps=4", "--config.eval_every_steps=4", "--config.batch_size=8",
         "--config.num_bits=8"]  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("evening")
    rng = np.random.default_rng(0)
    for label, name in enumerate(("dark", "light", "unlabeled")):
        (root / "photos" / name).mkdir(parents=True)
        for number in range(10):
            pixels = rng.integers(0, 120, (30, 40, 3)) + 120 * (label % 2)
            Image.fromarray(pixels.astype(np.uint8)).save(root / f"photos/{name}/{number}.png")
    write(root / "weights.safetensors", "tiny_resnet")
    return root


def here(command, place):
    """A command of the page with the places and the sizes of this test."""
    places = {"runs/mine": place / "mine", "runs/mine.index": place / "mine.index",
              "DIR": place / "photos", "a.png": place / "photos/dark/0.png",
              "answer.png": place / "answer.png"}  # fmt: skip
    words = [str(places.get(word, word)) for word in command]
    words = [word.replace("root=DIR", f"root={place / 'photos'}") for word in words]
    if words[0] == "train.py":
        # resnet50 takes any size too; its weights would be downloaded.
        words = [word.replace("resnet50", "tiny_resnet") for word in words]
        words += [*SMALL, "--config.data.image_size=32", f"--config.data.cache_dir={place}/cache",
                  f"--config.pretrained.weights={place}/weights.safetensors"]  # fmt: skip
    return words


@pytest.mark.long
def test_the_page_is_followed_word_by_word(place):
    assert [command[0] for command in COMMANDS] == [
        "train.py", "train.py", "eval.py", "search.py", "search.py"
    ]  # fmt: skip
    for command in COMMANDS:
        assert "resnet50" in " ".join(command) or command[0] != "train.py"
        code, said = run_forked(place, *here(command, place))
        assert code == 0, (command, said)
    made = ("mine/preview.png", "mine/eval.json", "mine/report/report.html", "answer.png")
    assert all((place / name).exists() for name in made)
    assert len(list((place / "cache").glob("photos-*.npy"))) == 1


def test_the_configs_that_the_page_names_are_there():
    named = re.findall(r"configs/\w+\.py", PAGE)
    assert len(set(named)) == 3 and all(Path(ROOT / name).exists() for name in named)


def test_weights_that_do_not_fit_end_the_command_with_one_sentence(place, tmp_path):
    write(tmp_path / "other.safetensors", "tiny_vit")
    words = here(COMMANDS[1], place)
    words = [word.replace(f"{place}/weights", f"{tmp_path}/other") for word in words]
    words = [word.replace(f"{place}/mine", f"{tmp_path}/mine") for word in words]
    said = only_sentence(*run_forked(tmp_path, *words))
    assert "the first missing is bn1.bias; the first unexpected is blocks.0.attn" in said
    assert not (tmp_path / "mine").exists()

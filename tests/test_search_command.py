"""`search.py` from images or documents to answers, and what it refuses."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from dsh_jax import hamming, load_encoder
from dsh_jax.errors import UserError
from dsh_jax.search import arguments, building, command
from dsh_jax.search.combining import combine
from dsh_jax.search.index import open_index
from tests.commands import FORKS, ROOT, only_sentence, run_forked
from tests.messages import one_sentence
from tests.search_indexes import Words, shown, slow_search

MODEL = ROOT / "examples/digits_16bit.safetensors"
DIGITS = load_digits()
PIXELS = (DIGITS.images * 255 / 16).round().astype(np.uint8)


@pytest.fixture(scope="module")
def encoder():
    return load_encoder(MODEL)


@pytest.fixture(autouse=True)
def _loaded_once(encoder, monkeypatch):
    def load(model):
        return encoder if str(model) == str(MODEL) else load_encoder(model)

    monkeypatch.setattr("dsh_jax.encoder.load_encoder", load)


def write_images(folder, rows):
    for row in rows:
        place = folder / str(DIGITS.target[row])
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(PIXELS[row]).save(place / f"{row:04}.png")
    return folder


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A folder of 200 digits by class, with some that are nothing; no test changes it."""
    folder = write_images(tmp_path_factory.mktemp("images") / "digits", range(200))
    Image.fromarray(PIXELS[200]).save(folder / "alone.png")
    (folder / "0/empty.png").touch()
    (folder / "0/text.png").write_text("no image")
    (folder / "0/notes.txt").write_text("no image")
    (folder / "0/.hidden.png").write_text("no image")
    shutil.copytree(folder / "1", folder / "unlabeled")
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory, images, encoder):
    uri = tmp_path_factory.mktemp("indexed") / "index"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dsh_jax.encoder.load_encoder", lambda _: encoder)
        assert call("index", "--model", MODEL, "--images", images, "--index", uri) == 0
    return uri


@pytest.fixture
def uri(made, tmp_path):
    return Path(shutil.copytree(made, tmp_path / "index"))


def call(*options):
    """The exit code of a command line, run in this process."""
    parsed = arguments.parse([str(option) for option in options])
    return command.VERBS[parsed.verb](parsed)


def printed(capsys, *options):
    capsys.readouterr()
    assert call(*options) == 0
    return capsys.readouterr().out.splitlines()


def refusal(*options, parts=()):
    return one_sentence(lambda: call(*options), *parts)


def test_an_index_holds_every_image_with_its_label(made, images, encoder):
    with open_index(made) as index:
        items = {item.id: item for item in index}
        assert index.check() == [] and index.manifest.fingerprint == encoder.fingerprint
        assert index.manifest.model == str(MODEL)
    paths = sorted(path for path in images.rglob("*.png") if path.name[0] in "0a")
    assert sorted(items) == [path.relative_to(images).as_posix() for path in paths]
    codes = encoder.encode(paths)
    for path, code in zip(paths, codes, strict=True):
        item = items[path.relative_to(images).as_posix()]
        assert (item.path, item.code) == (str(path), code.tobytes())
        folder = path.parent.name
        assert item.labels == ((folder,) if folder.isdecimal() else ())


def test_run_again_it_adds_what_is_new_or_changed_and_drops_what_is_gone(
    uri, images, tmp_path, capsys, encoder
):
    folder = Path(shutil.copytree(images, tmp_path / "digits"))
    command_line = ["--model", MODEL, "--images", folder, "--index", uri, "--once"]
    count = len(list(images.rglob("*.png"))) - 3
    [line] = printed(capsys, "index", *command_line)  # the same images at another place
    assert line.startswith(f"0 added, {count} changed, 0 unchanged, 0 dropped, 2 unreadable")
    [line] = printed(capsys, "index", *command_line)
    assert line.startswith(f"0 added, 0 changed, {count} unchanged, 0 dropped, 2 unreadable")
    write_images(folder, range(300, 310))
    Image.fromarray(PIXELS[5]).save(folder / "alone.png")
    os.utime(folder / "alone.png", ns=(1, 1))
    gone = sorted((folder / "unlabeled").iterdir())
    for path in gone:
        path.unlink()
    [line] = printed(capsys, "index", *command_line)
    assert line.startswith(f"10 added, 1 changed, {count - len(gone) - 1} unchanged, "
                           f"{len(gone)} dropped, 2 unreadable")  # fmt: skip
    with open_index(uri) as index:
        assert len(index) == count + 10 - len(gone)
        [item] = index.get(["alone.png"])
        assert item.code == encoder.encode(folder / "alone.png").tobytes()
        assert item.path == str(folder / "alone.png")
    [line] = printed(capsys, "add", "--images", write_images(tmp_path / "b", [400]),
                     "--index", uri, "--once")  # fmt: skip
    assert line.startswith("1 added, 0 changed, 0 unchanged, 0 dropped")


def test_another_folder_does_not_empty_an_index(uri, tmp_path):
    other = write_images(tmp_path / "other", range(500, 503))
    refusal("index", "--model", MODEL, "--images", other, "--index", uri,
            parts=("not one of the", "search.py add"))  # fmt: skip
    with open_index(uri) as index:
        assert len(index) > 200


def test_a_query_by_image_id_or_code_is_the_slow_search(made, images, encoder, capsys):
    image = images / "3/0003.png"
    code = encoder.encode(image)
    with open_index(made) as index:
        items = list(index)
    wanted = slow_search(items, code[0], 16, 10)
    for term in (["--image", image], ["--id", "3/0003.png"], ["--code", code.tobytes().hex()]):
        lines = printed(capsys, "query", "--index", made, *term, "--json")
        found = [json.loads(line) for line in lines]
        assert [(hit["distance"], hit["id"]) for hit in found] == wanted
    assert found[0]["path"] == str(images / found[0]["id"]) and found[0]["labels"]
    lines = printed(capsys, "query", "--index", made, "--image", image, "--paths", "--radius", 4)
    wanted = slow_search(items, code[0], 16, None, 4)
    assert lines == [str(images / name) for _, name in wanted]
    lines = printed(
        capsys, "query", "--index", made, "--id", "3/0003.png", "--label", "8", "--label", "9",
        "--max-distance", 11, "--unique", 1, "--top", 4,
    )  # fmt: skip
    wanted = slow_search(items, code[0], 16, None, 11, ("8", "9"), 1)[:4]
    assert [line.split()[:2] for line in lines] == [[str(d), name] for d, name in wanted] != []


def test_weights_and_minus_signs(made, images, encoder, capsys):
    terms = ["--image", images / "3/0003.png", "--weight", 2, "--id", "8/0008.png", "--weight=-0.5"]
    first = encoder.relaxed(images / "3/0003.png")[0]
    second = hamming.unpack(encoder.encode(images / "8/0008.png"), 16)[0]
    code = np.packbits(2 * (2 * first - 1) - 0.5 * (2.0 * second - 1) > 0)
    with open_index(made) as index:
        wanted = slow_search(list(index), code, 16, 10)
    lines = printed(capsys, "query", "--index", made, *terms)
    assert [line.split()[:2] for line in lines] == [[str(d), name] for d, name in wanted]


def test_one_item_has_its_own_code_and_its_opposite(encoder):
    relaxed = encoder.relaxed(PIXELS[:20, ..., None])
    for row, code in zip(relaxed, encoder.encode(PIXELS[:20, ..., None]), strict=True):
        assert (combine([row], [0.3]) == code).all() and (combine([row], [-1]) == ~code).all()
    assert combine([np.array([1, 0, 1, 0]), np.array([1, 1, 0, 0])], [1, -1]).tolist() == [[0x20]]
    for arguments_ in (([], []), ([relaxed[0]], [np.inf]), ([relaxed[0]], [1, 2])):
        with pytest.raises(ValueError, match="finite weights"):
            combine(*arguments_)


def test_a_picture_of_the_answer(made, images, tmp_path, capsys):
    picture = tmp_path / "new/answer.png"
    printed(capsys, "query", "--index", made, "--image", images / "alone.png", "--show", picture,
            "--top", 7)  # fmt: skip
    grid = np.asarray(Image.open(picture).convert("L"))
    assert grid.shape == (3 * 162 + 6, 6 * 134 + 6)
    large = Image.open(images / "alone.png").resize((128, 128), Image.Resampling.LANCZOS)
    query = np.asarray(large)
    assert np.abs(grid[8:132, 8:132].astype(int) - query[2:126, 2:126]).mean() < 2


def test_info_check_delete_and_compact(uri, capsys):
    assert printed(capsys, "check", "--index", uri)[0].endswith("nothing is wrong")
    facts = json.loads(printed(capsys, "info", "--index", uri, "--json", "--labels")[0])
    assert facts["num_bits"] == 16 and facts["kind"] == "flat" and facts["labels"]["3"] > 10
    assert any("labels" in line for line in printed(capsys, "info", "--index", uri, "--labels"))
    names = uri / "../names.txt"
    names.write_text("3/0003.png\n\nalone.png\n")
    printed(capsys, "delete", "--index", uri, "--ids", names, "--id", "8/0008.png")
    printed(capsys, "compact", "--index", uri)
    with open_index(uri) as index:
        assert len(index) == facts["items"] - 3 and index.info()["generation"] == 1
    (uri / "codes-1.faiss").write_bytes((uri / "codes-1.faiss").read_bytes()[:-1] + b"\xff")
    assert call("check", "--index", uri) == 1
    assert "checksum" in capsys.readouterr().out


def test_documents_and_their_metadata(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("dsh_jax.encoder.load_encoder", lambda _: Words())
    lines = [
        {"id": 7, "text": "a  b\n" + "c " * 200, "tags": ["x"], "year": 1987},
        {"id": "d2", "text": "h", "labels": ["x", "y"]},
        {"id": "d3", "text": ""},
    ]
    source, uri = tmp_path / "docs.jsonl", tmp_path / "index"
    source.write_text("\n".join(map(json.dumps, lines)) + "\n")
    options = ["--model", "words", "--jsonl", source, "--index", uri, "--once"]
    printed(capsys, "index", *options)
    [line] = printed(capsys, "query", "--index", uri, "--text", "cab", "--top", 1, "--json")
    hit = json.loads(line)
    assert (hit["distance"], hit["id"], hit["labels"]) == (0, "7", ["x"])
    assert hit["metadata"] == {"year": 1987}
    assert hit["text"].startswith("a b c c") and hit["text"].endswith("…")
    assert len(hit["text"]) < 202
    source.write_text(json.dumps(lines[0] | {"text": "h"}) + "\n" + json.dumps(lines[2]))
    [line] = printed(capsys, "index", *options)
    assert line.startswith("0 added, 1 changed, 1 unchanged, 1 dropped")
    refusal("query", "--index", uri, "--image", "a.png", parts=("documents", "images"))
    refusal("query", "--index", uri, "--id", "7", "--show", tmp_path / "x.png", parts=("--show",))
    images = write_images(tmp_path / "images", [1])
    refusal("add", "--images", images, "--index", uri, parts=("documents", "images"))
    other = tmp_path / "other"
    refusal("index", "--images", images, "--index", other, "--model", "words", parts=("documents",))
    assert not other.exists()


def test_codes_of_your_own(tmp_path, capsys):
    codes = hamming.pack(np.random.default_rng(0).integers(0, 2, (30, 12)))
    labels = np.array(["a;b", "", *["c"] * 28])
    np.savez(tmp_path / "codes.npz", codes=codes, labels=labels, num_bits=12, fingerprint="e" * 64)
    uri = tmp_path / "index"
    printed(capsys, "index", "--codes", tmp_path / "codes.npz", "--index", uri, "--kind", "ivf")
    with open_index(uri) as index:
        assert (index.num_bits, index.manifest.fingerprint) == (12, "e" * 64)
        assert shown(index.search(codes[:1], top=1)[0]) == [(0, "0")]
        assert index.labels() == {"a": 1, "b": 1, "c": 28}
    refusal("query", "--index", uri, "--image", "a.png", parts=("--model",))
    for code in ("00", "0001", "xyzw"):
        refusal("query", "--index", uri, "--code", code, parts=("12 bits", "4 hex"))
    refusal("query", "--index", uri, "--image", "a.png", "--model", MODEL, parts=("16 bits", "12"))
    np.savez(tmp_path / "old.npz", database_codes=codes, database_ids=np.arange(30) + 5,
             database_labels=np.eye(30, 3, dtype=np.uint8), num_bits=12)  # fmt: skip
    printed(capsys, "index", "--codes", tmp_path / "old.npz", "--index", tmp_path / "old")
    with open_index(tmp_path / "old") as index:
        assert len(index) == 30 and index.get(["6"])[0].labels == ("1",)


@pytest.mark.parametrize("arrays, part", [
    ({"code": np.zeros((2, 2), np.uint8)}, "'codes'"),
    ({"codes": np.zeros((2, 2))}, "codes"),
    ({"codes": np.zeros((2, 2), np.uint8), "ids": np.array(["a", "a"])}, "different"),
    ({"codes": np.zeros((2, 2), np.uint8), "ids": np.arange(3)}, "ids"),
    ({"codes": np.zeros((0, 2), np.uint8)}, "no codes"),
    ({"codes": np.array([{}], object)}, "allow_pickle"),
])  # fmt: skip
def test_files_of_codes_that_are_none(tmp_path, arrays, part):
    np.savez(tmp_path / "codes.npz", **arrays)
    message = refusal("index", "--codes", tmp_path / "codes.npz", "--index", tmp_path / "i")
    assert part in message or part == "allow_pickle"
    assert not (tmp_path / "i").exists()


@pytest.mark.parametrize("line, part", [
    ("{", "line 2"), ("[]", "line 2"), ('{"id": "x"}', "neither"), ('{"text": 3}', "neither"),
    ('{"id": "a", "text": "x"}', "again"), ('{"text": "x"}', "id"),
    ('{"id": "b", "text": "x", "labels": "y"}', "labels"),
    ('{"id": "b\\n", "text": "x"}', "control"), ('{"path": "a.png"}', "documents and images"),
])  # fmt: skip
def test_lines_that_are_no_items(tmp_path, line, part):
    Image.fromarray(PIXELS[0]).save(tmp_path / "a.png")
    (tmp_path / "docs.jsonl").write_text('{"id": "a", "text": "x"}\n' + line + "\n")
    refusal("index", "--jsonl", tmp_path / "docs.jsonl", "--model", MODEL, "--index",
            tmp_path / "i", parts=(part,))  # fmt: skip


@pytest.mark.parametrize("options, parts", [
    (["query", "--index", "{uri}"], ("nothing is asked",)),
    (["query", "--index", "{uri}", "--id", "../../etc/passwd"], ("passwd", "no item")),
    (["query", "--index", "{uri}", "--weight", "2"], ("--weight",)),
    (["query", "--index", "{uri}", "--id", "alone.png", "--weight", "nan"], ("'nan'",)),
    (["query", "--index", "{uri}", "--id", "alone.png", "--top", "0"], ("'0'",)),
    (["query", "--index", "{uri}", "--id", "alone.png", "--radius", "-1"], ("-1",)),
    (["query", "--index", "{uri}", "--id", "a", "--radius", "1", "--max-distance", "2"], ("--ra",)),
    (["query", "--index", "{uri}", "--image", "{images}/0/text.png"], ("not an image",)),
    (["query", "--index", "{uri}", "--image", "{images}/0/empty.png"], ("empty",)),
    (["query", "--index", "{uri}", "--image", "{images}/none.png"], ("no such file",)),
    (["query", "--index", "{uri}", "--image", "{images}/bomb.png"], ("too large",)),
    (["query", "--index", "{uri}", "--text", "words"], ("images", "documents")),
    (["query", "--index", "{images}/none", "--id", "a"], ("no index",)),
    (["index", "--index", "{uri}", "--images", "{images}"], ("--model",)),
    (["index", "--index", "{uri}", "--images", "{images}", "--kind", "ivf"], ("--kind", "compact")),
    (["index", "--index", "{uri}", "--images", "{images}/none", "--model", "m"], ("none",)),
    (["delete", "--index", "{uri}", "--id", "none"], ("'none'",)),
    (["delete", "--index", "{uri}"], ("--id",)),
    (["compact", "--index", "{uri}", "--kind", "tree"], ("'tree'",)),
    (["compact", "--index", "{uri}", "--set", "probes"], ("'probes'",)),
    (["encode", "--parts", "p", "--shard", "2/2", "--images", "d"], ("'2/2'",)),
    (["quer"], ("quer",)),
])  # fmt: skip
def test_mistakes_are_one_sentence(made, images, tmp_path, options, parts):
    places = tmp_path / "images"
    shutil.copytree(images / "0", places / "0")
    if "bomb" in str(options):
        Image.new("1", (9_500, 9_500)).save(places / "bomb.png")
    filled = [option.format(uri=made, images=places) for option in options]
    with pytest.raises(UserError) as caught:
        call(*filled)
    message = str(caught.value)
    assert all(part in message for part in parts) and message.endswith("."), message


def test_parts_of_two_processes_make_the_same_index(made, images, tmp_path, capsys):
    source = ["--model", MODEL, "--images", images, "--parts", tmp_path / "parts", "--once"]
    workers = [
        FORKS.Process(target=encode_shard, args=([*map(str, source)], f"{shard}/2"))
        for shard in range(2)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
        assert worker.exitcode == 0
    files = sorted((tmp_path / "parts").iterdir())
    assert {path.name[:11] for path in files} == {"part-0-of-2", "part-1-of-2"}
    [line] = printed(capsys, "encode", *source, "--shard", "1/2")
    assert line.startswith("0 added, 0 changed") and sorted(files[0].parent.iterdir()) == files
    files[0].unlink()  # it encodes what is missing, and nothing else
    [line] = printed(capsys, "encode", *source, "--shard", "0/2", "--batch", 16)
    assert not line.startswith("0 added") and ", 0 changed" in line
    printed(capsys, "index", "--parts", tmp_path / "parts", "--index", tmp_path / "i", "--model",
            MODEL)  # fmt: skip
    with open_index(tmp_path / "i") as index, open_index(made) as wanted:
        assert list(index) == list(wanted) and index.manifest == wanted.manifest
    part = next((tmp_path / "parts").glob("*.npz"))
    part.write_bytes(part.read_bytes()[:200])
    refusal("index", "--parts", tmp_path / "parts", "--index", tmp_path / "j", parts=(part,))


def encode_shard(source, shard):
    call("encode", *source, "--shard", shard, "--batch", 40)


def test_stopped_while_encoding_it_goes_on(images, made, tmp_path, monkeypatch):
    """The commits before the stop are kept, and nothing of them is encoded again."""
    options = ["index", "--model", MODEL, "--images", images, "--index", tmp_path / "i",
               "--batch", 50]  # fmt: skip
    encoded = []
    original = building.encode_with

    def counting(stop_after):
        def encode_with(*arguments):
            encode = original(*arguments)

            def counted(entries):
                if len(encoded) == stop_after:
                    raise KeyboardInterrupt
                encoded.append([entry.id for entry in entries])
                return encode(entries)

            return counted

        return encode_with

    monkeypatch.setattr(building, "encode_with", counting(2))
    with pytest.raises(KeyboardInterrupt):
        call(*options)
    with open_index(tmp_path / "i") as index:
        assert {item.id for item in index} <= {*encoded[0], *encoded[1]} and len(index) >= 90
    first = {name for names in encoded for name in names}
    encoded.clear()
    monkeypatch.setattr(building, "encode_with", counting(-1))
    call(*options)
    again = first & {name for names in encoded for name in names}
    assert {Path(name).stem for name in again} <= {"empty", "text"}
    with open_index(tmp_path / "i") as index, open_index(made) as wanted:
        assert list(index) == list(wanted)


def test_the_script_itself(made, tmp_path):
    code, stderr = run_forked(tmp_path, "search.py", "query", f"--index={made}", "--id=alone.png")
    assert code == 0, stderr
    lines = (tmp_path / "output.out").read_text().splitlines()
    assert len(lines) == 10 and lines[0].split()[0] == "0"
    code, stderr = run_forked(tmp_path, "search.py", "query", f"--index={made}", "--id=none")
    assert "'none'" in only_sentence(code, stderr)


def test_help_is_quick_because_it_imports_nothing_slow():
    code = (
        "import sys; from dsh_jax.search import arguments, command\n"
        "arguments.parser().format_help()\n"
        "print([name for name in ('jax', 'faiss', 'numpy', 'PIL', 'tqdm') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


PAGE = (ROOT / "docs/search.md").read_text()
COMMANDS = re.findall(r"^python search.py (.*?)(?: &)?$", PAGE, re.MULTILINE)


@pytest.mark.parametrize("line", COMMANDS)
def test_every_documented_command_is_one(line):
    options = arguments.parse(shlex.split(line))
    assert options.verb in command.VERBS


def test_the_documented_lines_of_python(made, images, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(made, "runs/mine.index")
    shutil.copy(MODEL, "runs/mine")  # a file has the name of the workdir
    shutil.copy(images / "3/0003.png", "a.png")
    own, block = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    exec(block, {})
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[0] == "0" and "'3'" in lines[0]
    exec(own, {"codes": np.zeros((3, 2), np.uint8)})
    printed(capsys, "index", "--codes", "codes.npz", "--index", "own.index")
    with open_index("own.index") as index:
        assert index.labels() == {"x": 2, "y": 1} and index.num_bits == 16

"""CIFAR-10 from its binary archive: the download, from a server of the test's, and the reading."""

import functools
import gzip
import hashlib
import http.server
import importlib.util
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import threading
from pathlib import Path

import numpy as np
import pytest

from dsh_jax.data.images import built_in as sources
from dsh_jax.data.images import cifar10_archive
from dsh_jax.data.images.cifar10_archive import NAME, VERSION, fetch, read
from dsh_jax.errors import UserError

ROOT = Path(__file__).parents[1]
FOLDER = "cifar-10-batches-bin"
FILES = [f"{FOLDER}/data_batch_{number}.bin" for number in range(1, 6)]
FILES += [f"{FOLDER}/test_batch.bin"]
META, README = f"{FOLDER}/batches.meta.txt", f"{FOLDER}/readme.html"
CLASS_NAMES = "airplane automobile bird cat deer dog frog horse ship truck".split()
RECORDS = 4  # in each file
TFDS_DIR = ROOT.parent / "shared/data/tfds"


def contents(records=RECORDS, seed=0):
    """Every file of the official layout by its name; random records."""
    rng = np.random.default_rng(seed)
    files = {}
    for name in FILES:
        made = rng.integers(0, 256, (records, 3073), np.uint8)
        made[:, 0] %= 10
        files[name] = made.tobytes()
    files[META] = "".join(f"{name}\n" for name in CLASS_NAMES).encode() + b"\n"
    files[README] = b"<html></html>"
    # In the official archive, too, the files are not in the order of their numbers.
    order = (FILES[0], META, FILES[2], FILES[3], FILES[5], README, FILES[4], FILES[1])
    return {name: files[name] for name in order}


def packed(files, kinds=None):
    """A .tar.gz of these files; `kinds` gives some of them another type than a regular file."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        folder = tarfile.TarInfo(FOLDER)
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.type = (kinds or {}).get(name, tarfile.REGTYPE)
            member.size = len(content) if member.isreg() else 0
            member.linkname = "" if member.isreg() else FILES[0]
            tar.addfile(member, io.BytesIO(content))
    return gzip.compress(buffer.getvalue(), compresslevel=1, mtime=0)


ARCHIVE = packed(contents())
CHECKSUM = "md5:" + hashlib.md5(ARCHIVE).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """Serves what `files` has by path, and records (path, Range header) of each request.

    Attributes:
      ranges: whether it understands ranges.
      breaks: by path, after how many bytes of each answer to close the connection.
    """

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.breaks, self.requests, self.ranges = {}, {}, [], True

    def address(self, path="/a"):
        return f"http://127.0.0.1:{self.server_port}{path}"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        asked = self.headers.get("Range")
        self.server.requests.append((self.path, asked))
        content = self.server.files.get(self.path)
        if content is None:
            return self.send_error(404)
        first = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked and self.server.ranges else 0
        if first >= len(content):
            return self.send_error(416)
        self.send_response(206 if asked and self.server.ranges else 200)
        self.send_header("Content-Length", str(len(content) - first))
        self.end_headers()
        self.wfile.write(content[first : first + self.server.breaks.get(self.path, len(content))])

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with Server() as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        made.files["/a"] = ARCHIVE
        yield made
        made.shutdown()
        thread.join()


def write(folder, content, name=NAME):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)
    return folder / name


def names_in(folder):
    """Names of the files that are there, without the lock."""
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


# The download.


def test_a_download_is_kept_and_used_again(server, tmp_path):
    cache = tmp_path / "new/cache"
    path = fetch(cache, addresses=[server.address()], checksum=CHECKSUM)
    assert path == cache / NAME and path.read_bytes() == ARCHIVE
    assert names_in(cache) == [NAME]
    assert fetch(cache, addresses=[server.address()], checksum=CHECKSUM) == path
    assert server.requests == [("/a", None)]


def test_a_partial_download_is_resumed(server, tmp_path):
    write(tmp_path, ARCHIVE[:1000], f".{NAME}.part")
    path = fetch(tmp_path, addresses=[server.address()], checksum=CHECKSUM)
    assert path.read_bytes() == ARCHIVE and names_in(tmp_path) == [NAME]
    assert server.requests == [("/a", "bytes=1000-")]


def test_a_broken_connection_is_resumed(server, tmp_path):
    size = len(ARCHIVE) // 3 + 1
    server.breaks["/a"] = size
    path = fetch(tmp_path, addresses=[server.address()], checksum=CHECKSUM)
    assert path.read_bytes() == ARCHIVE
    assert [asked for _, asked in server.requests] == [None, f"bytes={size}-", f"bytes={2 * size}-"]


def test_a_server_without_ranges_sends_the_whole_file(server, tmp_path):
    server.ranges = False
    write(tmp_path, ARCHIVE[:1000], f".{NAME}.part")
    path = fetch(tmp_path, addresses=[server.address()], checksum=CHECKSUM)
    assert path.read_bytes() == ARCHIVE and server.requests == [("/a", "bytes=1000-")]


@pytest.mark.parametrize("part", [b"x" * 1000, ARCHIVE + b"x"], ids=["shorter", "longer"])
def test_a_partial_download_of_another_file_is_started_over(server, tmp_path, part):
    write(tmp_path, part, f".{NAME}.part")
    path = fetch(tmp_path, addresses=[server.address()], checksum=CHECKSUM)
    assert path.read_bytes() == ARCHIVE and names_in(tmp_path) == [NAME]
    assert [asked for _, asked in server.requests] == [f"bytes={len(part)}-", None]


def test_a_complete_download_that_was_not_renamed_is_used(server, tmp_path):
    write(tmp_path, ARCHIVE, f".{NAME}.part")
    path = fetch(tmp_path, addresses=[server.address()], checksum=CHECKSUM)
    assert path.read_bytes() == ARCHIVE
    assert server.requests == [("/a", f"bytes={len(ARCHIVE)}-")]


@pytest.mark.parametrize("first", ["/missing", "/wrong", "/cut"])
def test_the_next_address_is_tried_when_one_fails(server, tmp_path, first):
    server.files |= {"/wrong": b"<html>down for maintenance</html>", "/cut": ARCHIVE[:2000]}
    addresses = [server.address(first), server.address()]
    path = fetch(tmp_path, addresses=addresses, checksum=CHECKSUM)
    assert path.read_bytes() == ARCHIVE
    assert server.requests == [(first, None), ("/a", None)]


def test_a_cached_file_with_another_checksum_is_downloaded_again(server, tmp_path):
    write(tmp_path, ARCHIVE[:-1] + b"x")
    path = fetch(tmp_path, addresses=[server.address()], checksum=CHECKSUM)
    assert path.read_bytes() == ARCHIVE


def test_a_wrong_file_everywhere_is_refused_in_one_sentence(server, tmp_path):
    server.files["/wrong"] = b"x"
    addresses = [server.address("/wrong"), server.address("/missing")]
    write(tmp_path, b"by hand")
    with pytest.raises(UserError) as caught:
        fetch(tmp_path, addresses=addresses, checksum=CHECKSUM)
    message = str(caught.value)
    assert all(text in message for text in (*addresses, "404", f"copy it to {tmp_path / NAME}"))
    assert "does not match the known hash" in message
    assert f"{tmp_path / NAME} has a wrong checksum" in message
    assert message.count(". ") == 0 and "\n" not in message
    assert names_in(tmp_path) == [NAME]  # nothing left of what was wrong


def test_a_file_that_is_too_large_is_given_up(server, tmp_path, monkeypatch):
    monkeypatch.setattr(cifar10_archive, "SIZE", 100_000)
    server.files["/a"] = bytes(1_000_000)
    with pytest.raises(UserError, match="larger than 100,000 bytes"):
        fetch(tmp_path, addresses=[server.address()], checksum=CHECKSUM)
    assert names_in(tmp_path) == []


def test_no_connection_is_refused_in_one_sentence(tmp_path):
    address = "http://127.0.0.1:9/a"  # nobody listens there
    with pytest.raises(UserError, match="Connection refused") as caught:
        fetch(tmp_path, addresses=[address], checksum=CHECKSUM)
    assert f"download {address} on another machine" in str(caught.value)
    assert "HTTPConnection" not in str(caught.value)


def test_a_cache_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UserError, match="XDG_CACHE_HOME"):
        fetch(tmp_path / "file/cache", addresses=["http://127.0.0.1:9/a"], checksum=CHECKSUM)


def test_processes_download_once(server, tmp_path):
    addresses = [server.address()]
    threads = [  # flock holds between open files, so threads stand for processes
        threading.Thread(target=fetch, args=[tmp_path],
                         kwargs={"addresses": addresses, "checksum": CHECKSUM})
        for _ in range(4)
    ]  # fmt: skip
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / NAME).read_bytes() == ARCHIVE and server.requests == [("/a", None)]


def test_default_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cifar10_archive.default_cache() == tmp_path / ".cache/dsh_jax/cifar10"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    assert cifar10_archive.default_cache() == tmp_path / "x/dsh_jax/cifar10"


# The reading.


def test_every_record_is_read_in_the_order_of_the_files(tmp_path):
    dataset = read(write(tmp_path, ARCHIVE), records_per_file=RECORDS)
    assert dataset.images.shape == (24, 32, 32, 3) and dataset.images.dtype == np.uint8
    assert dataset.labels.shape == (24,) and dataset.labels.dtype == np.int32
    assert dataset.is_test.tolist() == [False] * 20 + [True] * 4
    assert dataset.class_names == tuple(CLASS_NAMES)
    assert (dataset.name, dataset.version) == ("cifar10", VERSION) and VERSION != "3.0.2"
    files = contents()
    for item in range(24):
        record = files[FILES[item // RECORDS]][item % RECORDS * 3073 :][:3073]
        assert dataset.labels[item] == record[0]
        for row, column, channel in ((0, 0, 0), (0, 1, 0), (1, 0, 0), (0, 0, 1), (31, 30, 2)):
            pixel = record[1 + 1024 * channel + 32 * row + column]
            assert dataset.images[item, row, column, channel] == pixel


def refused(tmp_path, content, records=RECORDS):
    """The sentence with which an archive is refused."""
    path = write(tmp_path, content)
    with pytest.raises(UserError) as caught:
        read(path, records_per_file=records)
    message = str(caught.value)
    assert message.startswith(f"{path} cannot be read") and "\n" not in message
    assert message.endswith(f"replace it with the file at {cifar10_archive.ADDRESSES[0]}.")
    return message


@pytest.mark.parametrize("size", [0, 5, 1000, len(ARCHIVE) // 2, len(ARCHIVE) - 4])
def test_a_cut_archive_is_refused(tmp_path, size):
    refused(tmp_path, ARCHIVE[:size])


def test_a_damaged_archive_is_refused(tmp_path):
    for place in np.random.default_rng(0).integers(20, len(ARCHIVE), 50):
        damaged = bytearray(ARCHIVE)
        damaged[place] ^= 0x10
        refused(tmp_path, bytes(damaged))


def test_another_archive_is_refused(tmp_path):
    assert "Not a gzipped file" in refused(tmp_path, b"<html></html>")
    assert "has no" in refused(tmp_path, packed({"cifar-10-batches-py/data_batch_1": b"x"}))
    refused(tmp_path, gzip.compress(b"no tar"))


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(UserError, match="No such file"):
        read(tmp_path / NAME)


@pytest.mark.parametrize("name", [*FILES, META])
def test_a_missing_file_is_named(tmp_path, name):
    files = contents()
    del files[name]
    assert f"it has no {name}" in refused(tmp_path, packed(files))
    # A link is no file, wherever it leads.
    kinds = {name: tarfile.SYMTYPE}
    assert f"it has no {name}" in refused(tmp_path, packed(contents(), kinds))


@pytest.mark.parametrize("change", [-1, 1, 3073])
def test_a_file_of_another_size_is_refused(tmp_path, change):
    files = contents()
    files[FILES[1]] = (files[FILES[1]] + bytes(3073))[: RECORDS * 3073 + change]
    assert f"{FILES[1]} has {RECORDS * 3073 + change:,} bytes" in refused(tmp_path, packed(files))


def test_a_label_above_9_is_refused(tmp_path):
    files = contents()
    files[FILES[5]] = b"\x0a" + files[FILES[5]][1:]
    assert f"{FILES[5]} has the label 10" in refused(tmp_path, packed(files))


@pytest.mark.parametrize("text", [b"", b"cat\ndog\n", b"cat\n" * 10, b"\xff" * 20])
def test_wrong_class_names_are_refused(tmp_path, text):
    refused(tmp_path, packed(contents() | {META: text}))


def test_what_unzips_to_more_than_the_layout_is_not_read(tmp_path, monkeypatch):
    given = 0
    read_limited = cifar10_archive.Limited.read

    def counting(self, size):
        nonlocal given
        content = read_limited(self, size)
        given += len(content)
        return content

    monkeypatch.setattr(cifar10_archive.Limited, "read", counting)
    limit = 6 * RECORDS * 3073 + 2**16
    bombs = (
        contents() | {"bomb": bytes(5_000_000)},
        {"bomb": bytes(5_000_000)} | contents(),
        {"a" * 5_000_000: b""} | contents(),  # as a header that gives a long name
    )
    for files in bombs:
        given = 0
        assert "inflates to more than" in refused(tmp_path, packed(files))
        assert given <= limit
    # Zeros after the end of the tar, which tarfile would not look at.
    tail = gzip.compress(gzip.decompress(ARCHIVE) + bytes(5_000_000))
    assert "inflates to more than" in refused(tmp_path, tail)
    for name in (FILES[0], META):
        given = 0
        assert "has 5,000,000 bytes" in refused(tmp_path, packed({name: bytes(5_000_000)}))
        assert given <= 2**16


def test_many_empty_members_are_not_read(tmp_path):
    files = contents() | {f"empty{number}": b"" for number in range(100)}
    assert "more than 50 members" in refused(tmp_path, packed(files))


# What `load` makes of it.


@pytest.fixture(scope="module")
def full_archive():
    """An archive with 10,000 records in each file; the pixels repeat, so it is small."""
    files = contents(10)
    for name in FILES:
        records = np.frombuffer(files[name], np.uint8).reshape(10, 3073).copy()
        records[:, 0] = np.arange(10)
        files[name] = records.tobytes() * 1000
    return packed(files)


def test_data_dir_with_the_archive(full_archive, tmp_path):
    write(tmp_path, full_archive)
    dataset = sources.load("cifar10", str(tmp_path))
    assert dataset.images.shape == (60000, 32, 32, 3) and dataset.version == VERSION
    assert np.bincount(dataset.labels[:50000]).tolist() == [5000] * 10
    assert not dataset.is_test[:50000].any() and dataset.is_test[50000:].all()


def test_no_data_dir_and_no_tensorflow(tmp_path, monkeypatch):
    import tensorflow_datasets as tfds

    here = tfds.builder("cifar10", data_dir=str(tmp_path))
    monkeypatch.setattr(tfds, "builder", lambda name, **options: here)
    monkeypatch.setattr(
        sources.importlib.util, "find_spec", lambda name: name if name != "tensorflow" else None
    )
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(cifar10_archive, "fetch", lambda cache: write(cache, ARCHIVE))
    monkeypatch.setattr(cifar10_archive, "read", functools.partial(read, records_per_file=RECORDS))
    assert len(sources.load("cifar10")) == 24
    assert names_in(tmp_path / "cache/dsh_jax/cifar10") == [NAME]


@pytest.mark.skipif(not (TFDS_DIR / "cifar10").is_dir(), reason=f"no CIFAR-10 in {TFDS_DIR}")
def test_prepared_data_is_preferred_to_an_archive(tmp_path, monkeypatch):
    def one_image(source, part, shape):  # decoding all of them takes long
        return np.zeros((1, *shape), np.uint8), np.zeros(1, np.int32)

    monkeypatch.setattr(sources, "_decode_all", one_image)
    (tmp_path / "cifar10").symlink_to(TFDS_DIR / "cifar10")
    write(tmp_path, b"not looked at")
    assert sources.load("cifar10", str(tmp_path)).version == "3.0.2"


needs_no_tensorflow = pytest.mark.skipif(
    importlib.util.find_spec("tensorflow") is not None,
    reason="where TensorFlow is installed, TFDS prepares CIFAR-10",
)


def run(tmp_path, *arguments):
    """Runs Python as a user with an empty home whose only proxy is unreachable."""
    left_out = ("TFDS_DATA_DIR", "XDG_CACHE_HOME")
    environment = {name: value for name, value in os.environ.items() if name not in left_out}
    nowhere = "http://127.0.0.1:9"
    environment |= {
        "HOME": str(tmp_path / "home"), "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "HTTPS_PROXY": nowhere, "https_proxy": nowhere, "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1", "PYTHONPATH": str(ROOT),
    }  # fmt: skip
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True
    )


@needs_no_tensorflow
def test_train_without_a_network_is_refused_in_one_sentence(tmp_path):
    done = run(
        tmp_path, "train.py", "--config=configs/cifar10_48bit.py", f"--workdir={tmp_path / 'run'}"
    )
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode == 2 and len(errors) == 1, done.stderr
    assert "Traceback" not in done.stderr
    for text in (*cifar10_archive.ADDRESSES, f"copy it to {tmp_path / 'cache/dsh_jax/cifar10'}"):
        assert text in errors[0]


@needs_no_tensorflow
def test_train_downloads_and_trains(server, full_archive, tmp_path):
    """The script itself, with a server of the test's in place of the official ones."""
    server.files["/full"] = full_archive
    checksum = "md5:" + hashlib.md5(full_archive).hexdigest()
    code = (
        "import functools, runpy\n"
        "from dsh_jax.data.images import cifar10_archive as archive\n"
        "archive.fetch = functools.partial(\n"
        f"    archive.fetch, addresses=[{server.address('/full')!r}], checksum={checksum!r})\n"
        "runpy.run_path('train.py', run_name='__main__')\n"
    )
    workdir = tmp_path / "run"
    done = run(
        tmp_path, "-c", code, "--config=configs/cnnh_plus_digits_16bit.py",
        "--config.data.source=cifar10", "--config.data.labeled_per_class=2",
        "--config.data.validation_per_class=2", "--config.num_steps=1", "--config.batch_size=8",
        "--config.representation.width=4", "--config.representation.features=4",
        f"--workdir={workdir}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert server.requests == [("/full", None)]
    assert (tmp_path / f"cache/dsh_jax/cifar10/{NAME}").read_bytes() == full_archive
    assert json.loads((workdir / "split.json").read_text())["version"] == VERSION

"""The embedded engine: what stops, damages or races with it, and its approximate kinds."""

import json
import random
import shutil
import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from dsh_jax.errors import UserError
from dsh_jax.search import faiss_folder, kinds, store
from dsh_jax.search.index import create_index, open_index
from dsh_jax.search.items import Item
from dsh_jax.search.manifest import Manifest
from tests.commands import FORKS
from tests.messages import one_sentence
from tests.search_indexes import items_of, random_codes, shown, slow_search

BITS = 24
ITEMS = items_of(random_codes(3000, BITS, centres=30), labels=("x",))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """An index with a compacted part, deleted items and later ones; no test changes it."""
    uri = tmp_path_factory.mktemp("search") / "index"
    fill(uri)
    return uri


@pytest.fixture
def uri(made, tmp_path):
    return shutil.copytree(made, tmp_path / "index")


def fill(uri):
    create_index(uri, Manifest(BITS))
    with open_index(uri, write=True) as index:
        index.add(ITEMS[:2000])
        index.compact()
        index.delete([item.id for item in ITEMS[:100]])
        index.add(ITEMS[2000:2500])


def contents(uri):
    with open_index(uri) as index:
        assert index.check() == []
        return list(index)


def by_id(items):
    return sorted(items, key=lambda item: item.id)


def test_lists_of_few_codes_are_made_without_words(capfd):
    codes = random_codes(1100, BITS)
    index = kinds.build("ivf", kinds.flat_of(3, [codes]), BITS, {})
    kinds.tune("ivf", index, {})
    assert (index.nlist, index.nprobe) == (34, 5) and capfd.readouterr() == ("", "")
    kinds.tune("ivf", index, {"probes": 34})
    assert (index.search(codes, 1)[0] == 0).all()


@pytest.mark.parametrize("kind", ["ivf", "hnsw", "multihash"])
def test_approximate_kinds(uri, kind):
    queries = random_codes(50, BITS, centres=30)
    with open_index(uri, write=True) as index:
        index.compact(kind)
        assert index.manifest.kind == kind and index.check() == []
        assert (uri / f"{kind}-2.faiss").is_file() and not (uri / "codes-1.faiss").exists()
        exact = index.search(queries, exact=True)
        kept = ITEMS[100:2500]
        assert shown(exact[0]) == slow_search(kept, queries[0], BITS, 10)
        found = index.search(queries)
        near = [(hits[-1].distance, [hit.distance for hit in other])
                for hits, other in zip(exact, found, strict=True)]  # fmt: skip
        recall = np.mean([np.mean([d <= far for d in distances]) for far, distances in near])
        assert recall > 0.8 and all(len(hits) == 10 for hits in found)
        assert all(shown(hits) == sorted(shown(hits)) for hits in found)
        # These must be exact, and must not show what is deleted.
        index.delete([hit.item.id for hit in exact[0][:5]])
        gone = {hit.item.id for hit in exact[0][:5]}
        kept = [item for item in kept if item.id not in gone]
        for options in ({"radius": 3, "top": None}, {"labels": ("x",)}, {"radius": 5}):
            wanted = slow_search(kept, queries[0], BITS, **{"top": 10} | options)
            assert shown(index.search(queries[:1], **options)[0]) == wanted
        assert not gone & {hit.item.id for hit in index.search(queries[:1], top=2000)[0]}
        index.compact("flat")
        assert shown(index.search(queries[:1])[0]) == slow_search(kept, queries[0], BITS, 10)
        assert sorted(path.name for path in uri.glob("*.faiss")) == ["codes-3.faiss"]


def test_a_multihash_that_does_not_fit(uri):
    with open_index(uri, write=True) as index:
        one_sentence(lambda: index.compact("multihash", {"tables": 3, "hash_bits": 12}), "24 bits")
        assert index.manifest.kind == "flat" and len(index) == 2400
    assert by_id(contents(uri)) == by_id(ITEMS[100:2500])
    assert not list(uri.glob("*-2.*"))


def test_compaction_frees_and_changes_no_answer(uri):
    queries = random_codes(5, BITS, seed=5)
    with open_index(uri, write=True) as index:
        before = [shown(hits) for hits in index.search(queries, top=50)]
        assert not index.needs_compaction()
        index.add(ITEMS[2500:])
        assert index.needs_compaction()
        index.delete([item.id for item in ITEMS[2500:]])
        index.compact()
        details = index.info()
        assert details["items_since_compaction"] == details["deleted_since_compaction"] == 0
        assert [shown(hits) for hits in index.search(queries, top=50)] == before
    names = sorted(path.name for path in uri.iterdir())
    assert names == [".lock", "codes-2.faiss", "items-2.sqlite", "manifest.json"]


def test_readers_see_commits_and_compactions_of_a_writer(uri):
    code = np.frombuffer(ITEMS[2700].code, np.uint8)[None]
    with open_index(uri) as reader, open_index(uri, write=True) as writer:
        everything = iter(reader)  # as it is now
        for step in (
            lambda: writer.add(ITEMS[2500:]), writer.compact,
            lambda: writer.delete([ITEMS[2700].id]), writer.compact,
        ):  # fmt: skip
            step()
            assert shown(reader.search(code, top=20)[0]) == shown(writer.search(code, top=20)[0])
            assert len(reader) == len(writer)
        assert by_id(everything) == by_id(ITEMS[100:2500])


def test_searches_beside_a_writer(uri):
    """Each answer is of one of the commits, though compactions replace all files meanwhile."""
    code = np.frombuffer(ITEMS[2700].code, np.uint8)[None]
    answers, failures = set(), []
    done = threading.Event()

    def search(index):
        try:
            while not done.is_set():
                answers.add(tuple(shown(index.search(code, top=5)[0])))
        except Exception as error:
            failures.append(error)

    with open_index(uri) as reader, open_index(uri, write=True) as writer:
        allowed = {tuple(slow_search(ITEMS[100:2500], code[0], BITS, 5))}
        threads = [threading.Thread(target=search, args=(reader,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for first in range(2500, 3000, 100):
            writer.add(ITEMS[first : first + 100])
            allowed.add(tuple(shown(writer.search(code, top=5)[0])))
            writer.compact()
        done.set()
        for thread in threads:
            thread.join()
    assert not failures and answers <= allowed


def test_two_writers_at_once(uri):
    with open_index(uri, write=True):
        one_sentence(lambda: open_index(uri, write=True), uri, "another process")
        with open_index(uri) as reader:
            assert len(reader) == 2400
            with pytest.raises(ValueError, match="write=True"):
                reader.add(ITEMS[:1])
    open_index(uri, write=True).close()


def write_on(uri, compacts, started=None):
    """Adds, deletes and compacts; from the start again if it is run again."""
    with open_index(uri, write=True) as index:
        if started:
            started.set()
        for first in range(2500, 3000, 50):
            index.add(ITEMS[first : first + 50], delete=[item.id for item in ITEMS[100:150]])
            if compacts:
                index.compact("multihash" if first % 100 else "flat")


@pytest.mark.parametrize("number", range(4))
def test_killed_at_any_moment(uri, number):
    started = FORKS.Event()
    process = FORKS.Process(target=write_on, args=(uri, number % 2, started))
    process.start()
    assert started.wait(60)
    time.sleep(random.Random(number).uniform(0, 0.1))
    process.kill()
    process.join()
    left = contents(uri)
    assert {item.id for item in left} <= {item.id for item in ITEMS[100:]}
    assert len(left) in range(2400, 2851, 50) and len(left) == len({item.id for item in left})
    write_on(uri, number % 2)
    assert by_id(contents(uri)) == by_id(ITEMS[150:])
    with open_index(uri) as index:
        [hits] = index.search(random_codes(1, BITS), top=30, exact=True)
    assert shown(hits) == slow_search(ITEMS[150:], random_codes(1, BITS)[0], BITS, 30)
    assert len(list(uri.glob("items-*.sqlite"))) == 1 and not list(uri.glob(".*.tmp"))


@pytest.mark.parametrize("name", ["manifest", "codes", "items"])
def test_a_full_disk_leaves_the_last_commit(uri, monkeypatch, name):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with open_index(uri, write=True) as index:
        with monkeypatch.context() as patch:
            if name == "manifest":
                patch.setattr(faiss_folder, "write_json", full)
            elif name == "codes":
                patch.setattr(kinds.os, "fsync", full)
            else:
                patch.setattr(store, "create", full)
            with pytest.raises((OSError, UserError), match="space"):
                index.compact()
        assert len(index) == 2400
        index.add(ITEMS[2500:])
        index.compact()
    assert by_id(contents(uri)) == by_id(ITEMS[100:])


def test_items_that_do_not_fit_on_the_disk(uri):
    with open_index(uri, write=True) as index:
        connection = index._engine._now.store._connection
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages}")  # SQLite calls this a full disk
        large = [replace(item, text="x" * 5000) for item in ITEMS[2500:]]
        one_sentence(lambda: index.add(large, delete=[ITEMS[150].id]), "free some space")
        assert by_id(index) == by_id(ITEMS[100:2500])
        connection.execute("PRAGMA max_page_count = 1000000")
        index.add(ITEMS[2500:])
    assert by_id(contents(uri)) == by_id(ITEMS[100:])


def edit(uri, **changes):
    path = uri / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("damage, parts", [
    (lambda uri: edit(uri, format=2), ("format 2", "install")),
    (lambda uri: edit(uri, num_bits=16), ("damaged", "checksum")),
    (lambda uri: edit(uri, format=[]), ("damaged",)),
    (lambda uri: (uri / "manifest.json").write_text("{"), ("manifest.json", "damaged")),
    (lambda uri: (uri / "manifest.json").write_text("[]"), ("damaged",)),
    (lambda uri: (uri / "manifest.json").unlink(), ("no index",)),
    (lambda uri: (uri / "items-1.sqlite").unlink(), ("items-1.sqlite", "missing")),
    (lambda uri: (uri / "codes-1.faiss").unlink(), ("codes-1.faiss", "missing")),
    (lambda uri: (uri / "codes-1.faiss").write_bytes(b"IBxF" + b"\xff" * 40), ("codes-1.faiss",)),
    (lambda uri: (uri / "codes-1.faiss").write_bytes(b""), ("codes-1.faiss",)),
    (lambda uri: (uri / "items-1.sqlite").write_bytes(b"x" * 9000), ("items-1.sqlite", "damaged")),
])  # fmt: skip
def test_a_damaged_index_is_refused(uri, damage, parts):
    damage(uri)
    for write in (False, True):
        one_sentence(lambda write=write: open_index(uri, write=write), uri, *parts)


def test_check_finds_a_flipped_bit(uri):
    path = uri / "codes-1.faiss"
    content = bytearray(path.read_bytes())
    content[-1000] ^= 4
    path.write_bytes(content)
    with open_index(uri) as index:
        first, second = index.check()
    assert "checksum" in first and "1 codes" in second


def test_a_folder_with_other_things_in_it_is_left_alone(tmp_path):
    (tmp_path / "letter.txt").write_text("x")
    one_sentence(lambda: create_index(tmp_path, Manifest(8)), tmp_path, "not empty")
    one_sentence(lambda: create_index(tmp_path / "letter.txt", Manifest(8)), "letter.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def test_creation_that_was_killed_is_done_again(tmp_path):
    (tmp_path / "items-0.sqlite").write_bytes(b"half")
    (tmp_path / ".lock").touch()
    create_index(tmp_path, Manifest(8))
    with open_index(tmp_path, write=True) as index:
        index.add([Item("a", b"\x01")])
    assert contents(tmp_path) == [Item("a", b"\x01")]

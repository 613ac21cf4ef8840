"""An index answers as a slow search of the items in it does, on every engine."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsh_jax import hamming
from dsh_jax.search import milvus_engine
from dsh_jax.search.index import create_index, index_exists, open_index
from dsh_jax.search.items import Item
from dsh_jax.search.manifest import Manifest
from tests.messages import one_sentence
from tests.search_indexes import items_of, random_codes, shown, slow_search

ENGINES = ("index", "index.db")


@pytest.fixture(params=ENGINES, ids=["faiss", "milvus"])
def uri(request, tmp_path):
    return str(tmp_path / request.param)


@pytest.fixture
def make(uri):
    """Makes an index with some items, open for writing."""
    opened = []

    def make(items, num_bits, kind="flat", **options):
        create_index(uri, Manifest(num_bits, "f" * 64, "", kind, options))
        opened.append(open_index(uri, write=True))
        if items:
            opened[-1].add(items)
        return opened[-1]

    yield make
    for index in opened:
        index.close()


@pytest.mark.parametrize("num_bits", [1, 16, 35])
def test_exact_search_is_the_slow_one(make, num_bits):
    items = items_of(random_codes(200, num_bits, centres=4))
    queries = random_codes(2, num_bits, seed=1)
    index = make(items[:150], num_bits)
    index.compact()
    index.add(items[150:])
    index.delete([item.id for item in items[::7]])
    kept = [item for number, item in enumerate(items) if number % 7]
    assert len(index) == len(kept)
    for top, radius in ((1, None), (10, None), (10_000, None), (None, 2), (3, 1), (None, None)):
        wanted = [slow_search(kept, code, num_bits, top, radius) for code in queries]
        found = index.search(queries, top=top, radius=radius)
        assert [shown(hits) for hits in found] == wanted, (top, radius)
    hits = index.search(queries[:1], top=None)[0]
    codes = np.stack([np.frombuffer(hit.item.code, np.uint8) for hit in hits])
    distances = hamming.distances(queries[:1], codes, num_bits)[0]
    assert [hit.distance for hit in hits] == distances.tolist()


LETTERS = st.characters(min_codepoint=32, exclude_categories=["Cs", "Cc"])
NAMES = st.text(LETTERS, min_size=1, max_size=3)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.dictionaries(
            NAMES, st.tuples(st.integers(0, 511), st.sets(st.sampled_from("ab'\""))), max_size=6
        )),
        st.tuples(st.just("delete"), st.lists(NAMES, max_size=3)),
        st.tuples(st.just("compact"), st.none()),
        st.tuples(st.just("open"), st.none()),
    ),
    max_size=12,
)  # fmt: skip


def check_steps(uri, steps, queries, top, radius):
    """After any adding, replacing, deleting and compacting an index has what a dict has."""
    create_index(uri, Manifest(9))
    index, items = open_index(uri, write=True), {}
    try:
        for name, value in steps:
            if name == "add":
                added = [
                    Item(
                        id, hamming.pack(np.array([[*map(int, f"{code:09b}")]]))[0].tobytes(),
                        labels=tuple(sorted(labels)), metadata={"code": code}, text=id, stamp=id,
                    )
                    for id, (code, labels) in value.items()
                ]  # fmt: skip
                index.add(added)
                items |= {item.id: item for item in added}
            elif name == "delete":
                index.add([], delete=value)
                items = {id: item for id, item in items.items() if id not in value}
            elif name == "compact":
                index.compact()
            else:
                index.close()
                index = open_index(uri, write=True)
        assert {item.id: item for item in index} == items and len(index) == len(items)
        assert index.stamps() == {id: item.stamp for id, item in items.items()}
        assert index.labels() == {
            label: sum(label in item.labels for item in items.values())
            for label in sorted({label for item in items.values() for label in item.labels})
        }
        assert index.check() == []
        for code in random_codes(queries, 9, seed=3):
            for labels in ((), ("a",), ("b", "'", '"')):
                found = index.search(code[None], top=top, radius=radius, labels=labels)
                wanted = slow_search(items.values(), code, 9, top, radius, labels)
                assert [shown(hits) for hits in found] == [wanted]
    finally:
        index.close()


@settings(max_examples=20, deadline=None)
@given(steps=STEPS, top=st.none() | st.integers(1, 8), radius=st.none() | st.integers(0, 9))
def test_any_history_of_a_faiss_index(tmp_path_factory, steps, top, radius):
    check_steps(str(tmp_path_factory.mktemp("any") / "index"), steps, 2, top, radius)


def test_any_history_of_a_milvus_collection(tmp_path):
    """The same as above, for fewer histories: a file of Milvus Lite takes a second to open."""
    some = {"a": (5, {"a"}), "é'": (300, {"b", "'"}), 'q"': (300, {'"'}), "z": (0, set())}
    steps = [("add", some), ("delete", ["z", "none"]), ("compact", None), ("open", None),
             ("add", {"a": (7, {"b"}), "\\": (5, {"a", '"'})}), ("delete", ["q\""])]  # fmt: skip
    for number, (top, radius) in enumerate([(None, None), (2, 6)]):
        check_steps(str(tmp_path / f"{number}.db"), steps, 2, top, radius)


def test_milvus_takes_the_smallest_ids_of_more_ties_than_it_can_give(tmp_path, monkeypatch):
    monkeypatch.setattr(milvus_engine, "_MOST_HITS", 8)
    create_index(tmp_path / "i.db", Manifest(8))
    items = items_of(random_codes(100, 2))
    with open_index(tmp_path / "i.db", write=True) as index:
        index.add([replace(item, code=bytes([item.code[0] & 0x80])) for item in items])
        items = list(index)
        for top, radius in ((3, None), (8, None), (40, None), (None, 0), (60, 1), (None, 8)):
            wanted = slow_search(items, np.array([0], np.uint8), 8, top, radius)
            [found] = index.search(np.zeros((1, 1), np.uint8), top=top, radius=radius)
            assert shown(found) == wanted, (top, radius)


def test_a_server_that_does_not_answer(monkeypatch):
    monkeypatch.setattr(milvus_engine, "_SECONDS", 0.5)
    for call in (open_index, index_exists):
        one_sentence(lambda call=call: call("http://127.0.0.1:1/x"), "http://127.0.0.1:1/x")
    one_sentence(lambda: open_index("http://127.0.0.1:1/a-b"), "'a-b'")


def test_near_duplicates_are_left_out(make):
    items = items_of(random_codes(100, 24, centres=9))
    index = make(items, 24)
    queries = random_codes(2, 24, seed=2)
    for top, unique in ((5, 0), (5, 4), (30, 3), (None, 6)):
        found = index.search(queries, top=top, unique=unique)
        wanted = [slow_search(items, code, 24, top, unique=unique) for code in queries]
        assert [shown(hits) for hits in found] == wanted


def test_items_come_back_whole(make, uri):
    item = Item("b/ä 1.png", b"\x80\x00", "/d/b.png", 'say "x"', ("b", "c'"), {"n": [1, None]}, "s")
    index = make([Item("a", b"\x00\x00"), item], 9)
    assert index.get(["b/ä 1.png", "a"]) == [item, Item("a", b"\x00\x00")]
    [[hit]] = index.search(np.array([[0x80, 0]], np.uint8), top=1)
    assert hit.item == item and hit.distance == 0
    assert json.loads(json.dumps(hit.to_dict()))["code"] == "8000"
    one_sentence(lambda: index.get(["a", "c"]), "'c'", uri)
    one_sentence(lambda: index.delete(["a", "c"]), "'c'", uri)
    assert len(index) == 2


def test_an_item_of_the_same_id_replaces_the_old_one(make):
    index = make([Item("a", b"\x00", labels=("x",), stamp="1"), Item("b", b"\x0f")], 8)
    index.compact()
    index.add([Item("a", b"\xff", labels=("y",), stamp="2")])
    assert shown(index.search(np.array([[0xFF]], np.uint8))[0]) == [(0, "a"), (4, "b")]
    assert index.labels() == {"y": 1} and index.stamps() == {"a": "2", "b": ""}
    assert len(index) == 2 and index.check() == []


@pytest.mark.parametrize("change, message", [
    ({"id": ""}, "id"), ({"id": "a\nb"}, "control"), ({"id": "\ud800"}, "Unicode"),
    ({"id": "x" * 1025}, "1024 bytes"), ({"code": b"\x00\x00"}, "1 bytes"),
    ({"code": b"\x01"}, "padding"), ({"labels": ("",)}, "labels"),
    ({"labels": ("x" * 513,)}, "labels"),
])  # fmt: skip
def test_items_that_are_none_are_refused(make, change, message):
    index = make([], 7)
    with pytest.raises(ValueError, match=message):
        index.add([Item("b", b"\x02"), Item(**{"id": "a", "code": b"\x00", **change})])
    assert len(index) == 0


def test_arguments_of_a_search(make):
    index = make([Item("a", b"\x00")], 8)
    code = np.zeros((1, 1), np.uint8)
    for arguments in ({"top": 0}, {"radius": -1}, {"unique": -1}):
        with pytest.raises(ValueError, match=next(iter(arguments))):
            index.search(code, **arguments)
    with pytest.raises(ValueError, match="8 bits"):
        index.search(np.zeros((1, 2), np.uint8))
    assert index.search(code[:0]) == []
    assert shown(index.search(code, top=10**9, radius=10**9)[0]) == [(0, "a")]


def test_an_empty_index(make, uri):
    assert not index_exists(uri)
    index = make([], 12)
    assert index_exists(uri) and len(index) == 0 and list(index) == []
    assert index.search(np.zeros((2, 2), np.uint8)) == [[], []]
    assert index.search(np.zeros((1, 2), np.uint8), top=None, radius=3, unique=2) == [[]]
    index.compact()
    assert index.check() == [] and index.info()["items"] == 0


def test_codes_of_another_model_are_refused(make, uri):
    index = make([], 12)
    index.require(num_bits=12, fingerprint="f" * 64, model="m")
    index.require(num_bits=12, fingerprint="", model="m")
    one_sentence(lambda: index.require(num_bits=16, fingerprint="", model="m"), "12", "16", uri)
    one_sentence(lambda: index.require(num_bits=12, fingerprint="e" * 64, model="m"), uri, "eee")


def test_kinds_and_options_that_are_not_there(uri):
    one_sentence(lambda: create_index(uri, Manifest(8, kind="tree")), "'tree'", "flat")
    one_sentence(lambda: create_index(uri, Manifest(8, options={"x": 1})), "'x'", "none")
    assert not index_exists(uri)


def test_no_index_there(tmp_path):
    for name in ENGINES:
        one_sentence(lambda name=name: open_index(tmp_path / name), name)
        assert not (tmp_path / name).exists()
    one_sentence(lambda: open_index("ftp://x"), "ftp://x")


def test_milvus_without_its_packages(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pymilvus", None)
    monkeypatch.delitem(sys.modules, "dsh_jax.search.milvus_engine")
    one_sentence(lambda: open_index(tmp_path / "i.db"), "pip install", "pymilvus")

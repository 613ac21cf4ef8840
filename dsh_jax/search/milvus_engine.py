"""The engine for many machines: a collection of Milvus, on a server or in a file (Milvus Lite).

The collection's description holds the manifest. What belongs to an item is a JSON field beside its
code, and the server filters by the labels in it. Milvus orders ties as it likes: the items at the
last distance are asked for once more, and those with the smallest ids kept. The primary key is the
id in hexadecimal digits, which keep its order: Milvus Lite writes keys into SQL as they are.
"""

import contextlib
import json
import logging
import os
import re
import uuid
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from dsh_jax.errors import UserError, brief
from dsh_jax.search import manifest
from dsh_jax.search.engine import Query
from dsh_jax.search.items import MOST_ID_BYTES, Hit, Item
from dsh_jax.search.manifest import Manifest

try:
    from pymilvus import DataType, MilvusClient
    from pymilvus.exceptions import MilvusException
except ImportError as error:
    raise UserError(
        f"Milvus needs more packages ({brief(error)}): run pip install '.[milvus]' in the checkout."
    ) from error

OPTIONS: Mapping[str, tuple[str, ...]] = {"flat": (), "ivf": ("lists", "probes")}
"""Kinds -> the options that each takes."""
_DEFAULT_NAME = "dsh_jax"
_MOST_HITS = 16_384  # of one search
_AT_ONCE = 1000  # items of a request
_SECONDS = 30.0
_FIELDS = ["info"]  # Milvus Lite cannot give binary vectors of several items back


class MilvusEngine:
    """An index in a collection.

    Args:
      uri: `http://host:19530/name`, or a file of Milvus Lite.
      write: whether items will be added or deleted.

    Raises:
      UserError: there is no such collection, it is no index, or the server does not answer.
    """

    def __init__(self, uri: str, *, write: bool = False) -> None:
        self._uri, self._write = uri, write
        self._client, self._name = _connect(uri)
        try:
            with _sentences(uri):
                if not self._client.has_collection(self._name):
                    raise _missing(uri)
                described = self._client.describe_collection(self._name)
                self._client.load_collection(self._name)
            self._manifest = _read_manifest(described.get("description", ""), uri)
        except BaseException:
            self.close()
            raise

    @property
    def manifest(self) -> Manifest:
        return self._manifest

    def __len__(self) -> int:
        with _sentences(self._uri):
            [row] = self._client.query(
                self._name, filter="", output_fields=["count(*)"], timeout=_SECONDS
            )
            return int(row["count(*)"])

    def search(self, codes: np.ndarray, query: Query) -> list[list[Hit]]:
        with _sentences(self._uri):
            return [self._nearest(code.tobytes(), query) for code in codes]

    def _nearest(self, code: bytes, query: Query) -> list[Hit]:
        last = self._manifest.num_bits if query.radius is None else query.radius
        wanted = _has_label(query.labels)
        if query.top is not None and query.top <= _MOST_HITS:
            hits = self._ask(code, query, wanted, (0, last), query.top)
            if len(hits) < query.top:
                return _sorted(hits)
            last = max(hit.distance for hit in hits)
            nearer = [hit for hit in hits if hit.distance < last]
            ties = self._first(code, query, wanted, last, query.top - len(nearer))
            return _sorted([*nearer, *ties])
        kept: list[Hit] = []
        for distance in range(last + 1):
            left = None if query.top is None else query.top - len(kept)
            kept += self._first(code, query, wanted, distance, left)
            if query.top is not None and len(kept) >= query.top:
                break
        return _sorted(kept)

    def _first(
        self, code: bytes, query: Query, wanted: str, distance: int, count: int | None
    ) -> list[Hit]:
        """The items at one distance, in the order of their ids; at most `count` of them."""
        kept: list[Hit] = []
        while count is None or len(kept) < count:
            condition = _and(wanted, f"key > {_key(kept[-1].item.id)!r}" if kept else "")
            hits = self._block(code, query, condition, distance)
            kept += hits
            if len(hits) < _MOST_HITS // 2:
                break
        return kept[:count]

    def _block(self, code: bytes, query: Query, wanted: str, distance: int) -> list[Hit]:
        """The first items at a distance, in the order of their ids: all, or half of what a search
        can give. Each search that is full halves the range of ids that is asked for."""
        condition = wanted
        while True:
            hits = _sorted(self._ask(code, query, condition, (distance, distance), _MOST_HITS))
            if len(hits) < _MOST_HITS:
                return hits[: _MOST_HITS // 2] if condition != wanted else hits
            condition = _and(wanted, f"key <= {_key(hits[_MOST_HITS // 2 - 1].item.id)!r}")

    def _ask(
        self, code: bytes, query: Query, wanted: str, between: tuple[int, int], limit: int
    ) -> list[Hit]:
        parameters: dict[str, Any] = {}
        if between[1] < self._manifest.num_bits or between[0]:
            # Milvus takes distances from `range_filter` to just below `radius`.
            parameters = {"radius": between[1] + 1, "range_filter": between[0]}
        if self._manifest.kind == "ivf":
            lists = self._manifest.options.get("lists", 1024)
            probes = self._manifest.options.get("probes", max(1, lists // 16))
            parameters["nprobe"] = lists if _is_exact(query) else probes
        [rows] = self._client.search(
            self._name, [code], anns_field="code", limit=limit, filter=wanted,
            output_fields=_FIELDS, timeout=_SECONDS,
            search_params={"metric_type": "HAMMING", "params": parameters},
        )  # fmt: skip
        return [Hit(round(row["distance"]), _item(row["entity"])) for row in rows]

    def get(self, ids: Sequence[str]) -> dict[str, Item]:
        found: dict[str, Item] = {}
        with _sentences(self._uri):
            for some in _chunks(list(dict.fromkeys(ids))):
                rows = self._client.get(
                    self._name, ids=[_key(name) for name in some], output_fields=_FIELDS,
                    timeout=_SECONDS,
                )  # fmt: skip
                found |= {item.id: item for item in map(_item, rows)}
        return found

    def items(self) -> Iterator[Item]:
        return map(_item, self._rows())

    def stamps(self) -> dict[str, str]:
        return {row["info"]["id"]: row["info"]["stamp"] for row in self._rows()}

    def labels(self) -> dict[str, int]:
        counts: dict[str, int] = {}
        for row in self._rows():
            for label in row["info"]["labels"]:
                counts[label] = counts.get(label, 0) + 1
        return dict(sorted(counts.items()))

    def _rows(self) -> Iterator[Any]:
        with _sentences(self._uri):
            iterator = self._client.query_iterator(
                self._name, batch_size=_AT_ONCE, output_fields=_FIELDS, timeout=_SECONDS
            )
            with contextlib.closing(iterator):
                while rows := iterator.next():
                    yield from rows

    def write(self, items: Sequence[Item], delete: Sequence[str] = ()) -> None:
        if not self._write:
            raise ValueError(f"{self._uri} was opened to be read: open it with write=True")
        with _sentences(self._uri):
            for some in _chunks(items):
                self._client.upsert(self._name, [_row(item) for item in some], timeout=_SECONDS)
            new = {item.id for item in items}
            for names in _chunks([name for name in dict.fromkeys(delete) if name not in new]):
                self._client.delete(self._name, ids=list(map(_key, names)), timeout=_SECONDS)

    def needs_compaction(self) -> bool:
        return False  # Milvus does it by itself

    def compact(self, manifest: Manifest) -> None:
        if manifest != self._manifest:
            raise UserError(
                f"the kind of {self._uri} was chosen when it was made: index into a new collection."
            )
        with _sentences(self._uri):
            self._client.flush(self._name)
            with contextlib.suppress(Exception):  # Milvus Lite has no compaction to ask for
                self._client.compact(self._name)

    def check(self) -> list[str]:
        wrong, count = [], 0
        for item in self.items():
            count += 1
            code = np.frombuffer(item.code, np.uint8)
            padding = 8 * len(code) - self._manifest.num_bits
            if len(code) != self._manifest.num_bytes or code[-1] & ((1 << padding) - 1):
                wrong.append(f"{item.id} has a code of another length")
        if count != len(self):
            wrong.append(f"{count} items can be read, and there should be {len(self)}")
        return wrong

    def details(self) -> Mapping[str, Any]:
        return {"engine": "milvus", "collection": self._name}

    def close(self) -> None:
        with contextlib.suppress(Exception):
            self._client.close()


def open_engine(uri: str, *, write: bool) -> MilvusEngine:
    """The engine of an index; see `MilvusEngine`."""
    return MilvusEngine(uri, write=write)


def exists(uri: str) -> bool:
    """Whether there is a collection.

    Raises:
      UserError: the server does not answer.
    """
    if uri.endswith(".db") and not Path(uri).expanduser().exists():
        return False  # Milvus Lite would make the file
    client, name = _connect(uri)
    with _sentences(uri), contextlib.closing(client):
        return bool(client.has_collection(name))


def create(uri: str, manifest: Manifest) -> None:
    """Makes an empty collection.

    Raises:
      UserError: there is one already, Milvus has no such kind, or the server does not answer.
    """
    check_kind(manifest)
    client, name = _connect(uri, make=True)
    with _sentences(uri), contextlib.closing(client):
        if client.has_collection(name):
            raise UserError(f"{uri} is there already: name a new collection, or open this one.")
        schema = client.create_schema(description=json.dumps(manifest.to_dict()))
        schema.add_field("key", DataType.VARCHAR, is_primary=True, max_length=2 * MOST_ID_BYTES)
        schema.add_field("code", DataType.BINARY_VECTOR, dim=8 * manifest.num_bytes)
        schema.add_field("info", DataType.JSON)
        parameters = client.prepare_index_params()
        lists = manifest.options.get("lists", 1024)
        parameters.add_index(
            "code", metric_type="HAMMING",
            index_type="BIN_IVF_FLAT" if manifest.kind == "ivf" else "BIN_FLAT",
            params={"nlist": lists} if manifest.kind == "ivf" else {},
        )  # fmt: skip
        client.create_collection(
            name, schema=schema, index_params=parameters, consistency_level="Strong"
        )


def check_kind(manifest: Manifest) -> None:
    """Refuses a kind or options that Milvus indexes do not have.

    Raises:
      UserError: names those that there are.
    """
    if manifest.kind not in OPTIONS:
        raise UserError(f"Milvus has no index of kind {manifest.kind!r}: choose flat or ivf.")
    for name in manifest.options:
        if name not in OPTIONS[manifest.kind]:
            known = ", ".join(OPTIONS[manifest.kind]) or "none"
            raise UserError(f"{manifest.kind} has no option {name!r}: set one of these: {known}.")


def _connect(uri: str, *, make: bool = False) -> tuple[Any, str]:
    """A client, and the name of the collection."""
    logging.getLogger("pymilvus").setLevel(logging.CRITICAL)  # what it logs, it raises as well
    if uri.endswith(".db"):
        path = Path(uri).expanduser()
        if not make and not path.exists():
            raise _missing(uri)
        path.parent.mkdir(parents=True, exist_ok=True)
        place, name = str(path.absolute()), _DEFAULT_NAME
    else:
        parts = urlsplit(uri)
        place, name = f"{parts.scheme}://{parts.netloc}", parts.path.strip("/") or _DEFAULT_NAME
        if not re.fullmatch(r"[A-Za-z_]\w{0,254}", name, re.ASCII):
            raise UserError(
                f"{uri} names the collection {name!r}: use letters, digits and underscores."
            )
    with _sentences(uri), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Milvus Lite imports pkg_resources
        token = os.environ.get("MILVUS_TOKEN", "")
        # Clients of one alias share a connection, and the first to be closed would close it.
        return MilvusClient(place, token=token, timeout=_SECONDS, alias=uuid.uuid4().hex), name


def _missing(uri: str) -> UserError:
    return UserError(f"there is no index {uri}: make one with search.py index.")


@contextlib.contextmanager
def _sentences(uri: str) -> Iterator[None]:
    """Says what Milvus cannot do."""
    try:
        yield
    except UserError:
        raise
    except MilvusException as error:
        reason = brief(getattr(error, "message", "") or error)
        raise UserError(
            f"Milvus at {uri} does not do it ({reason}): check that the server runs, and that "
            "MILVUS_TOKEN is right if it wants one."
        ) from error


def _read_manifest(text: str, uri: str) -> Manifest:
    try:
        content = json.loads(text)
    except ValueError as error:
        raise UserError(
            f"{uri} is a collection that search.py has not made: name another one."
        ) from error
    return manifest.from_dict(content, uri)


def _is_exact(query: Query) -> bool:
    return query.exact or query.radius is not None or bool(query.labels)


def _row(item: Item) -> dict[str, Any]:
    info = {
        "id": item.id, "code": item.code.hex(), "path": item.path, "text": item.text,
        "labels": list(item.labels), "metadata": dict(item.metadata), "stamp": item.stamp,
    }  # fmt: skip
    return {"key": _key(item.id), "code": item.code, "info": info}


def _item(row: Mapping[str, Any]) -> Item:
    info = row["info"]
    return Item(info["id"], bytes.fromhex(info["code"]), info["path"], info["text"],
                tuple(info["labels"]), info["metadata"], info["stamp"])  # fmt: skip


def _key(name: str) -> str:
    return name.encode().hex()


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _has_label(labels: Sequence[str]) -> str:
    names = ", ".join(map(_quoted, labels))
    return f'json_contains_any(info["labels"], [{names}])' if labels else ""


def _and(*conditions: str) -> str:
    return " and ".join(condition for condition in conditions if condition)


def _sorted(hits: Sequence[Hit]) -> list[Hit]:
    return sorted(hits, key=lambda hit: (hit.distance, hit.item.id))


def _chunks(values: Sequence) -> Iterator[Sequence]:
    for first in range(0, len(values), _AT_ONCE):
        yield values[first : first + _AT_ONCE]

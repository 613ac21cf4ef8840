"""Items in SQLite: every commit is whole, whatever stops the process.

Keys number the items of the last compaction in the order of their ids, from 0; items that came
later have larger keys. No key is used twice.
"""

import contextlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

import numpy as np

from dsh_jax.errors import UserError
from dsh_jax.search.items import Item

_SCHEMA = """
PRAGMA journal_mode = WAL;
CREATE TABLE items (
  key INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, code BLOB NOT NULL,
  path TEXT NOT NULL, text TEXT NOT NULL, labels TEXT NOT NULL, metadata TEXT NOT NULL,
  stamp TEXT NOT NULL
);
CREATE TABLE labels (label TEXT, key INTEGER, PRIMARY KEY (label, key)) WITHOUT ROWID;
CREATE TABLE tombstones (key INTEGER PRIMARY KEY);  -- of deleted items that FAISS still holds
CREATE TABLE held (size INTEGER NOT NULL);  -- FAISS holds the keys below
CREATE TRIGGER come AFTER INSERT ON items WHEN new.labels <> '[]' BEGIN
  INSERT INTO labels SELECT value, new.key FROM json_each(new.labels);
END;
CREATE TRIGGER gone AFTER DELETE ON items BEGIN
  DELETE FROM labels WHERE key = old.key AND label IN (SELECT value FROM json_each(old.labels));
  INSERT INTO tombstones SELECT old.key WHERE old.key < (SELECT size FROM held);
END;
"""
_COLUMNS = "id, code, path, text, labels, metadata, stamp"
_LABELS = "SELECT one.value, items.key FROM items, json_each(items.labels) AS one"
_AT_ONCE = 5000
_CACHE_KIB = 2**16  # of pages that a reader keeps; in SQLite's 2 MiB few items are found again


class Store:
    """Items in one file.

    Args:
      path: of the file, which `create` has made.
      write: whether it will be written to.

    Raises:
      FileNotFoundError: there is no such file.
      UserError: it is damaged.
    """

    def __init__(self, path: Path, *, write: bool = False) -> None:
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing")
        self._path = path
        with self._sentences():
            self._connection = self._connect(write)
            (self.held,) = self._connection.execute("SELECT size FROM held").fetchone()

    def _connect(self, write: bool) -> sqlite3.Connection:
        # The caller has a lock of its own, so that threads may share the connection.
        place = f"file:{quote(str(self._path))}"
        connection = sqlite3.connect(
            f"{place}?mode=rw", uri=True, timeout=60, isolation_level=None, check_same_thread=False
        )
        if write:
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("SELECT 1 FROM sqlite_master").fetchone()
            return connection
        try:
            connection.execute("PRAGMA query_only = ON")
            connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
            connection.execute("SELECT 1 FROM sqlite_master").fetchone()
        except sqlite3.OperationalError:  # a folder that may only be read
            connection.close()
            connection = sqlite3.connect(
                f"{place}?mode=ro&immutable=1", uri=True, check_same_thread=False
            )
        return connection

    def version(self) -> int:
        """Changes when another connection has committed."""
        with self._sentences():
            version: int = self._connection.execute("PRAGMA data_version").fetchone()[0]
            return version

    def __len__(self) -> int:
        with self._sentences():
            size: int = self._connection.execute("SELECT count(*) FROM items").fetchone()[0]
            return size

    def changes(self) -> int:
        """How many items FAISS does not hold, and how many deleted ones it does."""
        with self._sentences():
            changes: int = self._connection.execute(
                "SELECT (SELECT count(*) FROM items WHERE key >= ?) "
                "+ (SELECT count(*) FROM tombstones)", (self.held,)
            ).fetchone()[0]  # fmt: skip
            return changes

    def since(self) -> tuple[np.ndarray, np.ndarray]:
        """Items that FAISS does not hold, in the order of their ids: keys int64 `[n]`, codes uint8
        `[n, num_bytes]`."""
        with self._sentences():
            rows = self._connection.execute(
                "SELECT key, code FROM items WHERE key >= ? ORDER BY +id", (self.held,)
            ).fetchall()
        keys = np.array([key for key, _ in rows], np.int64)
        codes = np.frombuffer(b"".join(code for _, code in rows), np.uint8)
        return keys, codes.reshape(len(rows), -1 if rows else 0)

    def tombstones(self) -> np.ndarray:
        """Keys of deleted items that FAISS still holds, int64 `[n]`."""
        return self._keys("SELECT key FROM tombstones")

    def labeled(self, labels: Sequence[str]) -> np.ndarray:
        """Keys of items that have one of some labels, int64 `[n]`."""
        marks = ", ".join("?" * len(labels))
        return self._keys(f"SELECT DISTINCT key FROM labels WHERE label IN ({marks})", labels)

    def _keys(self, statement: str, values: Sequence[str] = ()) -> np.ndarray:
        with self._sentences():
            rows = self._connection.execute(statement, tuple(values)).fetchall()
        return np.array([key for (key,) in rows], np.int64)

    def by_key(self, keys: Sequence[int]) -> dict[int, Item]:
        """Items by key, of different keys; those that are gone are left out."""
        found = {}
        with self._sentences():
            for some in _chunks(keys):
                wanted = ",".join(map(str, some))
                for row in self._connection.execute(
                    f"SELECT {_COLUMNS}, key FROM items WHERE key IN ({wanted})"
                ):
                    found[row[-1]] = _item(row[:-1])
        return found

    def by_id(self, ids: Iterable[str]) -> dict[str, Item]:
        """Items by id; ids that are not there are left out."""
        found = {}
        with self._sentences():
            for some in _chunks(list(dict.fromkeys(ids))):
                marks = ", ".join("?" * len(some))
                for row in self._connection.execute(
                    f"SELECT {_COLUMNS} FROM items WHERE id IN ({marks})", some
                ):
                    found[row[0]] = _item(row)
        return found

    def items(self) -> Iterator[Item]:
        """All items in the order of their ids, as they are now."""
        with self._sentences():
            connection = self._connect(write=False)
            rows = connection.execute(f"SELECT {_COLUMNS} FROM items ORDER BY id")

        def each() -> Iterator[Item]:
            with self._sentences(), contextlib.closing(connection):
                yield from map(_item, rows)

        return each()

    def stamps(self) -> dict[str, str]:
        """The stamp of every item, by id."""
        with self._sentences():
            return dict(self._connection.execute("SELECT id, stamp FROM items"))

    def labels(self) -> dict[str, int]:
        """The number of items of every label, by label."""
        with self._sentences():
            return dict(self._connection.execute(
                "SELECT label, count(*) FROM labels GROUP BY label ORDER BY label"
            ))  # fmt: skip

    def write(self, items: Iterable[Item], delete: Iterable[str]) -> None:
        """Deletes and adds items in one commit; an item of a known id replaces the old one."""
        rows = [_row(item) for item in items]
        gone = [(name,) for name in (*delete, *(row[0] for row in rows))]
        with self._sentences(), self._transaction() as connection:
            connection.executemany("DELETE FROM items WHERE id = ?", gone)
            connection.executemany(
                f"INSERT INTO items ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)", rows
            )

    def copy_to(self, path: Path) -> None:
        """Writes all items to a new file, numbered in the order of their ids."""
        create(path)
        with self._sentences(), contextlib.closing(
            sqlite3.connect(path, isolation_level=None)
        ) as connection:
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("ATTACH ? AS old", (str(self._path),))
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(
                f"INSERT INTO items (key, {_COLUMNS}) "
                f"SELECT row_number() OVER (ORDER BY id) - 1, {_COLUMNS} FROM old.items ORDER BY id"
            )
            connection.execute("UPDATE held SET size = (SELECT count(*) FROM items)")
            connection.execute("COMMIT")
            connection.execute("DETACH old")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def codes(self, at_once: int = 100_000) -> Iterator[np.ndarray]:
        """Codes that FAISS is to hold, in the order of their keys, uint8 `[m, num_bytes]` each.

        Only after `copy_to`: no key is missing.
        """
        with self._sentences():
            cursor = self._connection.execute(
                "SELECT code FROM items WHERE key < ? ORDER BY key", (self.held,)
            )
            while rows := cursor.fetchmany(at_once):
                joined = np.frombuffer(b"".join(code for (code,) in rows), np.uint8)
                yield joined.reshape(len(rows), -1)

    def held_codes(self, at_once: int = 100_000) -> Iterator[tuple[np.ndarray, list[bytes]]]:
        """Keys int64 `[m]` and codes of the items that FAISS holds and that are not deleted."""
        with self._sentences():
            cursor = self._connection.execute(
                "SELECT key, code FROM items WHERE key < ? ORDER BY key", (self.held,)
            )
            while rows := cursor.fetchmany(at_once):
                yield np.array([key for key, _ in rows], np.int64), [code for _, code in rows]

    def check(self, num_bytes: int) -> list[str]:
        """What is wrong, a sentence each."""
        with self._sentences():
            execute = self._connection.execute
            [found] = execute("PRAGMA integrity_check").fetchone()
            if found != "ok":
                return [f"{self._path.name} is damaged ({found[:100]})"]
            counts = {
                f"{self._path.name}: {{}} items have codes of another length than {num_bytes}": (
                    f"SELECT count(*) FROM items WHERE length(code) <> {num_bytes}"
                ),
                f"{self._path.name}: {{}} labels are not those of the items": (
                    f"SELECT count(*) FROM ({_LABELS} EXCEPT SELECT label, key FROM labels) "
                    "UNION ALL SELECT count(*) FROM "
                    f"(SELECT label, key FROM labels EXCEPT {_LABELS}) ORDER BY 1 DESC"
                ),
                f"{self._path.name}: {{}} of {self.held} keys are neither items nor deleted": (
                    f"SELECT {self.held} - (SELECT count(*) FROM items WHERE key < {self.held}) "
                    "- (SELECT count(*) FROM tombstones)"
                ),
            }
            results = {text: execute(statement).fetchone()[0] for text, statement in counts.items()}
        return [text.format(number) for text, number in results.items() if number]

    def close(self) -> None:
        """Closes the file."""
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield self._connection
            self._connection.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):  # a full disk has rolled back already
                self._connection.execute("ROLLBACK")
            raise

    @contextlib.contextmanager
    def _sentences(self) -> Iterator[None]:
        """Says what SQLite cannot do."""
        try:
            yield
        except (sqlite3.Error, UnicodeDecodeError, ValueError, TypeError) as error:
            raise _explained(error, self._path) from error


def create(path: Path) -> None:
    """Makes an empty file, which replaces one that a killed process has left."""
    for old in (path, *companions(path)):
        old.unlink(missing_ok=True)
    try:
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.executescript(_SCHEMA)
            connection.execute("INSERT INTO held VALUES (0)")
    except sqlite3.Error as error:
        raise _explained(error, path) from error


def companions(path: Path) -> list[Path]:
    """The files that SQLite keeps beside one."""
    return [path.with_name(path.name + ending) for ending in ("-wal", "-shm", "-journal")]


def _explained(error: Exception, path: Path) -> UserError:
    code = getattr(error, "sqlite_errorcode", None)
    reason = " ".join(str(error).split())[:100]
    if code == sqlite3.SQLITE_FULL or (code or 0) & 0xFF == sqlite3.SQLITE_IOERR:
        return UserError(
            f"{path} cannot be written ({reason}): free some space and run the same command again; "
            "what was committed is kept."
        )
    if (code or 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return UserError(f"{path} is locked by another process: wait for its end.")
    denied = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN)
    if (code or 0) & 0xFF in denied:
        return UserError(f"{path} cannot be opened ({reason}): check that you may write to it.")
    return UserError(f"{path} is damaged ({reason}): restore the index, or index again.")


def _chunks(values: Sequence) -> Iterator[Sequence]:
    for first in range(0, len(values), _AT_ONCE):
        yield values[first : first + _AT_ONCE]


def _row(item: Item) -> tuple[str | bytes, ...]:
    labels = json.dumps(item.labels) if item.labels else "[]"
    metadata = json.dumps(dict(item.metadata)) if item.metadata else "{}"
    return item.id, item.code, item.path, item.text, labels, metadata, item.stamp


def _item(row: Sequence) -> Item:
    name, code, path, text, labels, metadata, stamp = row
    # Most items have few labels and no metadata, and a search of many must not parse nothing.
    names = tuple(json.loads(labels)) if labels != "[]" else ()
    fields = json.loads(metadata) if metadata != "{}" else {}
    return Item(name, code, path, text, names, fields, stamp)

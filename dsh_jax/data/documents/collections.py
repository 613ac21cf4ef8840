"""Collections of documents, read once into texts and tags in memory.

Reuters-21578 (Lewis, Distribution 1.0, ModApte split) and 20 Newsgroups (Lang, "NewsWeeder", 1995)
are read from the archives they are distributed in, which are never unpacked to disk. Documents of
one's own are read by `own`.
"""

import gzip
import re
import tarfile
import zlib
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path, PurePath, PurePosixPath
from typing import IO, Any, cast

import numpy as np

from dsh_jax.data.documents import own
from dsh_jax.data.documents.own import Reading
from dsh_jax.data.documents.tagged import Documents
from dsh_jax.data.labels import multi_hot
from dsh_jax.data.reading import Limited, open_regular, read_bytes
from dsh_jax.errors import UserError

_Row = tuple[str, str, list[str], bool]  # name, text, tags, whether a test document
# Control characters except "\t" and "\n"; removing "\r" makes all line ends alike.
_CONTROLS = dict.fromkeys({*range(32), *range(127, 160)} - {ord("\t"), ord("\n")})
_FIXES = {
    "reuters21578": "get reuters21578.tar.gz from https://archive.ics.uci.edu/dataset/137 and set"
    " data.data_dir to that file or to its folder",
    "20newsgroups": "get 20_newsgroups.tar.gz from http://qwone.com/~jason/20Newsgroups/ or"
    " https://archive.ics.uci.edu/dataset/113 and set data.data_dir to that file or to its folder",
    **own.FIXES,
}
NAMES = tuple(_FIXES)
# Of an archive or a folder. The largest collection has 60 MB in 20,000 files.
MOST_INFLATED = 2**30
MOST_MEMBERS = 100_000


def load_documents(name: str, path: Path | None, reading: Reading | None = None) -> Documents:
    """Reads a whole collection into memory.

    Args:
      name: "reuters21578" (multi-hot labels [12902, 118], the ModApte split), "20newsgroups"
        (class ids [19997], no official test documents), or a key of `own.LOADERS`.
      path: the collection's .tar.gz, or a folder with it or its files; for documents of one's own
        their file or folder.
      reading: how to read documents of one's own.

    Raises:
      UserError: the name is unknown, or the collection is missing, unreadable or damaged.
    """
    loaders = {"reuters21578": _load_reuters, "20newsgroups": _load_newsgroups}
    if name not in NAMES:
        raise UserError(f"Unknown collection {name!r}: choose one of {', '.join(NAMES)}.")
    if path is None:
        raise _error(name, "data.data_dir is not set")
    try:
        if name in own.LOADERS:
            return own.LOADERS[name](path.expanduser(), reading or Reading({}))
        return loaders[name](path.expanduser())
    except OSError as error:
        raise _error(name, f"{path} cannot be read ({error})") from error


def _error(name: str, problem: str) -> UserError:
    return UserError(f"{problem}: {_FIXES[name]}.")


def _read(name: str, path: Path, archive: str, files: str) -> dict[PurePath, bytes]:
    """The contents of the files that match a pattern, by their paths in the archive or folder."""
    source = next(path.glob(archive), path)
    try:
        members = _in_folder if source.is_dir() else _in_archive
        return dict(members(source, files))
    except (OSError, EOFError, tarfile.TarError, zlib.error, ValueError) as error:
        raise _error(name, f"{source} cannot be read ({error})") from error


def _in_folder(folder: Path, files: str) -> Iterator[tuple[PurePath, bytes]]:
    left = MOST_INFLATED
    for file in folder.glob(files):
        content = read_bytes(file, left)
        left -= len(content)
        yield file.relative_to(folder), content


def _in_archive(archive: Path, files: str) -> Iterator[tuple[PurePath, bytes]]:
    """Members of a .tar.gz, read in one pass and never more than the limits.

    Their names are compared with the pattern and are never used as paths.
    """
    with open_regular(archive) as file, gzip.open(file) as unzipped:
        limited = Limited(unzipped, MOST_INFLATED)
        with tarfile.open(fileobj=cast(IO[bytes], limited), mode="r|", bufsize=2**16) as tar:
            for number, member in enumerate(tar, start=1):
                if number > MOST_MEMBERS:
                    raise ValueError(f"it has more than {MOST_MEMBERS:,} members")
                place = PurePosixPath(member.name)
                if member.issparse():  # its holes would inflate once more
                    raise ValueError("it has a sparse member")
                if member.isfile() and place.match(files):
                    yield place, cast(IO[bytes], tar.extractfile(member)).read()
        while limited.read(2**16):  # to the end, where gzip keeps a checksum
            pass


def _multi_hot(name: str, version: str, rows: list[_Row]) -> Documents:
    names, texts, tags, is_test = zip(*rows, strict=True)
    class_names = sorted({tag for of_one in tags for tag in of_one})
    return Documents(
        name=name, version=version, names=names, texts=texts,
        labels=multi_hot(tags, class_names), is_test=np.array(is_test),
        class_names=tuple(class_names),
    )  # fmt: skip


def _load_reuters(path: Path) -> Documents:
    files = _read("reuters21578", path, "reuters21578.tar.gz", "reut2-0[0-9][0-9].sgm")
    if len(files) != 22:
        raise _error("reuters21578", f"{path} holds {len(files)} of the 22 files reut2-0*.sgm")
    rows: list[_Row] = []
    for place, content in sorted(files.items()):
        rows += _SgmlParser(f"{place} in {path}").parse(content.decode("latin-1").rstrip())
    return _multi_hot("reuters21578", "1.0", rows)


class _SgmlParser(HTMLParser):
    """Collects the train and test documents of the ModApte split from one file."""

    def __init__(self, place: str) -> None:
        super().__init__(convert_charrefs=True)
        self._place = place
        self._rows: list[_Row] = []
        self._attributes: dict[str, Any] = {}
        self._open: list[str] = []  # the open elements, outermost first
        self._pieces: dict[str, list[str]] = {}  # tag -> the text directly inside each element

    def parse(self, sgml: str) -> list[_Row]:
        try:
            self.feed(sgml)
        except AssertionError as error:  # some versions of Python raise it for an unknown "<!["
            raise self._broken("holds invalid SGML markup") from error
        if self._open or not sgml.endswith("</REUTERS>"):
            raise self._broken("is the last and ends inside a document")
        return self._rows

    def _broken(self, problem: str) -> UserError:
        return _error("reuters21578", f"Line {self.getpos()[0]} of {self._place} {problem}")

    def set_cdata_mode(self, *args: Any, **kwargs: Any) -> None:
        """Disables raw text mode, which newer versions of Python apply to TITLE."""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "reuters":
            if self._open:
                raise self._broken("begins a document inside another")
            self._attributes = dict(attrs)
            for name in ("LEWISSPLIT", "TOPICS", "NEWID"):
                if not self._attributes.get(name.lower()):
                    raise self._broken(f"begins a document without {name}")
            self._pieces = {tag: [] for tag in ("reuters", "topics", "d", "text", "title", "body")}
        # A <D> that is not in TOPICS is a place, a person or the like.
        if tag in self._pieces and (tag != "d" or "topics" in self._open):
            self._open.append(tag)
            self._pieces[tag].append("")

    def handle_data(self, data: str) -> None:
        if self._open:
            self._pieces[self._open[-1]][-1] += data

    def handle_endtag(self, tag: str) -> None:
        if tag in self._open:
            del self._open[self._open.index(tag) :]
        elif tag == "reuters":
            raise self._broken("ends a document that never began")
        split = self._attributes.get("lewissplit")
        if tag == "reuters" and self._attributes["topics"] == "YES" and split in ("TRAIN", "TEST"):
            # A BRIEF text is a title among fillers; an UNPROC text has no elements.
            parts = self._pieces["title"] + self._pieces["body"] or self._pieces["text"]
            text = "\n".join(part.translate(_CONTROLS).strip() for part in parts)
            self._rows.append((self._attributes["newid"], text, self._pieces["d"], split == "TEST"))


def _load_newsgroups(path: Path) -> Documents:
    files = _read("20newsgroups", path, "20_newsgroups.tar.gz", "*/[0-9]*")
    messages = sorted(
        (place.parent.name, int(place.name), content.decode("latin-1").translate(_CONTROLS))
        for place, content in files.items()
        if re.fullmatch("[0-9]{1,18}", place.name)
    )
    groups = sorted({group for group, _, _ in messages})
    if len(groups) != 20:
        raise _error("20newsgroups", f"{path} holds messages of {len(groups)} groups, not 20")
    names = tuple(f"{group}/{number}" for group, number, _ in messages)
    texts = tuple(strip_footer(strip_quotes(strip_headers(text))) for _, _, text in messages)
    labels = np.array([groups.index(group) for group, _, _ in messages], np.int32)
    version = str(len(names))  # differs between the editions: 19997, 18846, 18828
    return Documents(
        name="20newsgroups", version=version, names=names, texts=texts, labels=labels,
        is_test=np.zeros(len(names), bool), class_names=tuple(groups),
    )  # fmt: skip


def strip_headers(message: str) -> str:
    """The text after the first empty line; empty if there is none."""
    return message.partition("\n\n")[2]


def strip_quotes(text: str) -> str:
    """A text without the lines that quote another message or name its author."""
    # Quoted lines begin with ">", "|", ":" or "}", or with initials before ">" ("JD> words").
    mark = re.compile(r"\s*([A-Za-z]{0,3}>|[|:}]|In (a previous )?article\b|.*(writes|wrote):\s*$)")
    return "\n".join(line for line in text.split("\n") if not mark.match(line)).strip()


def strip_footer(text: str, at_most: int = 10) -> str:
    """A text without its signature: up to `at_most` lines after the last line of dashes."""
    rule = re.compile(r"\s*--+\s*")
    lines = text.rstrip("\n\t -").split("\n")  # also drops the bottom line of a framed signature
    first = max(0, len(lines) - at_most - 1)
    rules = [row for row in range(first, len(lines)) if rule.fullmatch(lines[row])]
    return "\n".join(lines[: rules[-1]] if rules else lines).strip()

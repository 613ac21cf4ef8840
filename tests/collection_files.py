"""Hand-made collections of documents in the layout of the real ones.

Reuters-21578 is 22 SGML files, and 20 Newsgroups is 20 folders of messages.
"""

import json
import tarfile
from pathlib import Path

import numpy as np

from dsh_jax.data.documents.collections import load_documents
from tests.messages import one_sentence

TEXT_DIR = Path(__file__).parents[2] / "shared/data/text"

BEGIN = '<REUTERS TOPICS="{}" LEWISSPLIT="{}" CGISPLIT="TRAINING-SET" OLDID="5544" NEWID="{}">\n'
DOCUMENT = (
    BEGIN
    + """<DATE>26-FEB-1987 15:01:01.79</DATE>
<TOPICS>{}</TOPICS>
<PLACES><D>usa</D></PLACES>
<PEOPLE></PEOPLE>
<UNKNOWN>
&#5;&#5;&#5;C T
&#22;&#22;&#1;f0704&#31;reute</UNKNOWN>
{}
</REUTERS>
"""
)
NORM = (
    "<TEXT>&#2;\n<TITLE>{}</TITLE>\n<DATELINE>    SALVADOR, Feb 26 - </DATELINE>"
    "<BODY>{}\n Reuter\n&#3;</BODY></TEXT>"
)
BRIEF = '<TEXT TYPE="BRIEF">&#2;\n******<TITLE>{}\n</TITLE>Blah blah blah.\n&#3;\n\n</TEXT>'
UNPROC = '<TEXT TYPE="UNPROC">&#2;\n{}\n&#3;</TEXT>'
HEAD = '<!DOCTYPE lewis SYSTEM "lewis.dtd">\n'
FILLER = HEAD + DOCUMENT.format("NO", "TRAIN", 9, "<D>left-out</D>", NORM.format("T", "B"))
TITLE, BODY = "COCOA &lt;CO> &amp; SONS", "Fell\x1b 5 &lt; 6&#127;\r\n    and\x85 \xfc&#30;."
FIRST = HEAD + "".join(
    DOCUMENT.format(*values)
    for values in (
        ("YES", "TRAIN", 1, "<D>grain</D><D>cocoa</D>", NORM.format(TITLE, BODY)),
        ("YES", "TEST", 2, "<D>only-in-test</D>", BRIEF.format("COCOA FELL")),
        ("YES", "NOT-USED", 3, "<D>left-out</D>", NORM.format("T", "B")),
        ("BYPASS", "TEST", 4, "<D>left-out</D>", NORM.format("T", "B")),
        ("YES", "TEST", 5, "", UNPROC.format("FED REPORT\n Float...2,101")),
    )
)
LAST = HEAD + DOCUMENT.format("YES", "TRAIN", 6, "<D>cocoa</D>", NORM.format("T", "B"))


def write_reuters(folder, first=FIRST):
    """Writes the 22 files; the documents of interest are in the second one and in the last."""
    folder.mkdir()
    for number in range(22):
        text = {1: first, 21: LAST}.get(number, FILLER)
        (folder / f"reut2-{number:03}.sgm").write_bytes(text.encode("latin-1"))
    (folder / "README.txt").write_text("<REUTERS>")
    return folder


def write_newsgroups(folder, messages=(), groups=20):
    for number in range(groups):
        (folder / f"group.{number:02}").mkdir(parents=True)
        (folder / f"group.{number:02}" / "100").write_bytes(b"From: x\n\nwords\n")
    for place, content in messages:
        (folder / place).write_bytes(content)
    return folder


def pack(source, archive, root):
    """Packs a folder under the name `root` ("" for none), its files in reverse order."""
    with tarfile.open(archive, "w:gz") as tar:
        for file in sorted(source.rglob("*"), reverse=True):
            tar.add(file, Path(root) / file.relative_to(source), recursive=False)
    return archive


def write_lines(path, *lines):
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("\n".join(texts))
    return path


def same(a, b):
    return (
        (a.name, a.version, a.names, a.texts, a.class_names)
        == (b.name, b.version, b.names, b.texts, b.class_names)
        and np.array_equal(a.labels, b.labels)
        and np.array_equal(a.is_test, b.is_test)
    )


def error_of(name, path, *parts):
    """The message of the `UserError` for a collection, which has these parts."""
    return one_sentence(lambda: load_documents(name, path), *parts)

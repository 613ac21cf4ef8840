"""What `search.py` takes: verbs and their options. Imports nothing that is slow."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from dsh_jax.errors import UserError


class _Parser(argparse.ArgumentParser):
    """Explains a mistake in one sentence."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}: see {self.prog} --help.")


class _Term(argparse.Action):
    """Collects what a query is made of, in the order of the command line."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option: str | None = None,
    ) -> None:
        terms = [*(getattr(namespace, "terms", None) or [])]
        if self.dest == "weight":
            if not terms:
                parser.error("--weight comes after the item that it weighs")
            terms[-1] = (*terms[-1][:2], values)
        else:
            terms.append((self.dest, values, 1.0))
        namespace.terms = terms


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of 1 or more")
    return int(text)


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port, 0 to 65535")
    return int(text)


def _bits(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of bits, 0 or more")
    return int(text)


def _weight(text: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        weight = float("nan")
    if not abs(weight) < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} is not a weight")
    return weight


def _shard(text: str) -> tuple[int, int]:
    shard, _, shards = text.partition("/")
    if not (shard.isdecimal() and shards.isdecimal() and int(shard) < int(shards)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a shard: write 0/2 and 1/2, for example")
    return int(shard), int(shards)


def _option(text: str) -> tuple[str, int]:
    name, _, number = text.partition("=")
    if not name or not number.isdecimal() or not int(number):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=NUMBER")
    return name, int(number)


def _add_index(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--index", required=True, metavar="URI",
        help="a folder (FAISS), http://host:19530/name (Milvus) or FILE.db (Milvus Lite)",
    )  # fmt: skip


def _add_source(parser: argparse.ArgumentParser, *, codes: bool) -> None:
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--images", type=Path, metavar="DIR", help="a folder, or a list of images")
    source.add_argument("--jsonl", type=Path, metavar="FILE", help="documents or images")
    source.add_argument("--vectors", type=Path, metavar="FILE.npy",
                        help="vectors, or .npz, Parquet or a folder")  # fmt: skip
    if codes:
        source.add_argument("--codes", type=Path, metavar="FILE.npz", help="codes of your own")
        source.add_argument("--parts", type=Path, metavar="DIR", help="what encode has written")
        parser.add_argument("--num-bits", type=_positive, help="of codes whose file does not say")
    parser.add_argument("--model", help="a workdir or an encoder file")
    parser.add_argument(
        "--batch", type=_positive, default=1024, help="items of a commit (%(default)s)"
    )
    parser.add_argument(
        "--once", action="store_true", help="print one line and no progress, for cron"
    )


def _add_kind(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--kind", help="flat (exact), ivf, hnsw or multihash; flat if not given")
    parser.add_argument(
        "--set", action="append", type=_option, metavar="NAME=NUMBER", help="an option of the kind"
    )


def _add_serve(serve: argparse.ArgumentParser) -> None:
    serve.add_argument("--index", action="append", required=True, metavar="URI",
                       help="may be repeated")  # fmt: skip
    serve.add_argument("--model", action="append", help="of the first --index, and so on, if moved")
    serve.add_argument("--host", default="127.0.0.1", help="%(default)s; 0.0.0.0 is every network")
    serve.add_argument("--port", type=_port, default=8000, help="%(default)s; 0 takes a free one")
    serve.add_argument("--token-file", type=Path, metavar="FILE",
                       help="the bearer token that requests need; or DSH_JAX_TOKEN")  # fmt: skip
    serve.add_argument("--thumbnails", type=Path, metavar="DIR", help="where they are kept")
    for name, default, text in (
        ("--max-upload", 2**24, "bytes of a request"),
        ("--max-pixels", 25_000_000, "pixels of its image"),
        ("--max-top", 1000, "items that it may ask for"),
        ("--timeout", 10, "seconds that it may take"),
        ("--concurrency", 32, "requests at once"),
    ):
        serve.add_argument(name, type=_positive, default=default, metavar="NUMBER",
                           help=f"{text} (%(default)s)")  # fmt: skip


def parser() -> argparse.ArgumentParser:
    """The parser of `search.py`."""
    top = _Parser(prog="search.py", description="Searches images, documents and codes.")
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB")

    def verb(name: str, text: str) -> argparse.ArgumentParser:
        return verbs.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")

    index = verb("index", "make an index hold what a source has; run again, it goes on")
    _add_index(index)
    _add_source(index, codes=True)
    _add_kind(index)
    add = verb("add", "add what a source has, and drop nothing")
    _add_index(add)
    _add_source(add, codes=True)

    encode = verb("encode", "encode one shard of a source into parts, for index --parts")
    encode.add_argument("--parts", type=Path, required=True, metavar="DIR", help="where to write")
    encode.add_argument("--shard", type=_shard, default=(0, 1), help="0/2 is the first of two")
    _add_source(encode, codes=False)

    query = verb("query", "find the nearest items")
    _add_index(query)
    for name, metavar, text in (
        ("image", "FILE", "an image"), ("text", "TEXT", "a document"),
        ("vector", "FILE.npy", "a vector"),
        ("code", "HEX", "a packed code"), ("id", "ID", "an item of the index"),
    ):  # fmt: skip
        query.add_argument(
            f"--{name}", action=_Term, metavar=metavar, help=f"ask with {text}; may be repeated"
        )
    query.add_argument(
        "--weight", action=_Term, type=_weight,
        help="of the item before it (1); negative is away from it",
    )  # fmt: skip
    query.add_argument("--model", help="a workdir or an encoder file, if the index's has moved")
    query.add_argument("--top", type=_positive, help="at most so many items (10)")
    query.add_argument("--radius", type=_bits, help="all items within so many bits")
    query.add_argument("--max-distance", type=_bits, help="of the top, those within so many bits")
    query.add_argument("--label", action="append", help="only items with it; may be repeated")
    query.add_argument(
        "--unique", type=_bits, nargs="?", const=0, metavar="BITS",
        help="leave out items within so many bits (0) of a nearer one",
    )  # fmt: skip
    query.add_argument("--exact", action="store_true", help="whatever the kind of the index")
    form = query.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print a JSON object for each item")
    form.add_argument("--paths", action="store_true", help="print paths alone")
    query.add_argument("--show", type=Path, metavar="FILE.png", help="also draw the images")

    delete = verb("delete", "delete items")
    _add_index(delete)
    delete.add_argument("--id", action="append", default=[], help="may be repeated")
    delete.add_argument("--ids", type=Path, metavar="FILE", help="an id on each line; - is stdin")

    info = verb("info", "say what an index is")
    _add_index(info)
    info.add_argument("--json", action="store_true")
    info.add_argument("--labels", action="store_true", help="also items of each label")
    _add_index(verb("check", "read everything, and exit with 1 if anything is wrong"))
    compact = verb("compact", "free what deleted items took, or change the kind")
    _add_index(compact)
    _add_kind(compact)
    _add_serve(verb("serve", "answer over HTTP, with a page; several indexes are compared"))

    export = verb("export", "write a model for programs without this package")
    export.add_argument("--model", required=True, help="a workdir or an encoder file")
    export.add_argument("--to", required=True, choices=("stablehlo", "safetensors", "onnx"))
    export.add_argument("--output", type=Path, required=True, metavar="FILE", help="what to write")
    return top


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The options of a command line.

    Raises:
      UserError: an option is missing, unknown or invalid.
    """
    return parser().parse_args(arguments)

"""`search.py`: each verb is a function of its options. What is slow is imported when it is used."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dsh_jax import interrupt
from dsh_jax.errors import UserError, brief
from dsh_jax.search import arguments, models, query_command, serve_command

if TYPE_CHECKING:
    from dsh_jax.encoder import Encoder
    from dsh_jax.search.building import Counts, Encode
    from dsh_jax.search.index import Index
    from dsh_jax.search.sources import Source


def main(argv: Sequence[str]) -> None:
    """Runs a command line; a mistake is one sentence and exit code 2."""
    try:
        options = arguments.parse(argv)
        interrupt.stop_in_order()
        code = VERBS[options.verb](options)
        sys.stdout.flush()
    except UserError as error:
        interrupt.end(2, f"error: {' '.join(str(error).split())}")
    except BrokenPipeError:
        interrupt.end(2)  # who reads it has enough
    except OSError as error:
        interrupt.end(2, f"error: {brief(error)}: make room, or choose another place, and run the "
                         "same command again.")  # fmt: skip
    except KeyboardInterrupt:
        interrupt.end(130, interrupt.STOPPED)
    interrupt.end(code)


def index(options: argparse.Namespace) -> int:
    """Makes an index hold what a source has."""
    from dsh_jax.search.building import mirror
    from dsh_jax.search.index import create_index, index_exists, open_index
    from dsh_jax.search.manifest import Manifest

    source = _source(options)
    exists = index_exists(options.index)
    _check_same_kind(options, exists)
    encoder, num_bits, fingerprint = _model(options, source)
    encode = _encode(encoder, source)
    if not exists:
        model = str(Path(options.model).expanduser().absolute()) if options.model else ""
        kind, chosen = options.kind or "flat", dict(options.set or ())
        create_index(options.index, Manifest(num_bits, fingerprint, model, kind, chosen))
    with open_index(options.index, write=True) as opened:
        opened.require(num_bits=num_bits, fingerprint=fingerprint, model=_named(options, source))
        counts = mirror(opened, source, encode, batch=options.batch, progress=not options.once)
        _finish(options, source, counts, opened)
    return 0


def add(options: argparse.Namespace) -> int:
    """Adds what a source has, and drops nothing."""
    from dsh_jax.search.building import fill
    from dsh_jax.search.index import open_index

    source = _source(options)
    with open_index(options.index, write=True) as opened:
        options.model = options.model or opened.manifest.model or None
        encoder, num_bits, fingerprint = _model(options, source)
        opened.require(num_bits=num_bits, fingerprint=fingerprint, model=_named(options, source))
        counts = fill(opened, source.entries, _encode(encoder, source), batch=options.batch,
                      progress=not options.once)  # fmt: skip
        _finish(options, source, counts, opened)
    return 0


def encode(options: argparse.Namespace) -> int:
    """Encodes one shard of a source into parts."""
    from dsh_jax.search.building import fill
    from dsh_jax.search.parts import Parts
    from dsh_jax.search.sources import shard_of

    source = _source(options)
    shard, shards = options.shard
    encoder, num_bits, fingerprint = _model(options, source)
    parts = Parts(
        options.parts.expanduser(), shard, shards, num_bits=num_bits, fingerprint=fingerprint
    )
    entries = list(shard_of(source.entries, shard, shards))
    counts = fill(parts, entries, _encode(encoder, source), batch=options.batch,
                  progress=not options.once)  # fmt: skip
    _report(options, source, counts, f"shard {shard} of {shards} in {options.parts}")
    return 0


def delete(options: argparse.Namespace) -> int:
    """Deletes items."""
    from dsh_jax.data.reading import read_text
    from dsh_jax.search.index import open_index

    ids = list(options.id)
    if options.ids is not None:
        try:
            text = sys.stdin.read() if str(options.ids) == "-" else read_text(options.ids)
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(
                f"{options.ids} cannot be read ({brief(error)}): name a file with an id on each "
                "line."
            ) from error
        ids += [line for line in text.splitlines() if line]
    if not ids:
        raise UserError("no item is named: give --id or --ids.")
    with open_index(options.index, write=True) as opened:
        opened.delete(ids)
        print(f"{len({*ids}):,} deleted; {len(opened):,} items in {options.index}")
    return 0


def info(options: argparse.Namespace) -> int:
    """Says what an index is."""
    from dsh_jax.search.index import open_index

    with open_index(options.index) as opened:
        facts = opened.info() | ({"labels": opened.labels()} if options.labels else {})
    if options.json:
        print(json.dumps(facts))
        return 0
    for name, value in facts.items():
        shown = f"{value:,}" if isinstance(value, int) else value
        if isinstance(value, dict):
            shown = ", ".join(f"{key} {number:,}" for key, number in value.items()) or "none"
        print(f"{name:26} {shown}")
    return 0


def check(options: argparse.Namespace) -> int:
    """Reads everything."""
    from dsh_jax.search.index import open_index

    with open_index(options.index) as opened:
        wrong = opened.check()
        print("\n".join(wrong) or f"{len(opened):,} items in {options.index}, and nothing is wrong")
    return 1 if wrong else 0


def compact(options: argparse.Namespace) -> int:
    """Frees what deleted items took, or changes the kind."""
    from dsh_jax.search.index import open_index

    with open_index(options.index, write=True) as opened:
        opened.compact(options.kind, dict(options.set) if options.set else None)
        print(f"{len(opened):,} items in {options.index}, kind {opened.manifest.kind}")
    return 0


def export(options: argparse.Namespace) -> int:
    """Writes a model for programs without this package."""
    from dsh_jax.export import export_model

    path = export_model(options.model, options.to, options.output)
    print(f"{path} ({path.stat().st_size:,} bytes, {options.to})")
    return 0


VERBS: dict[str, Callable[[argparse.Namespace], int]] = {
    "index": index, "add": add, "encode": encode, "query": query_command.query,
    "delete": delete, "info": info, "check": check, "compact": compact,
    "serve": serve_command.serve, "export": export,
}  # fmt: skip


def _source(options: argparse.Namespace) -> Source:
    from dsh_jax.search import code_files, parts, sources, vector_files

    if options.images is not None:
        return sources.of_images(options.images)
    if options.jsonl is not None:
        return sources.of_jsonl(options.jsonl)
    if options.vectors is not None:
        return vector_files.of_vectors(options.vectors)
    if options.codes is not None:
        return code_files.of_codes(options.codes, options.num_bits)
    return parts.of_parts(options.parts)


def _model(options: argparse.Namespace, source: Source) -> tuple[Encoder | None, int, str]:
    """The encoder of the items, if they need one, and length and fingerprint of their codes."""
    if source.kind == "codes" and not options.model:
        return None, source.num_bits, source.fingerprint
    if not options.model:
        raise UserError("--model is missing: name the workdir or the encoder file to encode with.")
    encoder = models.load(options.model)
    fingerprint = encoder.fingerprint
    if source.kind == "codes":
        if source.fingerprint not in ("", fingerprint) or source.num_bits != encoder.num_bits:
            raise UserError(
                f"the codes of {source.name} are not of {options.model}: name the model that they "
                "were made with."
            )
        return None, source.num_bits, fingerprint
    return encoder, encoder.num_bits, fingerprint


def _encode(encoder: Encoder | None, source: Source) -> Encode:
    from dsh_jax.search.building import as_they_are, encode_with

    return as_they_are if encoder is None else encode_with(encoder, source.kind, source.vectors)


def _named(options: argparse.Namespace, source: Source) -> str:
    return options.model or source.name


def _check_same_kind(options: argparse.Namespace, exists: bool) -> None:
    if exists and (options.kind or options.set):
        raise UserError(
            f"{options.index} is there already, and --kind and --set are for a new index: change "
            "its kind with search.py compact."
        )


def _finish(options: argparse.Namespace, source: Source, counts: Counts, opened: Index) -> None:
    if opened.needs_compaction():
        opened.compact()
    _report(options, source, counts, f"{len(opened):,} items in {options.index}")


def _report(options: argparse.Namespace, source: Source, counts: Counts, where: str) -> None:
    print(f"{counts.line()}; {where}")
    left_out = (*source.skipped, *counts.unreadable)
    if not options.once:
        for line in left_out[:10]:
            print(f"left out: {line}", file=sys.stderr)
        if len(left_out) > 10:
            print(f"left out: {len(left_out) - 10:,} more", file=sys.stderr)

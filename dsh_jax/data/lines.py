"""Files with one item a line: every line that is wrong, in one error."""

import codecs
import difflib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dsh_jax.errors import UserError, UserErrors


@dataclass
class Mistakes:
    """What is wrong with the lines of a file.

    Attributes:
      source: the file.
      fix: how its lines should be.
      unit: what they are called.
      of_lines: (line number, what is wrong with it), in any order.
    """

    source: Path
    fix: str
    of_lines: list[tuple[int, str]] = field(default_factory=list)
    unit: str = "line"

    def add(self, line: int, problem: str) -> None:
        """Notes what is wrong with a line, as the rest of the sentence "line 3 ..."."""
        self.of_lines.append((line, problem))

    def check(self) -> None:
        """Refuses the file if a line is wrong.

        Raises:
          UserError: names the lines, and says how to write them.
        """
        if len(self.of_lines) == 1:
            ((line, problem),) = self.of_lines
            raise UserError(
                f"{self.unit.capitalize()} {line} of {self.source} {problem}: {self.fix}."
            )
        if self.of_lines:
            raise UserErrors(
                f"{len(self.of_lines):,} {self.unit}s of {self.source} are wrong: {self.fix}.",
                [f"{self.unit} {line} {problem}" for line, problem in sorted(self.of_lines)],
            )


def decoded(content: bytes, mistakes: Mistakes) -> Iterator[tuple[int, str]]:
    """The lines of a text in UTF-8, numbered from 1, with or without a byte order mark.

    Lines in another encoding are left out, as mistakes.

    Raises:
      UserError: the whole text is in UTF-16, as some programs save it.
    """
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise UserError(f"{mistakes.source} is in UTF-16: save it as UTF-8.")
    content = content.removeprefix(codecs.BOM_UTF8)
    content = content.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    for number, line in enumerate(content.split(b"\n"), start=1):
        try:
            yield number, line.decode()
        except UnicodeDecodeError as error:
            mistakes.add(
                number,
                f"is not in UTF-8 (byte 0x{line[error.start]:02X} in column {error.start + 1})",
            )


@dataclass(frozen=True)
class Key:
    """A key of a JSON object.

    Attributes:
      kind: its values in words.
      fits: whether a value is one of them.
      default: the value where there is none, or null; None where there must be one.
    """

    kind: str
    fits: Callable[[Any], bool]
    default: Any = None


def is_list_of_strings(value: Any) -> bool:
    """Whether a JSON value is a list of strings."""
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def json_lines(
    content: bytes, keys: Mapping[str, Key], mistakes: Mistakes
) -> Iterator[tuple[int, dict[str, Any]]]:
    """The JSON objects of a text, one a line, with their line numbers; other keys are left out.

    Args:
      content: of a file; empty lines are left out.
      keys: of each object.
      mistakes: gets the lines that are wrong, which are left out.
    """
    for number, line in decoded(content, mistakes):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            problem = error.msg[0].lower() + error.msg[1:].removesuffix(" at")
            mistakes.add(number, f"is not JSON ({problem}, in column {error.colno})")
            continue
        except (ValueError, RecursionError):  # a number of thousands of digits, or "[[[[..."
            mistakes.add(number, "is not JSON (it is nested too deeply, or has too large a number)")
            continue
        problem = _problem(record, keys)
        if problem:
            mistakes.add(number, problem)
            continue
        yield number, {name: _value(record, name, key) for name, key in keys.items()}


def _value(record: dict[str, Any], name: str, key: Key) -> Any:
    value = record.get(name)
    return key.default if value is None else value


def _problem(record: Any, keys: Mapping[str, Key]) -> str:
    """What is wrong with a JSON value, or nothing."""
    if not isinstance(record, dict):
        return "is not a JSON object"
    for name, key in keys.items():
        if name not in record:
            # Without this a misspelt key would be a missing one, which may be allowed.
            others = {other.casefold(): other for other in record if other not in keys}
            for similar in difflib.get_close_matches(name, others, n=1, cutoff=0.8):
                return f'has no "{name}" but "{others[similar]}"'
        value = _value(record, name, key)
        if value is None:
            return f'has no "{name}"'
        if not key.fits(value):
            return f'has "{name}" {_shown(value)}, not {key.kind}'
    return ""


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:60]}..."

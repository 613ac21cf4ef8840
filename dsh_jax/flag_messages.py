"""What the commands say about their flags: `--help`, and mistakes in plain words."""

import difflib
import re
import sys
import textwrap
from collections.abc import Sequence

from absl import flags

_HELP = ("-h", "-help", "--h", "--help")
_FIELDS = (
    "The fields of a config are described in configs/default.py, line by line; "
    "--config.field=value sets one of them, as in --config.num_steps=1000."
)


def asks_for_help(arguments: Sequence[str]) -> bool:
    """Whether a flag asks for help; what follows "--" is no flag."""
    options = list(arguments)
    if "--" in options:
        options = options[: options.index("--")]
    return any(option in _HELP for option in options)


def help_page(script: str, about: str) -> str:
    """What a program does, and its own flags; not those of the libraries that it imports."""
    own = [
        flag
        for module in {script, sys.argv[0], "__main__", "dsh_jax.cli"}
        for flag in flags.FLAGS.flags_by_module_dict().get(module, ())
    ]
    lines = []
    for flag in sorted(own, key=lambda flag: flag.name):
        name = f"--[no]{flag.name}" if flag.boolean else f"--{flag.name}"
        text = re.sub("^<.*?>: |; repeat this option .*", "", " ".join((flag.help or "").split()))
        options = _options(flag)
        text += f" One of {', '.join(options)}." if options else ""
        if isinstance(flag.default, str) and flag.default:
            text += f" Default: {flag.default}."
        wrapped = textwrap.wrap(text, 96, initial_indent=" " * 6, subsequent_indent=" " * 6)
        lines += [f"  {name}", *wrapped]
    fields = textwrap.fill(_FIELDS, 100)
    shown = [about.strip(), "Flags:\n" + "\n".join(lines), fields]
    if not any(flag.name == "config" for flag in own):
        del shown[-1]
    return "\n\n".join(shown)


def explain(error: Exception, values: flags.FlagValues = flags.FLAGS) -> str:
    """A mistake in a flag, in one sentence, without the words of the libraries that found it."""
    message = " ".join(str(error).split())
    if isinstance(error, flags.UnrecognizedFlagError):
        return _unknown(error.flagname, values)
    missing = re.findall(r"flag --([\w.]+)=None: Flag --", message)
    if missing:
        names = " and ".join(f"--{name}" for name in sorted(missing))
        are = "are" if len(missing) > 1 else "is"
        return f"{names} {are} missing; --help shows the flags."
    if match := re.match(r"Missing value for flag --?([\w.]+)", message):
        return f"--{match[1]} has no value; write --{match[1]}=VALUE."
    if match := re.match(r"flag --([\w.]+)=(.*?): ", message, re.DOTALL):
        return f"--{match[1]} is {match[2]!r}; {_wanted(match[1], values)}."
    if match := re.match(r"Found (--?\S+) in argv before a value for --(\w+)", message):
        return f"{match[1]} is before --{match[2]}; write it after."
    if match := re.match(r"Flag (\S+) is provided after (\S+) and", message):
        return f"{match[1]} would undo {match[2]}, which is before it; leave out one of them."
    return f"the flags cannot be read ({re.sub(r'[A-Za-z.]*Error: ', '', message)}); see --help."


def _unknown(name: str, values: flags.FlagValues) -> str:
    group, dot, field = name.partition(".")
    if dot and group in values:
        return f"--{name} sets a field of a config; name the config first, with --{group} FILE."
    known = [known for known in values if known not in ("h", "help")]
    similar = difflib.get_close_matches(name, known, n=1)
    meant = f"did you mean --{similar[0]}? " if similar else ""
    return f"there is no flag --{name}; {meant}--help shows the flags."


def _wanted(name: str, values: flags.FlagValues) -> str:
    """How to set a flag, by its kind."""
    if name not in values:
        return "set it to a value of the same type as before"
    if values[name].boolean:
        return "set it to true or false"
    if options := _options(values[name]):
        return f"set it to one of {', '.join(options)}"
    return f"set it to {values[name].parser.syntactic_help or 'a value of its type'}"


def _options(flag: flags.Flag) -> list[str]:
    """The values of a flag that takes one of several."""
    return [option for option in getattr(flag.parser, "enum_values", ()) if option]

"""Files of a workdir besides its checkpoints: `config.json`, `split.json` and `run.json`."""

import importlib.metadata
import json
import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from dsh_jax.data.documents.own import COLUMNS
from dsh_jax.data.documents.vocabulary import LETTERS
from dsh_jax.data.images.decoding import LANCZOS, MOST_PIXELS
from dsh_jax.errors import UserError
from dsh_jax.files import read_json, write_json
from dsh_jax.methods import shttm_improvements
from dsh_jax.networks.backbones import BACKBONES

# These may differ between a run and its resumption: they do not change what is learned.
FREE_FIELDS = ("data.data_dir", "data.root", "data.image_root", "data.cache_dir",
               "data.memory_limit_gb", "data.dry_run", "judge", "metrics",
               "distributed", "max_minutes", "profile", "items_on_device",
               "steps_per_call")  # fmt: skip
# Fields that configs of earlier versions do not have, and what training did without them.
_NEW_FIELDS = {
    "data.stop_words": "english",
    "data.token_pattern": LETTERS,
    "data.analyser": "words",
    "data.ngram_min": 0,
    "data.ngram_max": 0,
    **{f"data.{column}_column": "" for column in COLUMNS},
    "data.tag_separator": ";",
    "data.max_characters": 1_000_000,
    "data.max_tags": 1000,
    "data.max_pixels": MOST_PIXELS,
    "data.interpolation": LANCZOS,
    "generator.image_size": -1,
    "augment.least_area": 1.0,
    "augment.colour": 0.0,
    "codes.database_codes": "function",
    **shttm_improvements.NEW_FIELDS,
}


def flatten(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested fields with dotted names: `{"loss": {"labels": x}}` -> `{"loss.labels": x}`."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def as_dict(config: ConfigDict) -> dict[str, Any]:
    """The config as it is read back from JSON: tuples become lists."""
    return json.loads(json.dumps(config.to_dict()))


def has_checkpoint(workdir: Path) -> bool:
    """Whether a workdir has a checkpoint, whole or damaged."""
    folders = (workdir / "checkpoints").glob("*")
    return any(path.name.isdecimal() and path.is_dir() for path in folders)


def check_same_config(workdir: Path, config: ConfigDict, *, more_steps: bool = False) -> bool:
    """Whether the files of a workdir are of this config; they are not if there are none.

    A run without a checkpoint does not claim its workdir: another config may be trained there.

    Args:
      workdir: that may hold a run.
      config: to compare with.
      more_steps: whether one with a larger `num_steps` is the same, so that a run goes on for
        longer.

    Raises:
      UserError: there is a checkpoint of another config; names the fields that differ.
    """
    path = workdir / "config.json"
    has_any = has_checkpoint(workdir)
    if not path.exists():
        return has_any
    try:
        there = read_json(path)
        if not isinstance(there, dict):
            raise UserError(f"{path} holds no config; restore it or choose another --workdir.")
    except UserError:
        if has_any:
            raise
        return False
    saved, new = flatten(there), flatten(as_dict(config))
    saved = {name: value for name, value in _NEW_FIELDS.items() if name in new} | saved
    if new.get("representation.name") not in BACKBONES:  # then they do nothing
        saved, new = ({name: value for name, value in fields.items()
                       if not name.startswith("pretrained.")} for fields in (saved, new))
    if more_steps and is_raised(saved.get("num_steps"), new.get("num_steps")):
        saved["num_steps"] = new["num_steps"]
    differing = [
        f"{field} ({saved.get(field, 'absent')!r} there, {new.get(field, 'absent')!r} now)"
        for field in sorted(saved.keys() | new.keys())
        if field not in FREE_FIELDS and saved.get(field) != new.get(field)
    ]
    if differing and has_any:
        raise UserError(
            f"{workdir} holds a run of another config: {', '.join(differing)}; "
            "choose another --workdir, or the same config to resume."
        )
    return not differing


def is_raised(before: Any, now: Any) -> bool:
    """Whether a number of steps became larger."""
    return type(before) is int and type(now) is int and before < now


def record_run(path: Path, run: dict[str, Any], step: int, num_devices: int) -> list[str]:
    """Keeps how a run was made, and on how many devices from which step on.

    Args:
      path: of `run.json`. One that is cut off is replaced.
      run: of this call; written where it starts the run.
      step: steps done before this call.
      num_devices: that share its batches.

    Returns:
      A line if the number of devices has changed, which changes what dropout draws.
    """
    try:
        saved = read_json(path) if step else None
    except UserError:
        saved = None
    saved = dict(saved) if isinstance(saved, dict) else dict(run)
    devices = list(saved.get("devices", []))
    if devices and devices[-1]["num_devices"] == num_devices:
        return []
    now = {"from_step": step, "num_devices": num_devices}
    write_json(path, saved | {"devices": [*devices, now]})
    if not devices:
        return []
    return [
        f"devices     {num_devices} from step {step:,} on, {devices[-1]['num_devices']} before: "
        "each device draws its own dropout, so the result is not that of an undisturbed run"
    ]


def load_config(workdir: Path) -> ConfigDict:
    """The config that a workdir was trained with.

    Raises:
      UserError: the workdir or its config does not exist.
    """
    if not workdir.is_dir():
        raise UserError(f"there is no workdir {workdir}; run train.py --workdir {workdir} first.")
    config = read_json(workdir / "config.json")
    if not isinstance(config, dict):
        raise UserError(f"{workdir}/config.json holds no config; restore it or train again.")
    return ConfigDict(config)


def describe_run(command: str, overrides: list[str]) -> dict[str, Any]:
    """Command, hardware, versions and commit of a run, to be kept with its result.

    Args:
      command: the command line.
      overrides: the config fields that it sets, as `--config.field=value`.
    """
    device = jax.local_devices()[0]
    packages = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
    return {
        "command": command,
        "overrides": overrides,
        "hardware": {
            "platform": device.platform,
            "device": device.device_kind,
            "num_devices": jax.local_device_count(),
            "cpu": _cpu_name(),
            "cpu_cores": os.cpu_count(),
        },
        "versions": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in packages},
        },
        "commit": commit_of(Path(__file__).parents[2]),
    }


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def commit_of(checkout: Path) -> str:
    """A checkout's commit, marked as dirty if tracked files have changed since.

    Those in `results/` do not count: measuring a row again writes them.
    """

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(checkout), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", ".", ":(exclude)results")
        commit = git("describe", "--always", "--abbrev=40")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{commit}-dirty" if changed else commit


def command_line() -> str:
    """The command line of this process as typed, including `python -m`."""
    return shlex.join(["python", *sys.orig_argv[1:]])

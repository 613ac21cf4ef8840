"""Trains a hashing method: `python train.py --config configs/cifar10_48bit.py --workdir DIR`.

The same command with the same workdir resumes the run. `--config.field=value` overrides a field.
"""

# ruff: noqa: E402
from dsh_jax import interrupt

interrupt.stop_at_once()  # before anything that takes time to import

import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict

from dsh_jax import cli, host_flags
from dsh_jax.errors import UserError, UserErrors
from dsh_jax.overrides import config_overrides

_CONFIG = cli.config_file_flag("config", "The experiment, e.g. configs/digits_16bit.py.")
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "The folder for all files of this run.", required=True
)


def main(argv: Sequence[str]) -> None:
    del argv
    distributed = _CONFIG.value.get("distributed") is True
    together = host_flags.joined(distributed, "--config.distributed=True", takes_requests=True)
    # Slow to import, and not needed for --help or to find a mistake in a flag.
    from dsh_jax import hosts
    from dsh_jax.training import workdir as workdirs
    from dsh_jax.training.loop import train
    from dsh_jax.training.preview import preview

    if not _WORKDIR.value:
        raise UserError("--workdir is empty; name a folder.")
    data = _CONFIG.value.get("data")
    if isinstance(data, ConfigDict) and data.get("dry_run"):
        text, problems = preview(_CONFIG.value, Path(_WORKDIR.value))
        print(text)
        if problems:
            raise UserErrors("training could not start (preview.txt has it all):", problems)
        return
    with together:
        overrides = config_overrides(sys.argv[1:])
        run = workdirs.describe_run(workdirs.command_line(), overrides)
        train(_CONFIG.value, Path(_WORKDIR.value), run)
        if hosts.is_first():
            print(f"Trained. Next: python eval.py --workdir {_WORKDIR.value}")


if __name__ == "__main__":
    flags.mark_flag_as_required("config")
    cli.run(main, about=__doc__)

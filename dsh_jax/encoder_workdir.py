"""The encoder of a trained workdir."""

from pathlib import Path

import jax

from dsh_jax import encoder_files
from dsh_jax.checkpoint_records import Record
from dsh_jax.checkpoints import Checkpoints
from dsh_jax.devices import pick_devices
from dsh_jax.encoder import Encoder, build
from dsh_jax.errors import UserError
from dsh_jax.files import refuse_links_out


def load(workdir: Path, which: str, num_devices: int) -> tuple[Encoder, Record]:
    """The encoder of a workdir, and the record of the checkpoint that it was taken from.

    Args:
      workdir: that `train.py` has filled, and may be filling.
      which: "best" (by validation mAP) or "latest".
      num_devices: how many of the local devices to use; 0 takes all.

    Raises:
      UserError: there is no checkpoint; or the workdir is damaged, or has links that lead out of
        it; or there are not as many devices.
    """
    devices = pick_devices(num_devices, {})
    refuse_links_out(workdir)
    description = encoder_files.load_description(workdir)
    try:
        network = description.build()
    except ValueError as error:
        raise UserError(
            f"{workdir / encoder_files.SIGNATURE} describes no encoder that this version can "
            f"build ({error}); restore it, or use the version that trained it."
        ) from error
    like = jax.eval_shape(network.init, jax.random.key(0))
    record, variables = Checkpoints(workdir / "checkpoints").read_kept(which, like)
    return build(workdir, description, variables, devices), record

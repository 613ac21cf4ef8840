"""The small trainings that are attacked: `--config=tools/attack/config.py:NAME`.

Those of documents read the collection that `--config.data.data_dir=FILE` names.
"""

from ml_collections import ConfigDict

from configs import cnnh_plus_digits_16bit, image_folder, smoke
from tests import corpus

DOCUMENTS = ("shttm", "shttm_neural", "vdsh", "nash")
CASES = ("dsh_gan", "control", "cnnh", *DOCUMENTS)


def get_config(name: str) -> ConfigDict:
    """A run of a few steps, with a checkpoint at every second one."""
    if name in DOCUMENTS:
        config = corpus.config("", name)
    elif name == "image_files":
        config = smoke.shrink(image_folder.get_config())
        config.unlabeled_batch_size = 0
        config.data.image_size = 8
        config.data.queries_per_class = config.data.validation_per_class = 2
    else:
        config = cnnh_plus_digits_16bit.get_config() if name == "cnnh" else smoke.get_config()
        config = smoke.shrink(config)
        config.num_bits = 8
    if name == "control":
        config.update(gan=False, triplets="real")
    if name != "shttm":
        config.num_steps = 8
        config.log_every_steps = 1
        config.eval_every_steps = 2
    return config

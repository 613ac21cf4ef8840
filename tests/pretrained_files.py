"""Files of random weights, as other libraries write them."""

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy

from dsh_jax.networks.backbones import BACKBONES
from dsh_jax.pretrained import weights


def shapes(name, side=16):
    backbone = BACKBONES[name].build(dtype=jnp.float32, axis_name=None)
    return weights.shapes(backbone, (side, side, 3))


def random_tensors(name, side=16, seed=0):
    """Tensors of a network under timm's names, in PyTorch's shapes."""
    rng = np.random.default_rng(seed)

    def tensor(path, shape):
        timm = weights.timms_name(path)
        if timm == "patch_embed.proj.weight":
            shape = (shape[1], 3, 4, 4)
        elif len(shape) == 4:
            shape = (shape[3], shape[2], *shape[:2])
        elif len(shape) == 2:
            shape = shape[::-1]
        drawn = rng.normal(size=shape) * (0.3 if len(shape) > 1 else 0.1)
        is_scale = timm.endswith("var") or (timm.endswith("weight") and len(shape) == 1)
        return timm, (drawn + is_scale).astype(np.float32)

    flat = jax.tree.leaves_with_path(shapes(name, side))
    return dict(tensor(tuple(k.key for k in path[1:]), leaf.shape) for path, leaf in flat)


def write(path, name, seed=0, **others):
    """A safetensors file of a network, with `others` beside its tensors or, if None, without."""
    tensors = random_tensors(name, seed=seed) | others
    safetensors.numpy.save_file({k: v for k, v in tensors.items() if v is not None}, path)
    return path

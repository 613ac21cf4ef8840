"""Weights in a safetensors file -> the variables of a backbone in Flax."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
from flax import traverse_util

from dsh_jax.data.reading import open_regular
from dsh_jax.errors import UserError
from dsh_jax.networks.vit import resize_places
from dsh_jax.pretrained.dialects import in_timms_names

Names = tuple[str, ...]

# Modules whose name is not timm's with "_" for a dot.
_MODULES = {
    "norm_pre": "norm_pre", "patch_embed_proj": "patch_embed.proj", "cls_token": "cls_token",
    "pos_embed": "pos_embed",
}  # fmt: skip
_LEAVES = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}


def timms_name(path: Names) -> str:
    """timm's name of a variable, `("layer1_0", "bn1", "mean")` -> `layer1.0.bn1.running_mean`."""
    *modules, leaf = path
    parts = [_MODULES.get(module, module.replace("_", ".")) for module in modules]
    last = _LEAVES.get(leaf, _MODULES.get(leaf, leaf.replace("_", ".")))
    return ".".join([*parts, last])


def convert(tensors: Mapping[str, np.ndarray], like: Mapping[str, Any]) -> dict[str, Any]:
    """The variables of a backbone.

    PyTorch's convolutions are `[outputs, inputs, rows, columns]` and its dense layers `[outputs,
    inputs]`; Flax has `[rows, columns, inputs, outputs]` and `[inputs, outputs]`. Patches are cut
    out and flattened here, so that their convolution is a dense layer of `[rows * columns * inputs,
    outputs]`. Position embeddings are resized to the number of patches. All else stays as it is.

    Args:
      tensors: by timm's names, those of `like` and no others.
      like: the backbone's collections, with shapes.

    Returns:
      The same tree, float32.

    Raises:
      ValueError: a tensor is missing, unexpected or of another shape; names the first of each.
    """
    expected = {
        (collection, *path): leaf
        for collection, tree in like.items()
        for path, leaf in traverse_util.flatten_dict(tree).items()
    }
    names = {path: timms_name(path[1:]) for path in expected}
    known = set(names.values())
    missing = [name for name in names.values() if name not in tensors]
    unexpected = [name for name in tensors if name not in known]
    if missing or unexpected:
        first = f"the first missing is {min(missing)}" if missing else "none is missing"
        other = f"the first unexpected is {min(unexpected)}" if unexpected else ""
        raise ValueError("; ".join(filter(None, [first, other])))
    found = {
        path: _converted(name, tensors[name], expected[path].shape)
        for path, name in names.items()
    }
    return dict(traverse_util.unflatten_dict(found))


def _converted(name: str, tensor: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    given, tensor = tensor.shape, tensor.astype(np.float32)
    if name in ("cls_token", "pos_embed"):  # CLIP's have no leading dimensions of 1
        tensor = tensor.reshape(1, -1, tensor.shape[-1])
        if name == "pos_embed" and tensor.shape[-1] == shape[-1]:
            tensor = np.asarray(resize_places(jnp.asarray(tensor), shape[1]))
    elif tensor.ndim == 4:
        tensor = tensor.transpose(2, 3, 1, 0)
        tensor = tensor.reshape(shape) if tensor.size == np.prod(shape) else tensor
    elif tensor.ndim == 2:
        tensor = tensor.T
    if tensor.shape != shape:
        raise ValueError(f"{name} is {given}, which does not fit {shape}")
    return np.ascontiguousarray(tensor)


def read(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a safetensors file, by timm's names; heads and texts are left out.

    Raises:
      UserError: there is no such file, or it is damaged or of another kind.
    """
    if path.suffix in (".pth", ".pt", ".bin", ".ckpt"):
        raise UserError(
            f"{path} is PyTorch's own kind of file, which can run code when it is read; write it "
            "as safetensors in PyTorch: safetensors.torch.save_file(model.state_dict(), FILE)."
        )
    try:
        open_regular(path).close()
        with safetensors.safe_open(path, framework="numpy") as file:
            found = in_timms_names(file.keys())
            return {
                timm: np.concatenate([file.get_tensor(name) for name in names])
                if len(names) > 1
                else file.get_tensor(names[0])
                for timm, names in found.items()
            }
    except FileNotFoundError as error:
        raise UserError(
            f"there is no file {path}; set pretrained.weights to a safetensors file, or to "
            "hf://OWNER/NAME."
        ) from error
    except (OSError, ValueError, TypeError, safetensors.SafetensorError) as error:
        said = " ".join(str(error).split())[:150].rstrip(" .") or type(error).__name__
        raise UserError(
            f"{path} cannot be read as weights ({said}); copy or download it again, as a "
            "safetensors file."
        ) from error


def variables(path: Path, name: str, like: Mapping[str, Any]) -> dict[str, Any]:
    """The variables of a backbone from a file.

    Args:
      path: of a safetensors file.
      name: of the backbone, for errors.
      like: as for `convert`.

    Raises:
      UserError: the file cannot be read, or is of another network.
    """
    tensors = read(path)
    try:
        return convert(tensors, like)
    except ValueError as error:
        raise UserError(
            f"{path} does not hold the weights of {name} ({error}); give those of {name}, or set "
            "representation.name to their network."
        ) from error


def shapes(backbone: Any, image_shape: tuple[int, int, int]) -> Any:
    """The shapes of a backbone's variables for images `(height, width, channels)`."""
    images = jnp.zeros((1, *image_shape[:2], 3))
    return jax.eval_shape(lambda key: backbone.init(key, images, train=False), jax.random.key(0))

"""Features of networks with random weights, by PyTorch; `make parity` runs it.

    python tools/parity_references.py FOLDER

It runs in an environment of its own, with requirements-parity.txt and without JAX. FOLDER gets, for
each network of each library, its weights as NAME.LIBRARY.safetensors and images with features as
NAME.LIBRARY.npz. Nothing is downloaded: weights are those of a new network, with every vector that
begins as zeros or ones drawn at random.
"""

import argparse
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import safetensors.torch
import timm
import torch
import torchvision
import transformers

_IMAGES = 2
_TINY_VIT = {
    "img_size": 32, "patch_size": 4, "embed_dim": 16, "depth": 2, "num_heads": 2, "mlp_ratio": 2,
    "init_values": 1e-5, "pre_norm": True, "num_classes": 0,
}  # fmt: skip
_TIMM = {
    "vit_s16": "vit_small_patch16_224",
    "vit_b16": "vit_base_patch16_224",
    "dinov2_s14": "vit_small_patch14_dinov2",
    "dinov2_b14": "vit_base_patch14_dinov2",
    "clip_b16": "vit_base_patch16_clip_quickgelu_224",
    "clip_b32": "vit_base_patch32_clip_quickgelu_224",
    "openclip_b16": "vit_base_patch16_clip_224",
}
_VIT_B = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12}


def networks() -> Iterator[tuple[str, str, Callable[[], torch.nn.Module], int]]:
    """Our name, the library, what builds its network, and pixels per side."""
    for name in ("resnet18", "resnet34", "resnet50"):
        yield name, "torchvision", getattr(torchvision.models, name), 224
        yield name, "timm", partial(timm.create_model, name), 224
    for name, model in _TIMM.items():
        yield name, "timm", partial(timm.create_model, model, dynamic_img_size=True), 224
    small = partial(timm.create_model, _TIMM["vit_s16"], dynamic_img_size=True)
    yield "vit_s16", "timm at 160 pixels", small, 160
    yield "tiny_vit", "timm", lambda: timm.models.VisionTransformer(**_TINY_VIT), 32
    yield "vit_b16", "transformers", lambda: transformers.ViTModel(
        transformers.ViTConfig(**_VIT_B, layer_norm_eps=1e-6)
    ), 224
    yield "dinov2_b14", "transformers", lambda: transformers.Dinov2Model(
        transformers.Dinov2Config(**_VIT_B, image_size=224)
    ), 224
    yield "clip_b32", "transformers", lambda: transformers.CLIPVisionModel(
        transformers.CLIPVisionConfig()
    ), 224


def randomise(model: torch.nn.Module, generator: torch.Generator) -> None:
    """Draws every vector anew: norms, biases, layer scales and running statistics."""
    for name, tensor in model.state_dict().items():
        if tensor.dtype != torch.float32 or (tensor.ndim > 1 and "embed" not in name):
            continue
        uniform = torch.rand(tensor.shape, generator=generator)
        is_offset = "bias" in name or "mean" in name or "embed" in name or "token" in name
        tensor.copy_((uniform - 0.5) / 5 if is_offset else uniform + 0.5)


def draw_images(count: int, size: int, generator: torch.Generator) -> torch.Tensor:
    """Images `[count, 3, size, size]` of large and small structures, so that features differ."""
    coarse = torch.randn(count, 3, 8, 8, generator=generator)
    fine = torch.randn(count, 3, size, size, generator=generator)
    return torch.nn.functional.interpolate(coarse, size=(size, size), mode="bilinear") + fine / 3


def count_statistics(model: torch.nn.Module, size: int, generator: torch.Generator) -> None:
    """Sets running statistics as training would, so that features are of order 1, then shifts them.

    With statistics that are drawn at random, those of a deep ResNet are in the thousands.
    """
    norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    if not norms:
        return
    momentum = norms[0].momentum
    for norm in norms:
        norm.momentum = 1.0
    model.train()(draw_images(8, size, generator))
    model.eval()
    for norm in norms:
        norm.momentum = momentum
        norm.running_var.mul_(torch.rand(norm.running_var.shape, generator=generator) / 2 + 0.75)


def features(model: torch.nn.Module, images: torch.Tensor, library: str) -> torch.Tensor:
    """Pooled features `[n, dim]`."""
    if library == "torchvision":
        return torch.nn.Sequential(*list(model.children())[:-1])(images).flatten(1)
    if library == "transformers":
        output = model(images)
        is_clip = isinstance(model, transformers.CLIPVisionModel)
        return output.pooler_output if is_clip else output.last_hidden_state[:, 0]
    return model.forward_head(model.forward_features(images), pre_logits=True)


def save(model: torch.nn.Module, library: str, path: Path) -> None:
    """Writes the weights as the library's users find them."""
    if library == "transformers":  # in files, names are not those of the modules
        model.save_pretrained(path.with_suffix(""))
        (path.with_suffix("") / "model.safetensors").rename(path)
        shutil.rmtree(path.with_suffix(""))
        return
    tensors = {key: tensor.contiguous() for key, tensor in model.state_dict().items()}
    safetensors.torch.save_file(tensors, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    for seed, (name, library, build, size) in enumerate(networks()):
        torch.manual_seed(seed)
        generator = torch.Generator().manual_seed(seed)
        model = build().eval()
        with torch.no_grad():
            randomise(model, generator)
            count_statistics(model, size, generator)
            images = draw_images(_IMAGES, size, generator)
            found = features(model, images, library)
        at = folder / f"{name}.{library.replace(' ', '_')}"
        save(model, library, Path(f"{at}.safetensors"))
        np.savez(
            f"{at}.npz", name=name, library=library, seed=seed, features=found.numpy(),
            images=images.permute(0, 2, 3, 1).numpy(),
            versions=[f"{m.__name__} {m.__version__}" for m in (torch, torchvision, timm,
                                                                transformers)],
        )  # fmt: skip
        print(f"{at}: features {tuple(found.shape)}", flush=True)


if __name__ == "__main__":
    main()

"""Backbones against slow NumPy forms that read PyTorch's tensors as PyTorch does."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from scipy.special import erf

from dsh_jax.networks.backbones import BACKBONES, Pretrained, layer_of, standardise
from dsh_jax.networks.vit import resize_places
from dsh_jax.pretrained import weights
from tests.pretrained_files import random_tensors, shapes

RNG = np.random.default_rng(0)
SIDE = 16


def build(name):
    return BACKBONES[name].build(dtype=jnp.float32, axis_name=None)


def features(name, tensors, images):
    found = weights.convert(tensors, shapes(name, images.shape[1]))
    apply = jax.jit(lambda variables, x: build(name).apply(variables, x, train=False))
    return np.asarray(apply(found, images))


def conv(x, kernel, stride, pad):
    """`x [n, c, h, w]` with `kernel [o, c, k, k]`, one output pixel after another."""
    x = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    size = kernel.shape[2]
    rows = range(0, x.shape[2] - size + 1, stride)
    columns = range(0, x.shape[3] - size + 1, stride)
    pixels = [[np.einsum("nchw,ochw->no", x[:, :, i : i + size, j : j + size], kernel)
               for j in columns] for i in rows]  # fmt: skip
    return np.array(pixels).transpose(2, 3, 0, 1)


def slow_resnet(t, images):
    def norm(name, x):
        weight, bias, mean, var = (
            t[f"{name}.{part}"][:, None, None]
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        return (x - mean) / np.sqrt(var + 1e-5) * weight + bias

    x = np.maximum(norm("bn1", conv(images.transpose(0, 3, 1, 2), t["conv1.weight"], 2, 3)), 0)
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
    x = np.array([[padded[:, :, i : i + 3, j : j + 3].max((2, 3)) for j in range(0, x.shape[3], 2)]
                  for i in range(0, x.shape[2], 2)]).transpose(2, 3, 0, 1)  # fmt: skip
    for layer, stride in (("layer1.0", 1), ("layer2.0", 2), ("layer3.0", 2), ("layer4.0", 2)):
        y = np.maximum(norm(f"{layer}.bn1", conv(x, t[f"{layer}.conv1.weight"], stride, 1)), 0)
        y = norm(f"{layer}.bn2", conv(y, t[f"{layer}.conv2.weight"], 1, 1))
        if stride > 1:
            x = norm(f"{layer}.downsample.1", conv(x, t[f"{layer}.downsample.0.weight"], stride, 0))
        x = np.maximum(x + y, 0)
    return x.mean((2, 3))


def slow_vit(t, images):
    def norm(name, x):
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
        return x * t[f"{name}.weight"] + t[f"{name}.bias"]

    def dense(name, x):
        return x @ t[f"{name}.weight"].T + t[f"{name}.bias"]

    rows = []
    for image in images.transpose(0, 3, 1, 2):
        patches = conv(image[None], t["patch_embed.proj.weight"], 4, 0)[0]
        x = np.concatenate([t["cls_token"][0], patches.reshape(len(patches), -1).T])
        x = norm("norm_pre", x + t["pos_embed"][0])
        for block in ("blocks.0", "blocks.1"):
            qkv = dense(f"{block}.attn.qkv", norm(f"{block}.norm1", x))
            query, key, value = np.split(qkv, 3, axis=1)
            heads = []
            for head in (slice(0, 8), slice(8, 16)):
                logits = query[:, head] @ key[:, head].T / np.sqrt(8)
                share = np.exp(logits - logits.max(1, keepdims=True))
                heads.append(share / share.sum(1, keepdims=True) @ value[:, head])
            y = dense(f"{block}.attn.proj", np.concatenate(heads, axis=1))
            x = x + y * t[f"{block}.ls1.gamma"]
            y = dense(f"{block}.mlp.fc1", norm(f"{block}.norm2", x))
            y = dense(f"{block}.mlp.fc2", y * (1 + erf(y / np.sqrt(2))) / 2)
            x = x + y * t[f"{block}.ls2.gamma"]
        rows.append(norm("norm", x)[0])
    return np.array(rows)


@pytest.mark.parametrize(("name", "slow"), [("tiny_resnet", slow_resnet), ("tiny_vit", slow_vit)])
def test_features_are_those_of_a_slow_form(name, slow):
    tensors = random_tensors(name)
    images = RNG.normal(size=(2, SIDE, SIDE, 3)).astype(np.float32)
    wanted = slow(tensors, images)
    assert np.abs(wanted[0] - wanted[1]).max() > 0.1
    found = features(name, tensors, images)
    np.testing.assert_allclose(found, wanted, atol=1e-5 * np.abs(wanted).max())


def test_places_are_resized_as_pillow_resizes_pictures():
    places = RNG.normal(size=(1, 1 + 49, 3)).astype(np.float32)
    for side in (4, 7, 10):
        found = np.asarray(resize_places(jnp.asarray(places), 1 + side**2))
        grid = places[0, 1:].reshape(7, 7, 3)
        wanted = [
            np.asarray(Image.fromarray(grid[..., i]).resize((side, side), Image.Resampling.BICUBIC))
            for i in range(3)
        ]
        np.testing.assert_array_equal(found[:, 0], places[:, 0])
        np.testing.assert_allclose(found[0, 1:].reshape(side, side, 3), np.stack(wanted, -1),
                                   atol=1e-5)  # fmt: skip


def test_weights_of_another_image_size_fit():
    tensors = random_tensors("tiny_vit", side=32)
    assert tensors["pos_embed"].shape == (1, 65, 16)
    found = weights.convert(tensors, shapes("tiny_vit", 16))
    assert found["params"]["pos_embed"].shape == (1, 17, 16)


def test_sizes_are_the_published_ones():
    # Of torchvision's and timm's models, without the classifier: 1000 classes and biases.
    published = {
        "resnet18": 11_689_512 - 513_000, "resnet34": 21_797_672 - 513_000,
        "resnet50": 25_557_032 - 2_049_000, "vit_s16": 22_050_664 - 385_000,
        "vit_b16": 86_567_656 - 769_000,
    }  # fmt: skip
    found = {name: sum(x.size for x in jax.tree.leaves(shapes(name, 224)["params"]))
             for name in published}  # fmt: skip
    assert found == published


def test_images_are_normalised_and_features_standardised():
    class Means(BACKBONES["tiny_vit"].build(dtype=jnp.float32, axis_name=None).__class__):
        """A backbone whose features are the mean colours."""

        def __call__(self, images, *, train):
            return images.mean((1, 2))

    network = Pretrained(Means(4, 16, 2, 2), (0.1, 0.2, 0.3), (0.5, 1.0, 2.0))
    images = RNG.uniform(-1, 1, size=(40, 8, 8, 3)).astype(np.float32)
    variables = network.init(jax.random.key(0), images, train=False)
    raw = np.asarray(network.apply(variables, images, method="raw"))
    colours = ((images + 1) / 2).mean((1, 2))
    np.testing.assert_allclose(raw, (colours - [0.1, 0.2, 0.3]) / [0.5, 1.0, 2.0], atol=1e-5)
    fitted = {"batch_stats": {"standardised": standardise(raw)}}
    found = np.asarray(network.apply(fitted, images, train=False))
    np.testing.assert_allclose(found.mean(0), 0, atol=1e-4)
    assert 2.9 < np.sqrt((found**2).sum(1).mean()) <= 3.0
    again = network.apply(fitted, raw, train=False)
    np.testing.assert_allclose(again, found, atol=1e-5)
    grey = images[..., :1]
    same = network.apply(fitted, np.repeat(grey, 3, axis=-1), train=False)
    np.testing.assert_allclose(network.apply(fitted, grey, train=False), same, atol=1e-5)


def test_constant_features_stay_finite():
    fitted = standardise(np.full((5, 3), 7.0, np.float32))
    assert np.isfinite(fitted["std"]).all() and (fitted["std"] > 0).all()


def test_the_depth_of_layers():
    paths = [("conv1", "kernel"), ("layer1_0", "bn1", "scale"), ("layer4_2", "conv1", "kernel"),
             ("pos_embed",), ("patch_embed_proj", "kernel"), ("blocks_0", "norm1", "bias"),
             ("blocks_11", "norm1", "bias"), ("norm", "scale"), ("norm_pre", "bias")]  # fmt: skip
    assert [layer_of(path) for path in paths] == [0, 1, 4, 0, 0, 1, 12, -1, 0]

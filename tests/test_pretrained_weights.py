"""Files of weights: names of other libraries, mistakes, the hub."""

import json
import re
import sys
import types

import jax
import numpy as np
import pytest
import requests
import safetensors.numpy

from dsh_jax.errors import UserError
from dsh_jax.networks.backbones import BACKBONES
from dsh_jax.pretrained import hub, weights
from dsh_jax.pretrained.dialects import in_timms_names
from tests.pretrained_files import random_tensors, shapes, write
from tools import parity

QKV = ("query", "key", "value")
BLOCK = {
    "clip": {"norm1": "layer_norm1", "norm2": "layer_norm2", "attn.proj": "self_attn.out_proj"},
    "vit": {"norm1": "layernorm_before", "norm2": "layernorm_after", "mlp.fc2": "output.dense",
            "attn.proj": "attention.output.dense", "mlp.fc1": "intermediate.dense"},
    "dinov2": {"attn.proj": "attention.output.dense", "ls1.gamma": "layer_scale1.lambda1",
               "ls2.gamma": "layer_scale2.lambda1"},
    "open_clip": {"norm1": "ln_1", "norm2": "ln_2", "attn.qkv.weight": "attn.in_proj_weight",
                  "attn.qkv.bias": "attn.in_proj_bias", "attn.proj": "attn.out_proj",
                  "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj"},
}  # fmt: skip
OUTSIDE = {
    "clip": {"cls_token": "embeddings.class_embedding", "norm_pre": "pre_layrnorm",
             "pos_embed": "embeddings.position_embedding.weight", "norm": "post_layernorm",
             "patch_embed.proj": "embeddings.patch_embedding"},
    "vit": {"cls_token": "embeddings.cls_token", "pos_embed": "embeddings.position_embeddings",
            "patch_embed.proj": "embeddings.patch_embeddings.projection", "norm": "layernorm"},
    "open_clip": {"cls_token": "class_embedding", "pos_embed": "positional_embedding",
                  "patch_embed.proj": "conv1", "norm_pre": "ln_pre", "norm": "ln_post"},
}  # fmt: skip
OUTSIDE["dinov2"] = OUTSIDE["vit"]
BLOCKS = {"clip": "encoder.layers", "vit": "encoder.layer", "dinov2": "encoder.layer",
          "open_clip": "transformer.resblocks"}  # fmt: skip
PREFIX = {"clip": "vision_model.", "vit": "vit.", "dinov2": "", "open_clip": "visual."}
HEADS = {
    "clip": ["text_model.final_layer_norm.bias", "logit_scale", "visual_projection.weight",
             "vision_model.embeddings.position_ids"],
    "vit": ["classifier.weight", "vit.pooler.dense.bias"],
    "dinov2": ["embeddings.mask_token"],
    "open_clip": ["visual.proj", "ln_final.weight", "token_embedding.weight"],
}  # fmt: skip


def renamed(name, dialect):
    """A tensor's names in another library; three of them for query, key and value in one."""

    def replaced(name, table):
        for timm, other in table.items():
            if name == timm or name.startswith(timm + "."):
                return other + name[len(timm) :]
        return name

    match = re.fullmatch(r"blocks\.(\d+)\.(.*)", name)
    if match is None:
        return [PREFIX[dialect] + replaced(name, OUTSIDE[dialect])]
    inner = replaced(match[2], BLOCK[dialect])
    first = f"{PREFIX[dialect]}{BLOCKS[dialect]}.{match[1]}"
    if inner.startswith("attn.qkv."):
        leaf = inner[len("attn.qkv.") :]
        if dialect == "clip":
            return [f"{first}.self_attn.{part[0]}_proj.{leaf}" for part in QKV]
        return [f"{first}.attention.attention.{part}.{leaf}" for part in QKV]
    return [f"{first}.{inner}"]


@pytest.mark.parametrize("dialect", PREFIX)
def test_files_of_other_libraries_are_those_of_timm(dialect, tmp_path):
    lacks = {"vit": ("norm_pre", "gamma"), "dinov2": ("norm_pre",)}.get(dialect, ("gamma",))
    tensors = {name: tensor for name, tensor in random_tensors("tiny_vit").items()
               if not any(part in name for part in lacks)}  # fmt: skip
    written = {head: np.zeros(1, np.float32) for head in HEADS[dialect]}
    for name, tensor in tensors.items():
        names = renamed(name, dialect)
        written |= zip(names, np.split(tensor, len(names)), strict=True)
    safetensors.numpy.save_file(written, tmp_path / "a.safetensors")
    found = weights.read(tmp_path / "a.safetensors")
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(found[name], tensor)


def test_tokens_without_leading_dimensions_fit():
    tensors, like = random_tensors("tiny_vit"), shapes("tiny_vit")
    bare = {"cls_token": tensors["cls_token"][0, 0], "pos_embed": tensors["pos_embed"][0]}
    found, wanted = weights.convert(tensors | bare, like), weights.convert(tensors, like)
    jax.tree.map(np.testing.assert_array_equal, found, wanted)


def test_heads_and_counts_are_left_out():
    names = ["conv1.weight", "bn1.num_batches_tracked", "fc.weight", "fc.bias"]
    assert in_timms_names(names) == {"conv1.weight": ["conv1.weight"]}
    assert in_timms_names(["module.head.bias", "module.norm.bias"]) == {
        "norm.bias": ["module.norm.bias"]
    }


def refused(path, name="tiny_resnet"):
    with pytest.raises(UserError) as caught:
        weights.variables(path, name, shapes(name))
    message = str(caught.value)
    assert message.startswith(str(path)) or message.startswith(f"there is no file {path}")
    assert "\n" not in message and message.endswith(".")
    return message


def test_weights_of_another_network_are_refused(tmp_path):
    path = write(tmp_path / "a.safetensors", "tiny_vit")
    message = refused(path)
    assert "(the first missing is bn1.bias; the first unexpected is blocks.0.attn.proj" in message
    assert "give those of tiny_resnet, or set representation.name" in message


def test_a_missing_an_unexpected_and_a_misshapen_tensor(tmp_path):
    path = tmp_path / "a.safetensors"
    write(path, "tiny_resnet", **{"layer3.0.bn1.weight": None})
    assert "(the first missing is layer3.0.bn1.weight)" in refused(path)
    write(path, "tiny_resnet", **{"layer3.1.bn1.weight": np.zeros(8, np.float32)})
    assert "(none is missing; the first unexpected is layer3.1.bn1.weight)" in refused(path)
    write(path, "tiny_resnet", **{"conv1.weight": np.zeros((8, 3, 3, 3), np.float32)})
    assert "conv1.weight is (8, 3, 3, 3), which does not fit (7, 7, 3, 8)" in refused(path)


def test_half_precision_is_read(tmp_path):
    half = {name: x.astype(np.float16) for name, x in random_tensors("tiny_resnet").items()}
    path = write(tmp_path / "a.safetensors", "tiny_resnet", **half)
    found = weights.variables(path, "tiny_resnet", shapes("tiny_resnet"))
    assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {np.dtype(np.float32)}


def test_files_that_are_damaged_missing_or_of_another_kind(tmp_path):
    path = write(tmp_path / "a.safetensors", "tiny_resnet")
    path.write_bytes(path.read_bytes()[:-100])
    assert "cannot be read as weights" in refused(path)
    path.write_bytes(b"")
    assert "cannot be read as weights" in refused(path)
    assert "set pretrained.weights to a safetensors file" in refused(tmp_path / "b.safetensors")
    assert "PyTorch's own kind of file" in refused(tmp_path / "resnet50.pth")


def library(monkeypatch, download):
    """Stands in for `huggingface_hub`."""
    constants = types.SimpleNamespace(ENDPOINT="https://hub.test")
    module = types.SimpleNamespace(hf_hub_download=download, constants=constants)
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)


def test_a_file_in_the_cache_needs_no_network(monkeypatch, tmp_path):
    def download(repository, name, *, local_files_only):
        return str(tmp_path / repository.replace("/", "--") / name)

    library(monkeypatch, download)
    assert hub.fetch("hf://timm/a.b-1") == tmp_path / "timm--a.b-1" / "model.safetensors"
    assert hub.fetch("hf://a/b/c/d.safetensors") == tmp_path / "a--b" / "c/d.safetensors"


def test_without_a_network(monkeypatch):
    def download(repository, name, *, local_files_only):
        raise FileNotFoundError("not in the cache")

    def head(site, timeout):
        raise requests.ConnectionError("unreachable")

    library(monkeypatch, download)
    monkeypatch.setattr(requests, "head", head)
    with pytest.raises(UserError, match=r"^hf://timm/a is not in the cache .* https://hub.test "
                                        r"cannot be reached; connect .*\.$"):  # fmt: skip
        hub.fetch("hf://timm/a")


def test_a_repository_that_is_not_there(monkeypatch):
    class RepositoryNotFoundError(OSError):
        pass

    def download(repository, name, *, local_files_only=False, etag_timeout=0):
        raise FileNotFoundError if local_files_only else RepositoryNotFoundError("404")

    library(monkeypatch, download)
    monkeypatch.setattr(requests, "head", lambda site, timeout: None)
    with pytest.raises(UserError, match="^the hub has no hf://timm/a, or not for you"):
        hub.fetch("hf://timm/a")


def test_without_the_library_or_with_a_wrong_place(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError, match=r"pip install huggingface_hub"):
        hub.fetch("hf://timm/a")
    for place in ("hf://timm", "hf://", "hf://a/b/../../c d"):
        with pytest.raises(UserError, match="write hf://OWNER/NAME"):
            hub.fetch(place)


def test_the_parity_table_is_up_to_date_and_within_its_limit():
    rows = json.loads((parity.tables.ROOT / parity.RESULT).read_text())
    assert parity.rows_of(rows) in (parity.tables.ROOT / parity.PAGE).read_text()
    assert max(row["largest_difference"] for row in rows) <= parity.LIMIT
    # Networks without published weights are there for tests.
    assert {row["network"] for row in rows} >= {n for n, b in BACKBONES.items() if b.hub}

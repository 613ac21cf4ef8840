"""The names that other libraries give to a network's weights, turned into timm's.

ResNets have one set of names, in torchvision and timm. Vision transformers are published with those
of timm (also DINOv2's own), of transformers (ViT, DINOv2, CLIP) and of OpenAI's CLIP, which
open_clip has taken over.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

Read = Callable[[str], np.ndarray]
"""A name in the file -> its tensor."""


@dataclass(frozen=True)
class Dialect:
    """A library's names.

    Attributes:
      mark: every file of the dialect has a name that matches this regular expression.
      prefix: what the image network's names begin with, as a regular expression; it is taken away.
      only_prefixed: whether names without the prefix are of another network in the same file.
      ignored: matches names, without the prefix, of heads and of what inference does not need.
      renamed: regular expression of a whole name, without the prefix -> timm's name.
    """

    mark: str
    prefix: str
    only_prefixed: bool
    ignored: str
    renamed: Mapping[str, str]

    def name(self, name: str) -> str:
        """timm's name of a weight; empty for one that is ignored."""
        found = re.match(self.prefix, name)
        if found is None and self.only_prefixed:
            return ""
        bare = name[found.end() :] if found else name
        if re.match(self.ignored, bare):
            return ""
        for pattern, timm in self.renamed.items():
            if (match := re.fullmatch(pattern, bare)) is not None:
                return match.expand(timm)
        return bare


_HEADS = r"(fc|head|head_drop|pre_logits)\.|mask_token$|.*num_batches_tracked$"
TIMM = Dialect("", r"(?:module\.)?", False, _HEADS, {})
_CLIP_PLACES = {
    r"class_embedding": "cls_token",
    r"positional_embedding": "pos_embed",
    r"conv1\.weight": "patch_embed.proj.weight",
    r"ln_pre\.(.*)": r"norm_pre.\1",
    r"ln_post\.(.*)": r"norm.\1",
    r"transformer\.resblocks\.(\d+)\.ln_([12])\.(.*)": r"blocks.\1.norm\2.\3",
    r"transformer\.resblocks\.(\d+)\.attn\.in_proj_(.*)": r"blocks.\1.attn.qkv.\2",
    r"transformer\.resblocks\.(\d+)\.attn\.out_proj\.(.*)": r"blocks.\1.attn.proj.\2",
    r"transformer\.resblocks\.(\d+)\.mlp\.c_fc\.(.*)": r"blocks.\1.mlp.fc1.\2",
    r"transformer\.resblocks\.(\d+)\.mlp\.c_proj\.(.*)": r"blocks.\1.mlp.fc2.\2",
}
_TRANSFORMERS_CLIP = {
    r"embeddings\.class_embedding": "cls_token",
    r"embeddings\.position_embedding\.weight": "pos_embed",
    r"embeddings\.patch_embedding\.(.*)": r"patch_embed.proj.\1",
    r"pre_layrnorm\.(.*)": r"norm_pre.\1",
    r"post_layernorm\.(.*)": r"norm.\1",
    r"encoder\.layers\.(\d+)\.layer_norm([12])\.(.*)": r"blocks.\1.norm\2.\3",
    r"encoder\.layers\.(\d+)\.self_attn\.([qkv])_proj\.(.*)": r"blocks.\1.attn.qkv.\3:\2",
    r"encoder\.layers\.(\d+)\.self_attn\.out_proj\.(.*)": r"blocks.\1.attn.proj.\2",
    r"encoder\.layers\.(\d+)\.mlp\.(.*)": r"blocks.\1.mlp.\2",
}
_LAYER = r"encoder\.layer\.(\d+)\."
_TRANSFORMERS_VIT = {
    r"embeddings\.cls_token": "cls_token",
    r"embeddings\.position_embeddings": "pos_embed",
    r"embeddings\.patch_embeddings\.projection\.(.*)": r"patch_embed.proj.\1",
    r"layernorm\.(.*)": r"norm.\1",
    _LAYER + r"norm([12])\.(.*)": r"blocks.\1.norm\2.\3",
    _LAYER + r"layernorm_before\.(.*)": r"blocks.\1.norm1.\2",
    _LAYER + r"layernorm_after\.(.*)": r"blocks.\1.norm2.\2",
    _LAYER + r"attention\.attention\.([qkv])[a-z]+\.(.*)": r"blocks.\1.attn.qkv.\3:\2",
    _LAYER + r"attention\.output\.dense\.(.*)": r"blocks.\1.attn.proj.\2",
    _LAYER + r"layer_scale([12])\.lambda1": r"blocks.\1.ls\2.gamma",
    _LAYER + r"mlp\.(.*)": r"blocks.\1.mlp.\2",
    _LAYER + r"intermediate\.dense\.(.*)": r"blocks.\1.mlp.fc1.\2",
    _LAYER + r"output\.dense\.(.*)": r"blocks.\1.mlp.fc2.\2",
}
DIALECTS = (
    Dialect(
        r"(vision_model\.)?pre_layrnorm\.", r"vision_model\.", False,
        r"text_model\.|text_projection|visual_projection|logit_scale|embeddings\.position_ids",
        _TRANSFORMERS_CLIP,
    ),
    Dialect(r"visual\.", r"visual\.", True, r"proj$", _CLIP_PLACES),
    Dialect(
        r"(vit\.|dinov2\.)?embeddings\.", r"(?:vit|dinov2)\.", False,
        r"(pooler|classifier)\.|embeddings\.mask_token", _TRANSFORMERS_VIT,
    ),
)  # fmt: skip
"""All but timm's, which has no mark."""


def in_timms_names(names: Iterable[str]) -> dict[str, list[str]]:
    """timm's names of a file's weights.

    Args:
      names: in the file.

    Returns:
      timm's name -> the names in the file whose tensors, one after the other, are this one: query,
      key and value are one tensor in timm.
    """
    names = sorted(names)
    dialect = next(
        (d for d in DIALECTS if any(re.match(d.mark, name) for name in names)), TIMM
    )
    found: dict[str, dict[str, str]] = {}
    for name in names:
        timm, _, part = dialect.name(name).partition(":")
        if timm:
            found.setdefault(timm, {})["qkv".find(part) if part else 0] = name  # type: ignore[index]
    return {timm: [parts[i] for i in sorted(parts)] for timm, parts in found.items()}

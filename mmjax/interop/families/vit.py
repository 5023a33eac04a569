"""ViT (Dosovitskiy et al. 2021) as `ViTModel` of transformers, an image tower."""

from mmjax.interop.families.bert import head_of
from mmjax.interop.families.parts import blocks, patch_embedding, size_keys
from mmjax.interop.family import Config, Family, Key, Tensor, linear, model_type, norm
from mmjax.interop.layouts import lead
from mmjax.interop.positions import Resize

ENCODE_IMAGE = {
    "name": "encode",
    "streams.image": "image",
    "towers.image.name": "vit",
    "towers.image.pooling": "class",
}


def embeddings(theirs: str = "embeddings") -> tuple[Tensor, ...]:
    """Class token, positions and patches, which DINOv2 spells alike."""
    return (
        Tensor(f"{theirs}.cls_token", ("towers_image/class_token",), lead(2)),
        Tensor(f"{theirs}.position_embeddings", ("towers_image/position_table",), lead(1)),
        *patch_embedding(f"{theirs}.patch_embeddings.projection", "image", bias=True),
    )


def attention(block: str, task: Config) -> tuple[Tensor, ...]:
    """The attention of a block, with or without biases of query, key and value."""
    ours, bias = blocks("image"), task["towers"]["image"]["qkv_bias"]
    return (
        *(
            tensor
            for name in ("query", "key", "value")
            for tensor in linear(f"{block}.attention.attention.{name}", f"{ours}/attention/{name}", bias)
        ),
        *linear(f"{block}.attention.output.dense", f"{ours}/attention/out"),
    )


def _table(task: Config) -> tuple[Tensor, ...]:
    block, ours = "encoder.layer.{i}", blocks("image")
    head = linear("pooler.dense", "towers_image/head") if task["towers"]["image"]["head"] == "tanh" else ()
    return (
        *embeddings(),
        *attention(block, task),
        *norm(f"{block}.layernorm_before", f"{ours}/norm_attention"),
        *norm(f"{block}.layernorm_after", f"{ours}/norm_mlp"),
        *linear(f"{block}.intermediate.dense", f"{ours}/mlp/up"),
        *linear(f"{block}.output.dense", f"{ours}/mlp/down"),
        *norm("layernorm", "towers_image/norm_after"),
        *head,
    )


_ADAPT, _OPTIONAL = head_of("image")
KEYS = (
    Key("patch_size", "towers.image.patch"),
    Key("image_size", "image_size"),
    Key("qkv_bias", "towers.image.qkv_bias"),
)

VIT = Family(
    name="ViT",
    library="hf",
    accepts=model_type("vit"),
    head={"model_type": "vit"},
    architecture="ViTModel",
    keys=(*size_keys("", "towers.image"), *KEYS),
    fixed=ENCODE_IMAGE,
    required={"num_channels": 3, "pooler_act": "tanh"},
    table=_table,
    adapt=_ADAPT,
    restore=lambda flat: {"pooler_output_size": flat["towers.image.width"]},
    optional=_OPTIONAL,
    prefixes=("", "vit."),
    resize={"towers_image/position_table": Resize(extra=1)},
    processor="vit",
)

"""CLIP (Radford et al. 2021) as `CLIPModel` of transformers."""

from collections.abc import Collection

from mmjax.interop.families.parts import clip_blocks, patch_embedding, size_keys
from mmjax.interop.family import Config, Family, Flat, Key, Tensor, embedding, linear, model_type, norm
from mmjax.interop.positions import Resize

LEGACY_EOS = 2  # configs written before transformers 4.31: the text is pooled at its largest id


def clip_vision(theirs: str = "vision_model") -> tuple[Tensor, ...]:
    """CLIP's image tower, which Chinese-CLIP shares."""
    return (
        Tensor(f"{theirs}.embeddings.class_embedding", ("towers_image/class_token",)),
        *patch_embedding(f"{theirs}.embeddings.patch_embedding", "image", bias=False),
        *embedding(f"{theirs}.embeddings.position_embedding", "towers_image/position_table"),
        *norm(f"{theirs}.pre_layrnorm", "towers_image/norm_before"),
        *clip_blocks(f"{theirs}.encoder.layers.{{i}}", "image"),
        *norm(f"{theirs}.post_layernorm", "towers_image/norm_after"),
    )


VISION_KEYS = (
    *size_keys("vision_config.", "towers.image"),
    Key("vision_config.patch_size", "towers.image.patch"),
    Key("vision_config.image_size", "image_size"),
)
VISION_FIXED = {
    "towers.image.name": "vit",
    "towers.image.pooling": "class",
    "towers.image.pre_norm": True,
    "towers.image.patch_bias": False,
}
ALIGN_FIXED = {
    "name": "align",
    "streams.image": "image",
    "streams.caption": "text",
    "pairs": (("image", "caption"),),
    "loss": "info_nce",
    "bias": False,
}
PROJECTIONS = (
    *linear("visual_projection", "project_image", bias=False),
    *linear("text_projection", "project_text", bias=False),
    Tensor("logit_scale", ("scale",)),
)


def _table(task: Config) -> tuple[Tensor, ...]:
    del task
    return (
        *clip_vision(),
        *embedding("text_model.embeddings.token_embedding", "towers_text/embedding/embedding"),
        *embedding("text_model.embeddings.position_embedding", "towers_text/position_table"),
        *clip_blocks("text_model.encoder.layers.{i}", "text"),
        *norm("text_model.final_layer_norm", "towers_text/norm_after"),
        *PROJECTIONS,
    )


def _pooling(config: Config, names: Collection[str]) -> Flat:
    del names
    eos = config["text_config"]["eos_token_id"]
    if eos == LEGACY_EOS:
        return {"towers.text.pooling": "argmax"}
    return {"towers.text.pooling": "eos", "towers.text.eos": eos}


def _restore(flat: Flat) -> Flat:
    eos = flat.get("towers.text.eos", LEGACY_EOS)
    sizes = {f"{part}_config.projection_dim": flat["dim"] for part in ("text", "vision")}
    return {"text_config.eos_token_id": eos, **sizes}


CLIP = Family(
    name="CLIP",
    library="hf",
    accepts=model_type("clip"),
    head={"model_type": "clip"},
    architecture="CLIPModel",
    keys=(
        Key("projection_dim", "dim"),
        *VISION_KEYS,
        *size_keys("text_config.", "towers.text"),
        Key("text_config.vocab_size", "towers.text.vocabulary"),
        Key("text_config.max_position_embeddings", "towers.text.length"),
    ),
    fixed={**ALIGN_FIXED, **VISION_FIXED, "towers.text.name": "text", "towers.text.causal": True},
    required={"vision_config.num_channels": 3},
    table=_table,
    adapt=_pooling,
    restore=_restore,
    ignore=(r"\.embeddings\.position_ids$",),
    resize={"towers_image/position_table": Resize(extra=1)},
    processor="clip",
)

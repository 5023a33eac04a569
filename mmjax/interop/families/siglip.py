"""SigLIP (Zhai et al. 2023) and SigLIP 2 at a fixed resolution, as `SiglipModel` of transformers."""

from mmjax.interop.families.parts import QKV, clip_blocks, fused, patch_embedding, size_keys
from mmjax.interop.family import Config, Family, Flat, Key, Tensor, embedding, linear, model_type, norm
from mmjax.interop.layouts import lead
from mmjax.interop.positions import Resize

FIXED = {
    "name": "align",
    "streams.image": "image",
    "streams.caption": "text",
    "pairs": (("image", "caption"),),
    "loss": "sigmoid",
    "scale_init": 10.0,
    "bias": True,
    "project.image": "none",
    "project.text": "bias",
    "towers.image.name": "vit",
    "towers.image.pooling": "map",
    "towers.text.name": "text",
    "towers.text.pooling": "final",
    "towers.text.attend_padding": True,
}
KEYS = (
    *size_keys("vision_config.", "towers.image"),
    Key("vision_config.patch_size", "towers.image.patch"),
    *size_keys("text_config.", "towers.text"),
    Key("text_config.vocab_size", "towers.text.vocabulary"),
    Key("text_config.max_position_embeddings", "towers.text.length"),
    Key("text_config.projection_size", "dim"),
)
SCALE = (Tensor("logit_scale", ("scale",), lead(1)), Tensor("logit_bias", ("bias",), lead(1)))


def attention_pool(theirs: str) -> tuple[Tensor, ...]:
    """The head that reads all patches by one learned query, with torch's own fused attention."""
    ours = "towers_image/attention_pool"
    return (
        Tensor(f"{theirs}.probe", (f"{ours}/probe",)),
        *fused(f"{theirs}.attention.in_proj", f"{ours}/attention", QKV, sep="_"),
        *linear(f"{theirs}.attention.out_proj", f"{ours}/attention/out"),
        *norm(f"{theirs}.layernorm", f"{ours}/norm"),
        *linear(f"{theirs}.mlp.fc1", f"{ours}/mlp/up"),
        *linear(f"{theirs}.mlp.fc2", f"{ours}/mlp/down"),
    )


def around_patches() -> tuple[Tensor, ...]:
    """All but the patch embedding, which alone differs in SigLIP 2's NaFlex."""
    return (
        *embedding("vision_model.embeddings.position_embedding", "towers_image/position_table"),
        *clip_blocks("vision_model.encoder.layers.{i}", "image"),
        *norm("vision_model.post_layernorm", "towers_image/norm_after"),
        *attention_pool("vision_model.head"),
        *embedding("text_model.embeddings.token_embedding", "towers_text/embedding/embedding"),
        *embedding("text_model.embeddings.position_embedding", "towers_text/position_table"),
        *clip_blocks("text_model.encoder.layers.{i}", "text"),
        *norm("text_model.final_layer_norm", "towers_text/norm_after"),
        *linear("text_model.head", "project_text"),
        *SCALE,
    )


def _table(task: Config) -> tuple[Tensor, ...]:
    del task
    return (*patch_embedding("vision_model.embeddings.patch_embedding", "image", bias=True), *around_patches())


def _head(flat: Flat) -> Flat:
    """Both parts of a config name their model type, or transformers would take the defaults of another."""
    del flat
    return {"text_config.model_type": "siglip_text_model", "vision_config.model_type": "siglip_vision_model"}


SIGLIP = Family(
    name="SigLIP",
    library="hf",
    accepts=model_type("siglip"),
    head={"model_type": "siglip"},
    architecture="SiglipModel",
    keys=(*KEYS, Key("vision_config.image_size", "image_size")),
    fixed=FIXED,
    required={"vision_config.num_channels": 3, "vision_config.vision_use_head": True},
    table=_table,
    restore=_head,
    ignore=(r"\.embeddings\.position_ids$",),
    resize={"towers_image/position_table": Resize(extra=0)},
    processor="siglip",
)

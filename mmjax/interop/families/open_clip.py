"""CLIP as open_clip's own `CLIP` class: a config `{"model_cfg", "preprocess_cfg"}` and torch's fused attention."""

from collections.abc import Collection, Mapping
from typing import Any

from mmjax.interop.families.clip import ALIGN_FIXED, VISION_FIXED
from mmjax.interop.families.parts import open_clip_blocks, patch_embedding
from mmjax.interop.family import Config, Family, Flat, Key, Tensor, norm
from mmjax.interop.layouts import PLAIN
from mmjax.interop.positions import Resize

# open_clip writes no defaults, so they stand here: those of CLIPVisionCfg, CLIPTextCfg and CLIP of open_clip 3.3.
CUSTOM_BLOCK = dict.fromkeys(
    ("qk_norm", "scaled_cosine_attn", "scale_heads", "scale_attn_inner", "scale_attn", "scale_fc"), False
)
VISION = {
    "layers": 12,
    "width": 768,
    "head_width": 64,
    "mlp_ratio": 4.0,
    "patch_size": 16,
    "image_size": 224,
    "attentional_pool": False,
    "no_ln_pre": False,
    "pos_embed_type": "learnable",
    "pool_type": "tok",
    **CUSTOM_BLOCK,
}
TEXT = {
    "context_length": 77,
    "vocab_size": 49408,
    "width": 512,
    "heads": 8,
    "layers": 12,
    "mlp_ratio": 4.0,
    "embed_cls": False,
    "no_causal_mask": False,
    "pool_type": "argmax",
    "proj_bias": False,
    "proj_type": "linear",
    **CUSTOM_BLOCK,
}
EPSILON = 1e-5  # torch's LayerNorm
V, T = "model_cfg.vision_cfg.", "model_cfg.text_cfg."

REQUIRED_VISION = {f"{V}{key}": VISION[key] for key in ("attentional_pool", "no_ln_pre", "pos_embed_type", "pool_type")}
REQUIRED_TEXT = {f"{T}{key}": TEXT[key] for key in ("embed_cls", "proj_type")}
REQUIRED_BLOCKS = {f"{part}{key}": False for part in (V, T) for key in CUSTOM_BLOCK}
TEXT_KEYS = (
    Key("model_cfg.embed_dim", "dim"),
    Key(f"{T}width", "towers.text.width"),
    Key(f"{T}layers", "towers.text.depth"),
    Key(f"{T}heads", "towers.text.heads"),
    Key(f"{T}vocab_size", "towers.text.vocabulary"),
    Key(f"{T}context_length", "towers.text.length"),
)


def complete(config: Config, vision: Mapping[str, Any] = VISION) -> dict[str, Any]:
    """The config with open_clip's defaults."""
    model = config["model_cfg"]
    parts = {"vision_cfg": {**vision, **model["vision_cfg"]}, "text_cfg": {**TEXT, **model["text_cfg"]}}
    return {**config, "model_cfg": {"init_logit_bias": None, "quick_gelu": False, **model, **parts}}


def activation(part: Config, quick: bool) -> str:
    """The activation of a tower, which two keys decide."""
    if quick:
        return "quick_gelu"
    return "gelu_tanh" if (part.get("act_kwargs") or {}).get("approximate") == "tanh" else "gelu"


def epsilon(part: Config) -> float:
    """The epsilon of a tower's norms."""
    return (part.get("norm_kwargs") or {}).get("eps", EPSILON)


def mlp_ratio(width: int, mlp_dim: int) -> float:
    """The factor of which `int(width * factor)` is `mlp_dim`: the quotient, or a little more where that rounds down."""
    ratio = mlp_dim / width
    return ratio if int(width * ratio) == mlp_dim else (mlp_dim + 0.5) / width


def restore_part(flat: Flat, tower: str, place: str) -> Flat:
    """Activation and epsilon of a tower as open_clip writes them."""
    tanh = {f"{place}act_kwargs.approximate": "tanh"} if flat[f"{tower}.activation"] == "gelu_tanh" else {}
    eps = flat[f"{tower}.epsilon"]
    return tanh | ({f"{place}norm_kwargs.eps": eps} if eps != EPSILON else {})


def adapt_text(model: Config) -> Flat:
    """What the text tower's keys say together."""
    text = model["text_cfg"]
    return {
        "towers.text.mlp_dim": int(text["width"] * text["mlp_ratio"]),
        "towers.text.activation": activation(text, model["quick_gelu"]),
        "towers.text.epsilon": epsilon(text),
        "bias": model["init_logit_bias"] is not None,
    }


def restore_text(flat: Flat) -> Flat:
    """The same, back."""
    bias = {"model_cfg.init_logit_bias": -10} if flat["bias"] else {}
    ratio = mlp_ratio(flat["towers.text.width"], flat["towers.text.mlp_dim"])
    return {f"{T}mlp_ratio": ratio, **bias, **restore_part(flat, "towers.text", T)}


def text_table(theirs: str) -> tuple[Tensor, ...]:
    """The text tower without its projection, below a prefix."""
    return (
        Tensor(f"{theirs}token_embedding.weight", ("towers_text/embedding/embedding",)),
        Tensor(f"{theirs}positional_embedding", ("towers_text/position_table",)),
        *open_clip_blocks(f"{theirs}transformer.resblocks.{{i}}", "text"),
        *norm(f"{theirs}ln_final", "towers_text/norm_after"),
    )


def scale_table(task: Config) -> tuple[Tensor, ...]:
    """Logit scale, and bias where the model has one."""
    bias = (Tensor("logit_bias", ("bias",)),) if task.get("bias_init") is not None else ()
    return (Tensor("logit_scale", ("scale",)), *bias)


def _table(task: Config) -> tuple[Tensor, ...]:
    return (
        Tensor("visual.class_embedding", ("towers_image/class_token",)),
        *patch_embedding("visual.conv1", "image", bias=False),
        Tensor("visual.positional_embedding", ("towers_image/position_table",)),
        *norm("visual.ln_pre", "towers_image/norm_before"),
        *open_clip_blocks("visual.transformer.resblocks.{i}", "image"),
        *norm("visual.ln_post", "towers_image/norm_after"),
        Tensor("visual.proj", ("project_image/kernel",), PLAIN),
        *text_table(""),
        Tensor("text_projection", ("project_text/kernel",), PLAIN),
        *scale_table(task),
    )


def _adapt(config: Config, names: Collection[str]) -> Flat:
    del names
    model = config["model_cfg"]
    vision = model["vision_cfg"]
    return {
        "towers.image.heads": vision["width"] // vision["head_width"],
        "towers.image.mlp_dim": int(vision["width"] * vision["mlp_ratio"]),
        "towers.image.activation": activation(vision, model["quick_gelu"]),
        "towers.image.epsilon": epsilon(vision),
        "towers.image.layer_scale": vision.get("ls_init_value"),
        "towers.text.layer_scale": model["text_cfg"].get("ls_init_value"),
        "loss": "info_nce" if model["init_logit_bias"] is None else "sigmoid",
        **adapt_text(model),
    }


def _restore(flat: Flat) -> Flat:
    width = flat["towers.image.width"]
    return {
        f"{V}head_width": width // flat["towers.image.heads"],
        f"{V}mlp_ratio": mlp_ratio(width, flat["towers.image.mlp_dim"]),
        "model_cfg.quick_gelu": flat["towers.image.activation"] == "quick_gelu",
        **restore_part(flat, "towers.image", V),
        **restore_text(flat),
    }


def _accepts(config: Config) -> bool:
    model = config.get("model_cfg", {})
    vision, text = model.get("vision_cfg", {}), model.get("text_cfg", {})
    foreign = (vision.get("timm_model_name"), text.get("hf_model_name"), model.get("custom_text"))
    whole = isinstance(vision.get("layers", 0), int)  # a ResNet has four numbers of them
    return bool(model) and whole and not any(foreign) and "multimodal_cfg" not in model


OPEN_CLIP = Family(
    name="CLIP",
    library="open_clip",
    accepts=_accepts,
    architecture="CLIP",
    complete=complete,
    keys=(
        *TEXT_KEYS,
        Key(f"{V}width", "towers.image.width"),
        Key(f"{V}layers", "towers.image.depth"),
        Key(f"{V}patch_size", "towers.image.patch"),
        Key(f"{V}image_size", "image_size"),
    ),
    fixed={
        **ALIGN_FIXED,
        **VISION_FIXED,
        "towers.text.name": "text",
        "towers.text.causal": True,
        "towers.text.pooling": "argmax",
    },
    required={
        **REQUIRED_VISION,
        **REQUIRED_TEXT,
        **REQUIRED_BLOCKS,
        f"{T}no_causal_mask": False,
        f"{T}pool_type": "argmax",
        f"{T}proj_bias": False,
    },
    table=_table,
    adapt=_adapt,
    restore=_restore,
    ignore=(r"^attn_mask$", r"^input_resolution$", r"^context_length$", r"^vocab_size$"),
    resize={"towers_image/position_table": Resize(extra=1, antialias=True)},
    processor="open_clip",
)

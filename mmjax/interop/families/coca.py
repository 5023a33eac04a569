"""CoCa (Yu et al. 2022) as open_clip's `CoCa` class.

open_clip takes whatever has the id of padding, 0, for padding; in CLIP's vocabulary that is a "!" within a word too.
Ours goes by the mask of its tokenizer, so a text with such a "!", which is rare, gets other features.
"""

from collections.abc import Collection
from typing import Any

from mmjax.errors import UserError
from mmjax.interop.families import open_clip
from mmjax.interop.families.clip import VISION_FIXED
from mmjax.interop.families.open_clip import EPSILON, TEXT_KEYS, VISION, T, V, activation, epsilon, mlp_ratio
from mmjax.interop.families.parts import QKV, fused, open_clip_block, open_clip_blocks, patch_embedding
from mmjax.interop.family import Config, Family, Flat, Key, Tensor, linear, norm
from mmjax.interop.layouts import PLAIN, TRANSPOSE
from mmjax.interop.positions import Resize

M = "model_cfg.multimodal_cfg."
MULTIMODAL = {"context_length": 77, "width": 512, "heads": 8, "layers": 12}  # of open_clip 3.3; it reads no others
POOLER = {"attn_pooler_queries": 256, "attn_pooler_heads": 8}
BEGIN, END = 49406, 49407  # of CLIP's own tokenizer, which open_clip's `generate` expects


def _complete(config: Config) -> dict[str, Any]:
    full = open_clip.complete(config, {**VISION, **POOLER, "output_tokens": False, "final_ln_after_pool": False})
    model = full["model_cfg"]
    text = {"output_tokens": False, "pad_id": 0, **model["text_cfg"]}
    parts = {"text_cfg": text, "multimodal_cfg": {**MULTIMODAL, **model["multimodal_cfg"]}}
    return {**full, "model_cfg": {"custom_text": False, **model, **parts}}


def _pooler(task: Config) -> tuple[Tensor, ...]:
    """torch keeps one matrix for query, key and value where all read vectors of one width, and else three."""
    theirs, ours = "visual.attn_pool", "pooler/attention"
    matrix, bias = fused(f"{theirs}.attn.in_proj", ours, QKV, sep="_")
    apart = tuple(Tensor(f"{theirs}.attn.{name[0]}_proj_weight", (f"{ours}/{name}/kernel",), TRANSPOSE) for name in QKV)
    same = task["towers"]["image"]["width"] == task["dim"]
    return (
        Tensor(f"{theirs}.query", ("pooler/queries",)),
        *((matrix,) if same else apart),
        bias,
        *linear(f"{theirs}.attn.out_proj", f"{ours}/out"),
        *norm(f"{theirs}.ln_q", "pooler/norm_queries"),
        *norm(f"{theirs}.ln_k", "pooler/norm_tokens"),
        *norm("visual.ln_post", "pooler/norm_after"),
    )


def _table(task: Config) -> tuple[Tensor, ...]:
    pooled = _pooler(task) if task.get("pooler") else norm("visual.ln_post", "towers_image/norm_after")
    return (
        Tensor("visual.class_embedding", ("towers_image/class_token",)),
        *patch_embedding("visual.conv1", "image", bias=False),
        Tensor("visual.positional_embedding", ("towers_image/position_table",)),
        *norm("visual.ln_pre", "towers_image/norm_before"),
        *open_clip_blocks("visual.transformer.resblocks.{i}", "image"),
        *pooled,
        Tensor("visual.proj", ("project_image/kernel",), PLAIN),
        *open_clip.text_table("text."),
        Tensor("text.cls_emb", ("towers_text/class_token",)),
        Tensor("text.text_projection", ("project_text/kernel",), PLAIN),
        *open_clip_block("text_decoder.resblocks.{i}", "decoder/blocks_{i}"),
        *open_clip_block("text_decoder.cross_attn.{i}", "decoder/cross_{i}"),
        *norm("text_decoder.cross_attn.{i}.ln_1_kv", "decoder/cross_{i}/norm_context"),
        *norm("text_decoder.ln_final", "decoder/norm_after"),
        Tensor("text_decoder.text_projection", ("decoder/head/kernel",), PLAIN),
        Tensor("logit_scale", ("scale",)),
    )


def _check(model: Config) -> None:
    """Refuses two poolers, the epsilon that one ignores, and widths with which open_clip's model does not run.

    Raises:
      UserError: the keys on both sides, for it comes up on the way in and on the way out.
    """
    vision, width = model["vision_cfg"], model["text_cfg"]["width"]
    pooled = vision["attentional_pool"]
    if pooled not in (True, False):
        raise UserError(f"CoCa config: vision_cfg.attentional_pool is {pooled!r}; mmjax has this model with one pooler")
    read = ("embed_dim (task.dim)", model["embed_dim"]) if pooled else ("vision_cfg.width", vision["width"])
    for key, value in (("multimodal_cfg.width", model["multimodal_cfg"]["width"]), read):
        if value != width:
            raise UserError(
                f"CoCa config: model_cfg.{key} is {value!r} and text_cfg.width (task.towers.text.width) {width!r}; "
                "open_clip's CoCa takes no map between the two, so they must be equal"
            )
    if pooled and epsilon(vision) != EPSILON:
        raise UserError(
            f"CoCa config: vision_cfg.norm_kwargs.eps (task.towers.image.epsilon) is {epsilon(vision)!r}, "
            f"but the norms of open_clip's attentional pooler have {EPSILON} whatever it says; set it to that"
        )


def _adapt(config: Config, names: Collection[str]) -> Flat:
    del names
    model = config["model_cfg"]
    _check(model)
    vision, text, quick = model["vision_cfg"], open_clip.adapt_text(model), model["quick_gelu"]
    del text["bias"]
    pooler = {"pooler.queries": vision["attn_pooler_queries"], "pooler.heads": vision["attn_pooler_heads"]}
    own = not model["text_cfg"].get("hf_tokenizer_name") and model["text_cfg"]["vocab_size"] > END
    return {
        "towers.image.heads": vision["width"] // vision["head_width"],
        "towers.image.mlp_dim": int(vision["width"] * vision["mlp_ratio"]),
        "towers.image.activation": activation(vision, quick),
        "towers.image.epsilon": epsilon(vision),
        "towers.image.final_norm": not vision["attentional_pool"],
        "decoder.mlp_dim": 4 * model["multimodal_cfg"]["width"],
        "decoder.activation": activation({}, quick),
        **(pooler if vision["attentional_pool"] else {"pooler": None}),
        **({"towers.text.begin": BEGIN, "towers.text.eos": END} if own else {}),
        **text,
    }


def _restore(flat: Flat) -> Flat:
    width, size = flat["towers.image.width"], flat["towers.text.width"]
    pooler = {f"{V}attn_pooler_{key}": flat[f"pooler.{key}"] for key in ("queries", "heads") if "pooler" not in flat}
    ratio = mlp_ratio(size, flat["towers.text.mlp_dim"])
    return {
        **pooler,
        f"{V}attentional_pool": "pooler" not in flat,
        f"{V}head_width": width // flat["towers.image.heads"],
        f"{V}mlp_ratio": mlp_ratio(width, flat["towers.image.mlp_dim"]),
        f"{M}width": size,
        f"{M}context_length": flat["towers.text.length"],
        f"{M}vocab_size": flat["towers.text.vocabulary"],
        "model_cfg.quick_gelu": flat["decoder.activation"] == "quick_gelu",
        f"{T}mlp_ratio": ratio,
        **open_clip.restore_part(flat, "towers.image", V),
        **open_clip.restore_part(flat, "towers.text", T),
    }


def _accepts(config: Config) -> bool:
    model = config.get("model_cfg", {})
    foreign = (model.get("vision_cfg", {}).get("timm_model_name"), model.get("text_cfg", {}).get("hf_model_name"))
    return isinstance(model.get("multimodal_cfg"), dict) and not any(foreign)


REQUIRED_VISION = {key: VISION[key] for key in ("no_ln_pre", "pos_embed_type", "pool_type")}
REQUIRED_VISION |= {"final_ln_after_pool": False, "output_tokens": True}
REQUIRED_TEXT = {"embed_cls": True, "proj_type": "linear", "proj_bias": False, "no_causal_mask": False}
REQUIRED_TEXT |= {"output_tokens": True, "pad_id": 0}

COCA = Family(
    name="CoCa",
    library="open_clip",
    accepts=_accepts,
    architecture="CoCa",
    complete=_complete,
    keys=(
        *TEXT_KEYS,
        Key(f"{V}width", "towers.image.width"),
        Key(f"{V}layers", "towers.image.depth"),
        Key(f"{V}patch_size", "towers.image.patch"),
        Key(f"{V}image_size", "image_size"),
        Key(f"{M}layers", "decoder.depth"),
        Key(f"{M}heads", "decoder.heads"),
    ),
    fixed={
        **VISION_FIXED,
        "name": "coca",
        "streams.image": "image",
        "streams.caption": "text",
        "loss": "info_nce",
        "towers.text.name": "text",
        "towers.text.causal": True,
        "towers.text.pooling": "class",
        "decoder.epsilon": EPSILON,
    },
    required={
        **{f"{V}{key}": value for key, value in REQUIRED_VISION.items()},
        **{f"{T}{key}": value for key, value in REQUIRED_TEXT.items()},
        **open_clip.REQUIRED_BLOCKS,
        **{f"{part}ls_init_value": None for part in (V, T, M)},
        "model_cfg.init_logit_bias": None,
        "model_cfg.custom_text": True,
    },
    table=_table,
    adapt=_adapt,
    restore=_restore,
    ignore=(r"\battn_mask$",),
    resize={"towers_image/position_table": Resize(extra=1, antialias=True)},
    processor="open_clip",
)

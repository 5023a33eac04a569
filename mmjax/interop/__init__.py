"""Weights in and out of PyTorch: transformers' and open_clip's models as ours, and ours as theirs.

A family is one file: a config map, a table of tensors, and the kind of its preprocessing. One table serves both ways.
"""

from collections.abc import Mapping
from typing import Any

from mmjax.errors import UserError
from mmjax.interop.families.bert import BERT, ROBERTA
from mmjax.interop.families.chinese_clip import CHINESE_CLIP
from mmjax.interop.families.clip import CLIP
from mmjax.interop.families.coca import COCA
from mmjax.interop.families.dinov2 import DINOV2, DINOV2_REGISTERS
from mmjax.interop.families.gpt2 import GPT2
from mmjax.interop.families.naflex import NAFLEX
from mmjax.interop.families.open_clip import OPEN_CLIP
from mmjax.interop.families.open_clip_siglip import OPEN_CLIP_SIGLIP
from mmjax.interop.families.siglip import SIGLIP
from mmjax.interop.families.vision_encoder_decoder import VISION_ENCODER_DECODER
from mmjax.interop.families.vit import VIT
from mmjax.interop.family import Family

FAMILIES: dict[str, Family] = {
    "clip": CLIP,
    "siglip": SIGLIP,
    "siglip2_naflex": NAFLEX,
    "chinese_clip": CHINESE_CLIP,
    "vit": VIT,
    "dinov2": DINOV2,
    "dinov2_registers": DINOV2_REGISTERS,
    "bert": BERT,
    "roberta": ROBERTA,
    "gpt2": GPT2,
    "vision_encoder_decoder": VISION_ENCODER_DECODER,
    "open_clip": OPEN_CLIP,
    "open_clip_siglip": OPEN_CLIP_SIGLIP,
    "coca": COCA,
}


def family_of(library: str, config: Mapping[str, Any], where: str) -> Family:
    """The family of a checkpoint's config.

    Raises:
      UserError: no family of ours, with those that are.
    """
    for family in FAMILIES.values():
        if family.library == library and family.accepts(config):
            return family
    known = ", ".join(name for name, family in FAMILIES.items() if family.library == library)
    raise UserError(f"{where}: mmjax has no family for {_kind(config)}; known: {known}")


def _kind(config: Mapping[str, Any]) -> str:
    """What a config is of: its model type, or the keys of open_clip that make it no plain CLIP."""
    if "model_cfg" not in config:
        return f"the model type {config.get('model_type')!r}"
    model = config["model_cfg"]
    vision, text = model["vision_cfg"], model["text_cfg"]
    layers = vision.get("layers")
    odd = {
        "vision_cfg.timm_model_name": vision.get("timm_model_name"),
        "vision_cfg.layers": None if isinstance(layers, int) else layers,
        "text_cfg.hf_model_name": text.get("hf_model_name"),
        "multimodal_cfg": model.get("multimodal_cfg"),
        "custom_text": model.get("custom_text"),
    }
    return " and ".join(f"{key} = {value!r}" for key, value in odd.items() if value)

"""Chinese-CLIP (Yang et al. 2022): CLIP's image tower beside a BERT, as `ChineseCLIPModel` of transformers."""

from mmjax.interop.families.bert import TEXT_FIXED, text_keys, text_table
from mmjax.interop.families.clip import ALIGN_FIXED, PROJECTIONS, VISION_FIXED, VISION_KEYS, clip_vision
from mmjax.interop.family import Config, Family, Flat, Key, Tensor, model_type
from mmjax.interop.positions import Resize


def _table(task: Config) -> tuple[Tensor, ...]:
    del task
    return (*clip_vision(), *text_table("text_model."), *PROJECTIONS)


def _restore(flat: Flat) -> Flat:
    return {
        "vision_config.projection_dim": flat["dim"],
        "text_config.model_type": "chinese_clip_text_model",
        "vision_config.model_type": "chinese_clip_vision_model",
    }


CHINESE_CLIP = Family(
    name="Chinese-CLIP",
    library="hf",
    accepts=model_type("chinese_clip"),
    head={"model_type": "chinese_clip"},
    architecture="ChineseCLIPModel",
    keys=(
        Key("projection_dim", "dim"),
        *VISION_KEYS,
        *text_keys("text_config."),
        Key("text_config.max_position_embeddings", "towers.text.length"),
    ),
    fixed={**ALIGN_FIXED, **VISION_FIXED, **TEXT_FIXED},
    required={"vision_config.num_channels": 3},
    table=_table,
    restore=_restore,
    ignore=(r"\.embeddings\.position_ids$", r"^text_model\.pooler\."),
    resize={"towers_image/position_table": Resize(extra=1)},
    processor="chinese_clip",
)

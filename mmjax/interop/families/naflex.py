"""SigLIP 2 NaFlex (Tschannen et al. 2025), pictures of any aspect as lists of patches: `Siglip2Model`."""

import math

from mmjax.interop.families.siglip import FIXED, KEYS, around_patches
from mmjax.interop.family import Config, Family, Flat, Tensor, linear, model_type


def _table(task: Config) -> tuple[Tensor, ...]:
    del task
    return (*linear("vision_model.embeddings.patch_embedding", "towers_image/patches/embed"), *around_patches())


def _grid(config: Config, names: object) -> Flat:
    del names
    cells = config["vision_config"]["num_patches"]
    return {"towers.image.grid": math.isqrt(cells)}


def _restore(flat: Flat) -> Flat:
    return {
        "vision_config.num_patches": flat.get("towers.image.grid", 16) ** 2,  # another stem has no grid
        "text_config.model_type": "siglip2_text_model",
        "vision_config.model_type": "siglip2_vision_model",
    }


NAFLEX = Family(
    name="SigLIP 2 NaFlex",
    library="hf",
    accepts=model_type("siglip2"),
    head={"model_type": "siglip2"},
    architecture="Siglip2Model",
    keys=KEYS,
    fixed={**FIXED, "towers.image.stem": "naflex"},
    required={"vision_config.num_channels": 3, "vision_config.vision_use_head": True},
    table=_table,
    adapt=_grid,
    restore=_restore,
    processor="siglip2",
)

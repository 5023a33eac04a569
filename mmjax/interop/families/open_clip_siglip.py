"""SigLIP as open_clip has it: a vision transformer of timm beside open_clip's own text tower."""

import dataclasses
import re
from collections.abc import Collection

from mmjax.interop.families import open_clip
from mmjax.interop.families.open_clip import TEXT_KEYS, T, V
from mmjax.interop.families.parts import QKV, blocks, fused, patch_embedding
from mmjax.interop.families.siglip import FIXED
from mmjax.interop.family import Config, Family, Flat, Key, Tensor, linear, norm
from mmjax.interop.layouts import lead
from mmjax.interop.positions import Resize


@dataclasses.dataclass(frozen=True)
class Trunk:
    """A vision transformer of timm. All but the largest have the exact GELU, where the authors' has the tanh form."""

    width: int
    depth: int
    heads: int
    mlp_dim: int
    activation: str = "gelu"


TRUNKS = {
    "base": Trunk(768, 12, 12, 3072),
    "large": Trunk(1024, 24, 16, 4096),
    "so400m": Trunk(1152, 27, 16, 4304),
    "giantopt": Trunk(1536, 40, 16, 6144, "gelu_tanh"),
}
NAMES = {  # the sizes of pictures that timm has a name for; open_clip passes any other on to it
    ("base", 32): 256,
    ("base", 16): 224,
    ("large", 16): 256,
    ("so400m", 14): 224,
    ("so400m", 16): 256,
    ("giantopt", 16): 256,
}
NAME = re.compile(r"^vit_(\w+?)_patch(\d+)_siglip_(\d+)$")
EPSILON = 1e-6


def _table(task: Config) -> tuple[Tensor, ...]:
    trunk, ours, pool = "visual.trunk", blocks("image"), "towers_image/attention_pool"
    return (
        Tensor(f"{trunk}.pos_embed", ("towers_image/position_table",), lead(1)),
        *patch_embedding(f"{trunk}.patch_embed.proj", "image", bias=True),
        *fused(f"{trunk}.blocks.{{i}}.attn.qkv", f"{ours}/attention", QKV),
        *linear(f"{trunk}.blocks.{{i}}.attn.proj", f"{ours}/attention/out"),
        *norm(f"{trunk}.blocks.{{i}}.norm1", f"{ours}/norm_attention"),
        *norm(f"{trunk}.blocks.{{i}}.norm2", f"{ours}/norm_mlp"),
        *linear(f"{trunk}.blocks.{{i}}.mlp.fc1", f"{ours}/mlp/up"),
        *linear(f"{trunk}.blocks.{{i}}.mlp.fc2", f"{ours}/mlp/down"),
        *norm(f"{trunk}.norm", "towers_image/norm_after"),
        Tensor(f"{trunk}.attn_pool.latent", (f"{pool}/probe",)),
        *linear(f"{trunk}.attn_pool.q", f"{pool}/attention/query"),
        *fused(f"{trunk}.attn_pool.kv", f"{pool}/attention", ("key", "value")),
        *linear(f"{trunk}.attn_pool.proj", f"{pool}/attention/out"),
        *norm(f"{trunk}.attn_pool.norm", f"{pool}/norm"),
        *linear(f"{trunk}.attn_pool.mlp.fc1", f"{pool}/mlp/up"),
        *linear(f"{trunk}.attn_pool.mlp.fc2", f"{pool}/mlp/down"),
        *open_clip.text_table("text."),
        *linear("text.text_projection", "project_text"),
        *open_clip.scale_table(task),
    )


def _adapt(config: Config, names: Collection[str]) -> Flat:
    del names
    model = config["model_cfg"]
    match = NAME.match(model["vision_cfg"]["timm_model_name"])
    trunk = TRUNKS[match[1]] if match and match[1] in TRUNKS else None
    sizes = dataclasses.asdict(trunk) if trunk else {}
    return {
        **{f"towers.image.{key}": value for key, value in sizes.items()},
        "towers.image.patch": int(match[2]) if match else None,
        **open_clip.adapt_text(model),
    }


def _restore(flat: Flat) -> Flat:
    keys = [field.name for field in dataclasses.fields(Trunk)]
    wanted = [flat[f"towers.image.{key}"] for key in keys]
    # The nearest by width: what it cannot express is then named key by key.
    best = min(TRUNKS, key=lambda name: abs(TRUNKS[name].width - wanted[0]))
    patches = [patch for name, patch in NAMES if name == best]
    patch = flat["towers.image.patch"] if flat["towers.image.patch"] in patches else patches[0]
    return {
        f"{V}timm_model_name": f"vit_{best}_patch{patch}_siglip_{NAMES[best, patch]}",
        f"{V}timm_model_pretrained": False,
        "model_cfg.custom_text": True,
        **open_clip.restore_text(flat),
    }


def _accepts(config: Config) -> bool:
    name = config.get("model_cfg", {}).get("vision_cfg", {}).get("timm_model_name") or ""
    match = NAME.match(name)
    return match is not None and match[1] in TRUNKS


OPEN_CLIP_SIGLIP = Family(
    name="SigLIP",
    library="open_clip",
    accepts=_accepts,
    architecture="CustomTextCLIP",
    complete=lambda config: open_clip.complete(config, {"image_size": 224}),
    keys=(*TEXT_KEYS, Key(f"{V}image_size", "image_size")),
    fixed={**FIXED, "towers.image.epsilon": EPSILON},
    required={
        f"{V}timm_pool": "map",
        f"{V}timm_proj": "none",
        **open_clip.REQUIRED_TEXT,
        f"{T}no_causal_mask": True,
        f"{T}pool_type": "last",
        f"{T}proj_bias": True,
    },
    table=_table,
    adapt=_adapt,
    restore=_restore,
    resize={"towers_image/position_table": Resize(extra=0, antialias=True)},
    processor="open_clip",
)

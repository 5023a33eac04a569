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
    """Sizes of a vision transformer of timm."""

    width: int
    depth: int
    heads: int
    mlp_dim: int


TRUNKS = {
    "base": Trunk(768, 12, 12, 3072),
    "large": Trunk(1024, 24, 16, 4096),
    "so400m": Trunk(1152, 27, 16, 4304),
    "giantopt": Trunk(1536, 40, 16, 6144),
}
# timm takes all that it builds from a name: the trunk, the patch, the pixels on a side, whatever a config says beside
# it; and the activation, which is the authors' tanh form in the later names alone.
NAMES = {
    ("base", 32, 256): "gelu_tanh",
    **{("base", 16, size): "gelu" for size in (224, 256, 384, 512)},
    **{("large", 16, size): "gelu" for size in (256, 384)},
    ("large", 16, 512): "gelu_tanh",
    **{("so400m", 14, size): "gelu" for size in (224, 378, 384)},
    **{("so400m", 16, size): "gelu_tanh" for size in (256, 384, 512)},
    **{("giantopt", 16, size): "gelu_tanh" for size in (256, 384)},
}
NAME = re.compile(r"^vit_(\w+?)_patch(\d+)_siglip_(\d+)$")
EPSILON = 1e-6


def _parts(config: Config) -> tuple[str, int, int] | None:
    """Trunk, patch and pixels of the name in a config, if timm and we know it."""
    match = NAME.match(config.get("model_cfg", {}).get("vision_cfg", {}).get("timm_model_name") or "")
    parts = (match[1], int(match[2]), int(match[3])) if match else None
    return parts if parts in NAMES else None


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
    parts = _parts(config)
    assert parts  # `accepts` has seen to it
    trunk, patch, size = parts
    sizes = dataclasses.asdict(TRUNKS[trunk]) | {"activation": NAMES[parts], "patch": patch}
    own = {f"towers.image.{key}": value for key, value in sizes.items()}
    return {**own, "image_size": size, **open_clip.adapt_text(config["model_cfg"])}


def _restore(flat: Flat) -> Flat:
    image = {key.removeprefix("towers.image."): value for key, value in flat.items()}

    def distance(name: tuple[str, int, int]) -> tuple[int, ...]:
        """The nearest name is taken: what it cannot express is then named key by key."""
        trunk, patch, size = name
        wrong = (patch != image["patch"], NAMES[name] != image["activation"])
        return (abs(TRUNKS[trunk].width - image["width"]), *wrong, abs(size - (flat["image_size"] or 0)))

    trunk, patch, size = min(NAMES, key=distance)
    return {
        f"{V}timm_model_name": f"vit_{trunk}_patch{patch}_siglip_{size}",
        f"{V}timm_model_pretrained": False,
        "model_cfg.custom_text": True,
        **open_clip.restore_text(flat),
    }


def _accepts(config: Config) -> bool:
    return _parts(config) is not None


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

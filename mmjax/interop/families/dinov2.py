"""DINOv2 (Oquab et al. 2023), without and with registers (Darcet et al. 2024), image towers of transformers."""

from collections.abc import Collection, Mapping

from mmjax.interop.families.parts import ACTIVATIONS, blocks
from mmjax.interop.families.vit import ENCODE_IMAGE, KEYS, attention, embeddings
from mmjax.interop.family import Config, Family, Flat, Key, Tensor, linear, model_type, norm
from mmjax.interop.layouts import lead, split
from mmjax.interop.positions import Resize


def _mlp(block: str, ours: str, swiglu: bool) -> tuple[Tensor, ...]:
    if not swiglu:
        return (*linear(f"{block}.mlp.fc1", f"{ours}/mlp/up"), *linear(f"{block}.mlp.fc2", f"{ours}/mlp/down"))
    both = (f"{ours}/mlp/gate", f"{ours}/mlp/up")
    return (
        Tensor(f"{block}.mlp.weights_in.weight", tuple(f"{name}/kernel" for name in both), split(2)),
        Tensor(f"{block}.mlp.weights_in.bias", tuple(f"{name}/bias" for name in both), split(2, transpose=False)),
        *linear(f"{block}.mlp.weights_out", f"{ours}/mlp/down"),
    )


def _table(task: Config) -> tuple[Tensor, ...]:
    tower, block, ours = task["towers"]["image"], "encoder.layer.{i}", blocks("image")
    registers = Tensor("embeddings.register_tokens", ("towers_image/register_tokens",), lead(1))
    return (
        *embeddings(),
        *((registers,) if tower["registers"] else ()),
        *attention(block, task),
        *norm(f"{block}.norm1", f"{ours}/norm_attention"),
        *norm(f"{block}.norm2", f"{ours}/norm_mlp"),
        Tensor(f"{block}.layer_scale1.lambda1", (f"{ours}/scale_attention",)),
        Tensor(f"{block}.layer_scale2.lambda1", (f"{ours}/scale_mlp",)),
        *_mlp(block, ours, tower["activation"] == "swiglu"),
        *norm("layernorm", "towers_image/norm_after"),
    )


def _hidden(width: int, ratio: int, swiglu: bool) -> int:
    """SwiGLU keeps two thirds of the MLP, rounded up to a multiple of 8."""
    return (int(width * ratio * 2 / 3) + 7) // 8 * 8 if swiglu else width * ratio


def _adapt(config: Config, names: Collection[str]) -> Flat:
    del names
    swiglu = config["use_swiglu_ffn"]
    activation = "swiglu" if swiglu else ACTIVATIONS.get(config["hidden_act"], config["hidden_act"])
    return {
        "towers.image.activation": activation,
        "towers.image.mlp_dim": _hidden(config["hidden_size"], config["mlp_ratio"], swiglu),
    }


def _restore(flat: Flat) -> Flat:
    width, hidden, activation = (flat[f"towers.image.{key}"] for key in ("width", "mlp_dim", "activation"))
    swiglu = activation == "swiglu"
    back = {ours: theirs for theirs, ours in ACTIVATIONS.items()}
    return {
        "use_swiglu_ffn": swiglu,
        "hidden_act": "gelu" if swiglu else back.get(activation, activation),
        "mlp_ratio": round(hidden * 3 / 2 / width) if swiglu else hidden // width,
    }


def _mask_token(task: Config) -> Mapping[str, tuple[int, ...]]:
    """What stands for hidden patches while DINOv2 is trained; features have no use for it."""
    return {"embeddings.mask_token": (1, task["towers"]["image"]["width"])}


def _family(name: str, kind: str, architecture: str, registers: bool) -> Family:
    extra = (Key("num_register_tokens", "towers.image.registers"),) if registers else ()
    return Family(
        name=name,
        library="hf",
        accepts=model_type(kind),
        head={"model_type": kind},
        architecture=architecture,
        keys=(
            Key("hidden_size", "towers.image.width"),
            Key("num_hidden_layers", "towers.image.depth"),
            Key("num_attention_heads", "towers.image.heads"),
            Key("layer_norm_eps", "towers.image.epsilon"),
            Key("layerscale_value", "towers.image.layer_scale"),
            *KEYS,
            *extra,
        ),
        fixed=ENCODE_IMAGE,
        required={"num_channels": 3},
        table=_table,
        adapt=_adapt,
        restore=_restore,
        prefixes=("", f"{kind}."),
        ignore=(r"embeddings\.mask_token$",),
        blank=_mask_token,
        resize={"towers_image/position_table": Resize(extra=1, antialias=registers, unasked=True)},
        processor="dinov2",
    )


DINOV2 = _family("DINOv2", "dinov2", "Dinov2Model", registers=False)
DINOV2_REGISTERS = _family("DINOv2 with registers", "dinov2_with_registers", "Dinov2WithRegistersModel", registers=True)

"""GPT-2 (Radford et al. 2019) as `GPT2Model` of transformers, a text tower that reads left to right."""

from mmjax.interop.families.parts import QKV, blocks
from mmjax.interop.family import Config, Family, Flat, Key, Tensor, embedding, model_type, norm
from mmjax.interop.layouts import split

# Its linear maps are `[in, out]` as ours, and "gelu_new" is the tanh form.
ACTIVATIONS = {"gelu_new": "gelu_tanh", "gelu": "gelu", "gelu_pytorch_tanh": "gelu_tanh", "relu": "relu"}


def _map(theirs: str, ours: str) -> tuple[Tensor, ...]:
    return Tensor(f"{theirs}.weight", (f"{ours}/kernel",)), Tensor(f"{theirs}.bias", (f"{ours}/bias",))


def _table(task: Config) -> tuple[Tensor, ...]:
    del task
    block, ours = "h.{i}", blocks("text")
    parts = [f"{ours}/attention/{name}" for name in QKV]
    return (
        *embedding("wte", "towers_text/embedding/embedding"),
        *embedding("wpe", "towers_text/position_table"),
        Tensor(f"{block}.attn.c_attn.weight", tuple(f"{p}/kernel" for p in parts), split(3, 1, transpose=False)),
        Tensor(f"{block}.attn.c_attn.bias", tuple(f"{p}/bias" for p in parts), split(3, transpose=False)),
        *_map(f"{block}.attn.c_proj", f"{ours}/attention/out"),
        *norm(f"{block}.ln_1", f"{ours}/norm_attention"),
        *norm(f"{block}.ln_2", f"{ours}/norm_mlp"),
        *_map(f"{block}.mlp.c_fc", f"{ours}/mlp/up"),
        *_map(f"{block}.mlp.c_proj", f"{ours}/mlp/down"),
        *norm("ln_f", "towers_text/norm_after"),
    )


def _hidden(config: Config, names: object) -> Flat:
    del names
    return {"towers.text.mlp_dim": config["n_inner"] or 4 * config["n_embd"]}


GPT2 = Family(
    name="GPT-2",
    library="hf",
    accepts=model_type("gpt2"),
    head={"model_type": "gpt2"},
    architecture="GPT2Model",
    keys=(
        Key("n_embd", "towers.text.width"),
        Key("n_layer", "towers.text.depth"),
        Key("n_head", "towers.text.heads"),
        Key("n_positions", "towers.text.length"),
        Key("vocab_size", "towers.text.vocabulary"),
        Key("layer_norm_epsilon", "towers.text.epsilon"),
        Key("activation_function", "towers.text.activation", ACTIVATIONS),
    ),
    fixed={
        "name": "encode",
        "streams.caption": "text",
        "towers.text.name": "text",
        "towers.text.causal": True,
        "towers.text.pooling": "last",
    },
    required={
        "add_cross_attention": False,
        "scale_attn_weights": True,
        "scale_attn_by_inverse_layer_idx": False,
    },
    table=_table,
    adapt=_hidden,
    restore=lambda flat: {"n_inner": flat["towers.text.mlp_dim"]},
    prefixes=("", "transformer."),
    ignore=(r"\.attn\.(masked_)?bias$",),
    tied={"lm_head.weight": "wte.weight"},
    processor="text",
)

"""What several families share: names of activations, and the tables of blocks that are spelt alike."""

from mmjax.interop.family import Key, Tensor, linear, norm
from mmjax.interop.layouts import PATCHES, split

ACTIVATIONS = {"quick_gelu": "quick_gelu", "gelu": "gelu", "gelu_pytorch_tanh": "gelu_tanh", "relu": "relu"}


def size_keys(theirs: str, ours: str) -> tuple[Key, ...]:
    """Width, depth, heads, MLP, activation and epsilon, as most configs of transformers call them."""
    return (
        Key(f"{theirs}hidden_size", f"{ours}.width"),
        Key(f"{theirs}num_hidden_layers", f"{ours}.depth"),
        Key(f"{theirs}num_attention_heads", f"{ours}.heads"),
        Key(f"{theirs}intermediate_size", f"{ours}.mlp_dim"),
        Key(f"{theirs}hidden_act", f"{ours}.activation", ACTIVATIONS),
        Key(f"{theirs}layer_norm_eps", f"{ours}.epsilon"),
    )


def blocks(tower: str) -> str:
    """Where the blocks of a tower lie among our parameters."""
    return f"towers_{tower}/transformer/blocks_{{i}}"


def clip_blocks(theirs: str, tower: str) -> tuple[Tensor, ...]:
    """A block as CLIP and SigLIP of transformers spell it."""
    ours = blocks(tower)
    return (
        *(
            tensor
            for a, b in (("q_proj", "query"), ("k_proj", "key"), ("v_proj", "value"), ("out_proj", "out"))
            for tensor in linear(f"{theirs}.self_attn.{a}", f"{ours}/attention/{b}")
        ),
        *norm(f"{theirs}.layer_norm1", f"{ours}/norm_attention"),
        *norm(f"{theirs}.layer_norm2", f"{ours}/norm_mlp"),
        *linear(f"{theirs}.mlp.fc1", f"{ours}/mlp/up"),
        *linear(f"{theirs}.mlp.fc2", f"{ours}/mlp/down"),
    )


def fused(theirs: str, ours: str, names: tuple[str, ...], sep: str = ".") -> tuple[Tensor, ...]:
    """One projection that holds several of ours: weight `[k * d, d]` and bias `[k * d]`."""
    return (
        Tensor(f"{theirs}{sep}weight", tuple(f"{ours}/{name}/kernel" for name in names), split(len(names))),
        Tensor(
            f"{theirs}{sep}bias", tuple(f"{ours}/{name}/bias" for name in names), split(len(names), transpose=False)
        ),
    )


QKV = ("query", "key", "value")


def open_clip_blocks(theirs: str, tower: str) -> tuple[Tensor, ...]:
    """The blocks of a tower as open_clip spells them."""
    return open_clip_block(theirs, blocks(tower))


def open_clip_block(theirs: str, ours: str) -> tuple[Tensor, ...]:
    """A block as open_clip spells it, with torch's own fused attention."""
    return (
        *fused(f"{theirs}.attn.in_proj", f"{ours}/attention", QKV, sep="_"),
        *linear(f"{theirs}.attn.out_proj", f"{ours}/attention/out"),
        *norm(f"{theirs}.ln_1", f"{ours}/norm_attention"),
        *norm(f"{theirs}.ln_2", f"{ours}/norm_mlp"),
        *linear(f"{theirs}.mlp.c_fc", f"{ours}/mlp/up"),
        *linear(f"{theirs}.mlp.c_proj", f"{ours}/mlp/down"),
    )


def patch_embedding(theirs: str, tower: str, bias: bool) -> tuple[Tensor, ...]:
    """A convolution whose stride is its size against our matrix over the pixels of a square."""
    kernel = Tensor(f"{theirs}.weight", (f"towers_{tower}/patches/embed/kernel",), PATCHES)
    return (kernel, Tensor(f"{theirs}.bias", (f"towers_{tower}/patches/embed/bias",))) if bias else (kernel,)

"""PyTorch modules as our parameter trees. The same maps carry gradients, whose shapes are those of the weights."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import torch

Get = Callable[[str], np.ndarray]  # name below the module to the value, in PyTorch's layout


def weights(module: torch.nn.Module) -> Get:
    return lambda name: module.get_parameter(name).detach().numpy()


def gradients(module: torch.nn.Module) -> Get:
    return lambda name: module.get_parameter(name).grad.numpy()


def below(get: Get, prefix: str) -> Get:
    return lambda name: get(prefix + name)


def draw_weights(module: torch.nn.Module, small: float = 1.0, seed: int = 0) -> None:
    """No special values, so that no term is left out; `small` makes the branches of a block small beside its input."""
    rng = np.random.default_rng(seed)
    for name, p in module.named_parameters():
        noise = rng.normal(size=tuple(p.shape))
        if "norm" in name.lower() or "ln_" in name or "lambda" in name:
            value = 0.2 * noise + ("bias" not in name)
        else:
            value = small * noise * (p.shape[-1] ** -0.5 if p.ndim > 1 else 0.2)
        p.data = torch.tensor(value, dtype=torch.float32)


def linear(get: Get, name: str) -> dict:
    return {"kernel": get(f"{name}.weight").T, "bias": get(f"{name}.bias")}


def norm(get: Get, name: str) -> dict:
    return {"scale": get(f"{name}.weight"), "bias": get(f"{name}.bias")}


def attention(get: Get, query: str, key: str, value: str, out: str) -> dict:
    names = {"query": query, "key": key, "value": value, "out": out}
    return {ours: linear(get, name) for ours, name in names.items()}


def split_attention(weight: np.ndarray, bias: np.ndarray, out: dict) -> dict:
    """`weight` is `[3 width, width]` in the order query, key, value."""
    parts = zip(("query", "key", "value"), np.split(weight, 3), np.split(bias, 3), strict=True)
    return {name: {"kernel": w.T, "bias": b} for name, w, b in parts} | {"out": out}


def mlp(get: Get, up: str, down: str) -> dict:
    return {"up": linear(get, up), "down": linear(get, down)}


def bert_layer(get: Get) -> dict:
    inner = "attention.self."
    return {
        "attention": attention(get, f"{inner}query", f"{inner}key", f"{inner}value", "attention.output.dense"),
        "norm_attention": norm(get, "attention.output.LayerNorm"),
        "mlp": mlp(get, "intermediate.dense", "output.dense"),
        "norm_mlp": norm(get, "output.LayerNorm"),
    }


def clip_layer(get: Get) -> dict:
    """Of CLIP, SigLIP and SigLIP 2, both towers."""
    inner = "self_attn."
    return {
        "attention": attention(get, *(f"{inner}{part}_proj" for part in ("q", "k", "v", "out"))),
        "norm_attention": norm(get, "layer_norm1"),
        "mlp": mlp(get, "mlp.fc1", "mlp.fc2"),
        "norm_mlp": norm(get, "layer_norm2"),
    }


def vit_layer(get: Get) -> dict:
    return {
        "attention": attention(get, *(f"attention.{part}_proj" for part in "qkvo")),
        "norm_attention": norm(get, "layernorm_before"),
        "mlp": mlp(get, "mlp.fc1", "mlp.fc2"),
        "norm_mlp": norm(get, "layernorm_after"),
    }


def dinov2_layer(get: Get, swiglu: bool = False) -> dict:
    feed = {"gate": linear(get, "mlp.gate_proj")} if swiglu else {}
    names = ("mlp.up_proj", "mlp.down_proj") if swiglu else ("mlp.fc1", "mlp.fc2")
    return {
        "attention": attention(get, *(f"attention.{part}_proj" for part in "qkvo")),
        "norm_attention": norm(get, "norm1"),
        "scale_attention": get("layer_scale1.lambda1"),
        "mlp": feed | mlp(get, *names),
        "norm_mlp": norm(get, "norm2"),
        "scale_mlp": get("layer_scale2.lambda1"),
    }


def gpt2_layer(get: Get) -> dict:
    """Its maps are `Conv1D`, whose weights lie the other way round."""
    as_is = lambda name: {"kernel": get(f"{name}.weight"), "bias": get(f"{name}.bias")}  # noqa: E731
    joint = as_is("attn.c_attn")
    return {
        "attention": split_attention(joint["kernel"].T, joint["bias"], as_is("attn.c_proj")),
        "norm_attention": norm(get, "ln_1"),
        "mlp": {"up": as_is("mlp.c_fc"), "down": as_is("mlp.c_proj")},
        "norm_mlp": norm(get, "ln_2"),
    }


def siglip_head(get: Get) -> dict:
    joint = get("attention.in_proj_weight"), get("attention.in_proj_bias")
    return {
        "probe": get("probe"),
        "attention": split_attention(*joint, linear(get, "attention.out_proj")),
        "norm": norm(get, "layernorm"),
        "mlp": mlp(get, "mlp.fc1", "mlp.fc2"),
    }


def squares(get: Get, name: str) -> dict:
    """A patch convolution `[width, 3, patch, patch]` as a map of squares in reading order, colours last."""
    weight = get(f"{name}.weight")
    return {"embed": {"kernel": weight.transpose(2, 3, 1, 0).reshape(-1, len(weight)), "bias": get(f"{name}.bias")}}


def difference(actual, expected) -> float:
    """Largest error of any leaf, relative to the leaf's largest value, or to 1e-2 of the tree's where that is more.

    The floor is for what is zero but for rounding: the gradient of a key's bias under softmax.
    """
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    pairs = list(zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True))
    assert all(a.shape == e.shape for a, e in pairs)
    floor = 1e-2 * max(np.abs(e).max() for _, e in pairs)
    return max(float(np.abs(np.float64(a) - np.float64(e)).max() / max(np.abs(e).max(), floor)) for a, e in pairs)


def backward(run: Callable, params: dict, seed: int = 1) -> tuple[jnp.ndarray, dict, np.ndarray]:
    """`run(params)`, the gradient of its products with noise, and the noise."""
    params = jax.tree.map(jnp.asarray, params)
    out, pull = jax.vjp(jax.jit(run), params)
    noise = np.float32(np.random.default_rng(seed).normal(size=out.shape))
    return out, pull(jnp.asarray(noise))[0], noise

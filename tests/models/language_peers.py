"""Small random language models of transformers, and their parameters as a `Decoder` has them."""

import functools

import jax.numpy as jnp
import pytest

from mmjax.models.decoder import Decoder
from tests.interop.torch_peers import mend_torchvision

VOCABULARY, LENGTH, WIDTH, DEPTH, HEADS, CONTEXT = 50, 64, 32, 2, 4, 24
SHARED = dict(vocabulary=VOCABULARY, length=LENGTH, width=WIDTH, depth=DEPTH, heads=HEADS)
ROTARY = SHARED | dict(positions="rotary", mlp_dim=48, norm="rms", epsilon=1e-6, qkv_bias=False, bias=False)
OPTIONS = {
    "gpt2": SHARED | dict(mlp_dim=4 * WIDTH),
    "gpt2 reading a context": SHARED | dict(mlp_dim=4 * WIDTH, cross=True),
    "llama": ROTARY | dict(kv_heads=2, tied=False, activation="swiglu"),
    "gemma": ROTARY | dict(kv_heads=1, head_dim=16, embed_scale=True, activation="geglu"),
}


@functools.cache
def peer(name):
    """The model of transformers, our decoder, and its parameters."""
    pytest.importorskip("torch", reason="parity with transformers: pip install 'mmjax[torch]'")
    mend_torchvision()
    import torch
    from transformers import GemmaConfig, GemmaForCausalLM, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    same = dict(vocab_size=VOCABULARY, hidden_size=WIDTH, num_hidden_layers=DEPTH, num_attention_heads=HEADS)
    same |= dict(intermediate_size=48, max_position_embeddings=LENGTH)
    if name.startswith("gpt2"):
        config = GPT2Config(
            vocab_size=VOCABULARY, n_positions=LENGTH, n_embd=WIDTH, n_layer=DEPTH, n_head=HEADS,
            add_cross_attention="context" in name,
        )  # fmt: skip
        theirs = GPT2LMHeadModel(config)
    elif name == "llama":
        theirs = LlamaForCausalLM(LlamaConfig(**same, num_key_value_heads=2, rms_norm_eps=1e-6))
    else:
        theirs = GemmaForCausalLM(GemmaConfig(**same, num_key_value_heads=1, head_dim=16))
    with torch.no_grad():
        for parameter in theirs.parameters():  # nothing may stay zero or one
            parameter.add_(0.05 * torch.randn_like(parameter))
    state = {key: jnp.asarray(value.numpy()) for key, value in theirs.state_dict().items()}
    params = _gpt2(state, "context" in name) if name.startswith("gpt2") else _llama(state, name == "gemma")
    return theirs.eval(), Decoder(**OPTIONS[name]), params


def _gpt2(state, cross):
    def norm(name):
        return {"scale": state[f"{name}.weight"], "bias": state[f"{name}.bias"]}

    def linear(name):  # `[in, out]` as ours
        return {"kernel": state[f"{name}.weight"], "bias": state[f"{name}.bias"]}

    def split(name, parts):
        kernels, biases = (jnp.split(state[f"{name}.{kind}"], len(parts), axis=-1) for kind in ("weight", "bias"))
        return {part: {"kernel": k, "bias": b} for part, k, b in zip(parts, kernels, biases, strict=True)}

    params = {
        "embedding": {"embedding": state["transformer.wte.weight"]},
        "position_table": state["transformer.wpe.weight"],
        "norm_after": norm("transformer.ln_f"),
    }
    for index in range(DEPTH):
        at = f"transformer.h.{index}"
        block = {
            "norm_attention": norm(f"{at}.ln_1"),
            "attention": split(f"{at}.attn.c_attn", ("query", "key", "value")) | {"out": linear(f"{at}.attn.c_proj")},
            "norm_mlp": norm(f"{at}.ln_2"),
            "mlp": {"up": linear(f"{at}.mlp.c_fc"), "down": linear(f"{at}.mlp.c_proj")},
        }
        if cross:
            block["norm_cross"] = norm(f"{at}.ln_cross_attn")
            block["cross"] = split(f"{at}.crossattention.c_attn", ("key", "value")) | {
                "query": linear(f"{at}.crossattention.q_attn"),
                "out": linear(f"{at}.crossattention.c_proj"),
            }
        params[f"blocks_{index}"] = block
    return params


def _llama(state, gemma):
    def norm(name):
        return {"scale": state[f"{name}.weight"] + (1.0 if gemma else 0.0)}  # Gemma stores what is above 1

    def linear(name):
        return {"kernel": state[f"{name}.weight"].T}

    params = {"embedding": {"embedding": state["model.embed_tokens.weight"]}, "norm_after": norm("model.norm")}
    parts = {"query": "q_proj", "key": "k_proj", "value": "v_proj", "out": "o_proj"}
    for index in range(DEPTH):
        at = f"model.layers.{index}"
        params[f"blocks_{index}"] = {
            "norm_attention": norm(f"{at}.input_layernorm"),
            "attention": {ours: linear(f"{at}.self_attn.{theirs}") for ours, theirs in parts.items()},
            "norm_mlp": norm(f"{at}.post_attention_layernorm"),
            "mlp": {part: linear(f"{at}.mlp.{part}_proj") for part in ("up", "gate", "down")},
        }
    return params if gemma else params | {"head": linear("lm_head")}

"""Each kind of block against the PyTorch module that published weights were made for: outputs and all gradients."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from mmjax.models.pooling import AttentionPool
from mmjax.models.transformer import Block, BlockOptions
from tests.interop.torch_peers import mend_torchvision
from tests.models import torch_weights
from tests.models.torch_weights import backward, difference, draw_weights, gradients, weights

mend_torchvision()

from transformers import BertConfig, CLIPTextConfig, Dinov2Config, GPT2Config, SiglipVisionConfig  # noqa: E402
from transformers.models.bert.modeling_bert import BertLayer  # noqa: E402
from transformers.models.clip.modeling_clip import CLIPEncoderLayer  # noqa: E402
from transformers.models.dinov2.modeling_dinov2 import Dinov2Layer  # noqa: E402
from transformers.models.gpt2.modeling_gpt2 import GPT2Block  # noqa: E402
from transformers.models.siglip.modeling_siglip import SiglipMultiheadAttentionPoolingHead  # noqa: E402

WIDTH, HEADS, HIDDEN, TOKENS = 16, 2, 24, 5
SIZE = {"hidden_size": WIDTH, "num_attention_heads": HEADS, "attn_implementation": "eager"}
MASK = np.array([[1] * TOKENS, [1, 1, 1, 0, 0], [1, 0, 0, 0, 0]], bool)


@dataclasses.dataclass(frozen=True)
class Case:
    """A PyTorch block, the options that make ours the same, and how its weights are named."""

    peer: Callable[[], torch.nn.Module]
    options: BlockOptions
    convert: Callable
    mask: np.ndarray | None = None


def options(hidden=HIDDEN, **rest):
    return BlockOptions(HEADS, hidden, **rest)


def dinov2(**rest):
    return Dinov2Layer(Dinov2Config(**SIZE, mlp_ratio=2, layerscale_value=0.5, **rest))


CASES = {
    "bert": Case(
        lambda: BertLayer(BertConfig(**SIZE, intermediate_size=HIDDEN)),
        options(norm_first=False, epsilon=1e-12),
        torch_weights.bert_layer,
        MASK,
    ),
    "clip": Case(
        lambda: CLIPEncoderLayer(CLIPTextConfig(**SIZE, intermediate_size=HIDDEN)),
        options(activation="quick_gelu", epsilon=1e-5, causal=True),
        torch_weights.clip_layer,
        MASK,
    ),
    "gpt2": Case(
        lambda: GPT2Block(
            GPT2Config(n_embd=WIDTH, n_head=HEADS, n_inner=HIDDEN, attn_implementation="eager"), layer_idx=0
        ),
        options(activation="gelu_tanh", epsilon=1e-5, causal=True),
        torch_weights.gpt2_layer,
    ),
    "dinov2": Case(dinov2, options(2 * WIDTH, layer_scale=0.5), torch_weights.dinov2_layer),
    "dinov2 swiglu": Case(
        lambda: dinov2(use_swiglu_ffn=True),
        options(24, activation="swiglu", layer_scale=0.5),  # 2/3 of 32, rounded up to a multiple of 8
        lambda get: torch_weights.dinov2_layer(get, swiglu=True),
    ),
}


def inputs(small):
    """Ordinary activations, or ones of variance 1e-4, which alone show an epsilon."""
    return np.float32(np.random.default_rng(2).normal(size=(len(MASK), TOKENS, WIDTH)) * small)


def additive(mask, causal):
    """What PyTorch adds to the logits `[b, 1, n, n]`; None where everything is read."""
    if mask is None and not causal:
        return None
    allowed = np.ones((1, TOKENS, TOKENS), bool) if mask is None else mask[:, None, :] & np.ones((TOKENS, 1), bool)
    allowed = np.tril(allowed) if causal else allowed
    return torch.tensor(np.where(allowed, 0, np.finfo(np.float32).min)[:, None], dtype=torch.float32)


def make(case, small):
    """The PyTorch block, its weights and an input `x` as our tree, and what runs it from such a tree."""
    peer, x = case.peer().eval(), inputs(small)
    draw_weights(peer, small)

    def run(p, mask=case.mask, **change):
        module = Block(dataclasses.replace(case.options, **change))
        p = dict(p)
        return module.apply({"params": p}, p.pop("x"), None if mask is None else jnp.asarray(mask))

    return peer, case.convert(weights(peer)) | {"x": jnp.asarray(x)}, run


def run_peer(case, peer, x):
    return peer(x, attention_mask=additive(case.mask, case.options.causal))


@pytest.mark.parametrize("small", [1.0, 1e-2])
@pytest.mark.parametrize("name", CASES)
def test_block_and_its_gradients_equal_pytorch(name, small):
    case = CASES[name]
    peer, params, run = make(case, small)
    out, grads, noise = backward(run, params)
    x = torch.tensor(inputs(small), requires_grad=True)
    expected = run_peer(case, peer, x)
    expected.backward(torch.tensor(noise))
    assert difference(out, expected.detach().numpy()) < 1e-5
    assert difference(grads, case.convert(gradients(peer)) | {"x": x.grad.numpy()}) < 1e-5


MUTANTS = [
    ("bert", 1.0, {"activation": "gelu_tanh"}),
    ("bert", 1e-2, {"epsilon": 1e-5}),
    ("bert", 1.0, {"norm_first": True}),
    ("bert", 1.0, {"mask": None}),
    ("clip", 1.0, {"activation": "gelu"}),
    ("clip", 1e-2, {"epsilon": 1e-6}),
    ("clip", 1.0, {"norm_first": False}),
    ("gpt2", 1.0, {"activation": "gelu"}),
    ("gpt2", 1e-2, {"epsilon": 1e-6}),
    ("gpt2", 1.0, {"causal": False}),
    ("dinov2", 1.0, {"activation": "gelu_tanh"}),
    ("dinov2", 1e-2, {"epsilon": 1e-5}),
    ("dinov2 swiglu", 1e-2, {"epsilon": 1e-5}),
]


@pytest.mark.parametrize(("name", "small", "change"), MUTANTS)
def test_another_option_is_told_apart(name, small, change):
    peer, params, run = make(CASES[name], small)
    expected = run_peer(CASES[name], peer, torch.tensor(inputs(small))).detach().numpy()
    assert difference(jax.jit(lambda p: run(p, **change))(params), expected) > 3e-5


@pytest.mark.parametrize("name", ["dinov2", "dinov2 swiglu"])
def test_layer_scale_and_the_gate_are_told_apart(name):
    peer, params, run = make(CASES[name], 1.0)
    expected = run_peer(CASES[name], peer, torch.tensor(inputs(1.0))).detach().numpy()
    assert difference(jax.jit(lambda p: run(p, layer_scale=None))(params), expected) > 1e-2
    if name == "dinov2 swiglu":
        feed = params["mlp"]
        swapped = params | {"mlp": feed | {"gate": feed["up"], "up": feed["gate"]}}
        assert difference(jax.jit(run)(swapped), expected) > 1e-2


POOL = options(activation="gelu_tanh")


def compare_pool(small, o=POOL):
    config = SiglipVisionConfig(hidden_size=WIDTH, num_attention_heads=HEADS, intermediate_size=HIDDEN)
    peer, x = SiglipMultiheadAttentionPoolingHead(config).eval(), inputs(small)
    draw_weights(peer, small)
    params = torch_weights.siglip_head(weights(peer))
    out, grads, noise = backward(lambda p: AttentionPool(o).apply({"params": p}, jnp.asarray(x)), params)
    expected = peer(torch.tensor(x))
    expected.backward(torch.tensor(noise))
    return difference(out, expected.detach().numpy()), difference(grads, torch_weights.siglip_head(gradients(peer)))


@pytest.mark.parametrize("small", [1.0, 1e-2])
def test_attention_pooling_equals_siglips(small):
    out, grads = compare_pool(small)
    assert out < 1e-5 and grads < 1e-5


@pytest.mark.parametrize(("small", "change"), [(1.0, {"activation": "gelu"}), (1e-2, {"epsilon": 1e-5})])
def test_another_attention_pooling_is_told_apart(small, change):
    assert compare_pool(small, dataclasses.replace(POOL, **change))[0] > 3e-5

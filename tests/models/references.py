"""The layers as plain float64 numpy, from the papers' formulas. Keywords make mutants of them."""

import math

import jax
import jax.numpy as jnp
import numpy as np

erf = np.vectorize(math.erf)

ACTIVATIONS = {
    "gelu": lambda x: x * 0.5 * (1 + erf(x / math.sqrt(2))),
    "gelu_tanh": lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "quick_gelu": lambda x: x / (1 + np.exp(-1.702 * x)),
    "relu": lambda x: np.maximum(x, 0),
    "silu": lambda x: x / (1 + np.exp(-x)),
}


def dense(p, x):
    return np.float64(x) @ np.float64(p["kernel"]) + np.float64(p.get("bias", 0.0))


def norm(p, x, epsilon=1e-6, kind="layer"):
    x = np.float64(x)
    if kind == "rms":
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + epsilon) * np.float64(p["scale"])
    centred = x - x.mean(-1, keepdims=True)
    spread = np.sqrt((centred**2).mean(-1, keepdims=True) + epsilon)
    return centred / spread * np.float64(p["scale"]) + np.float64(p["bias"])


def mlp(p, x, activation="gelu"):
    if gate := {"swiglu": "silu", "geglu": "gelu_tanh"}.get(activation):
        return dense(p["down"], ACTIVATIONS[gate](dense(p["gate"], x)) * dense(p["up"], x))
    return dense(p["down"], ACTIVATIONS[activation](dense(p["up"], x)))


def attend(query, key, value, mask=None, causal=False, scaled=True):
    """One query at a time: softmax over the keys it may read, or zeros."""
    out = np.zeros(query.shape)
    for b, i, h in np.ndindex(*query.shape[:3]):
        reads = np.ones(key.shape[1], bool) if mask is None else mask[b].copy()
        if causal:
            reads[i + 1 :] = False
        if reads.any():
            logits = key[b, reads, h] @ query[b, i, h] / (math.sqrt(query.shape[-1]) if scaled else 1.0)
            weights = np.exp(logits - logits.max())
            out[b, i, h] = (weights / weights.sum()) @ value[b, reads, h]
    return out


def attention(p, x, heads, mask=None, causal=False, context=None, qk_norm=False, scaled=True):
    context = x if context is None else context
    split = lambda name, y: dense(p[name], y).reshape(*y.shape[:2], heads, -1)  # noqa: E731
    query, key, value = split("query", x), split("key", context), split("value", context)
    if qk_norm:
        query, key = norm(p["query_norm"], query), norm(p["key_norm"], key)
    return dense(p["out"], attend(query, key, value, mask, causal, scaled).reshape(x.shape))


def block(p, x, heads, mask=None, causal=False, activation="gelu", epsilon=1e-6, order="pre", kind="layer"):
    """`order="post"` is BERT's: norm after the sum, where a pre-norm block has it before the branch."""
    x = np.float64(x)
    attend_to = lambda y: attention(p["attention"], y, heads, mask, causal)  # noqa: E731
    feed = lambda y: mlp(p["mlp"], y, activation)  # noqa: E731
    branches = ((p["norm_attention"], attend_to, "scale_attention"), (p["norm_mlp"], feed, "scale_mlp"))
    for p_norm, branch, scale in branches:
        factor = np.float64(p.get(scale, 1.0))
        if order == "pre":
            x = x + factor * branch(norm(p_norm, x, epsilon, kind))
        else:
            x = norm(p_norm, x + factor * branch(x), epsilon, kind)
    return x


def draw_params(module, *inputs, seed=0):
    """Parameters of the module's shapes and no special values, so that no term is left out of a comparison.

    Drawn here and not by `init`, which would have to be compiled.
    """
    rng = np.random.default_rng(seed)

    def draw(path, leaf):
        noise = rng.normal(size=leaf.shape) / max(leaf.shape[-2] if leaf.ndim > 1 else 25, 1) ** 0.5
        return jnp.float32(noise + (path[-1].key == "scale"))

    return jax.tree_util.tree_map_with_path(draw, jax.eval_shape(module.init, jax.random.key(0), *inputs)["params"])


def error(actual, expected):
    """Largest difference, relative to the largest expected value."""
    return np.abs(np.float64(actual) - expected).max() / np.abs(expected).max()


def list_operations(function, *inputs):
    """Every primitive operation of a function, those inside calls and loops too."""

    def walk(jaxpr):
        for equation in jaxpr.eqns:
            yield equation
            for value in equation.params.values():
                if hasattr(value, "jaxpr"):
                    yield from walk(value.jaxpr)

    return list(walk(jax.make_jaxpr(function)(*inputs).jaxpr))

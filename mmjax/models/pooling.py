"""From many tokens to one vector."""

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int

from mmjax.models.attention import Attention
from mmjax.models.mlp import Mlp
from mmjax.models.norms import Norm
from mmjax.models.transformer import BlockOptions


def masked_mean(tokens: Float[Array, "b n d"], mask: Bool[Array, "b n"] | None) -> Float[Array, "b d"]:
    """Mean over the tokens that are real; zeros for a row that has none."""
    if mask is None:
        return tokens.mean(axis=1)
    kept = jnp.where(mask[..., None], tokens, 0)
    return kept.sum(axis=1) / jnp.maximum(mask.sum(axis=1), 1)[:, None].astype(tokens.dtype)


def take_token(tokens: Float[Array, "b n d"], index: Int[Array, " b"]) -> Float[Array, "b d"]:
    """Row by row the token at `index`."""
    return jnp.take_along_axis(tokens, index[:, None, None], axis=1)[:, 0]


class AttentionPool(nn.Module):
    """A learned query reads all tokens, and an MLP follows: the "MAP head" of Lee et al. 2019, Zhai et al. 2022.

    As in SigLIP: y = attention(probe, tokens), then y + mlp(norm(y)); no residual around the attention.
    """

    options: BlockOptions

    @nn.compact
    def __call__(self, tokens: Float[Array, "b n d"], mask: Bool[Array, "b n"] | None = None) -> Float[Array, "b d"]:
        o, (rows, _, width) = self.options, tokens.shape
        probe = self.param("probe", nn.initializers.xavier_uniform(), (1, 1, width))
        query = jnp.broadcast_to(probe, (rows, 1, width)).astype(tokens.dtype)
        y = Attention(
            o.heads, qkv_bias=o.qkv_bias, bias=o.bias, implementation=o.attention, dtype=o.dtype, name="attention"
        )(query, tokens, mask)
        mlp = Mlp(o.mlp_dim, o.activation, o.bias, o.dtype, name="mlp")
        return (y + mlp(Norm(o.norm, o.epsilon, name="norm")(y)))[:, 0]

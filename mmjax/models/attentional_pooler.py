"""The attentional pooler of CoCa: as many vectors of a picture as there are learned queries."""

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float

from mmjax.models.attention import attend
from mmjax.models.layers import make_dense
from mmjax.models.norms import Norm, NormKind


class AttentionalPooler(nn.Module):
    """norm(attention(norm(queries), norm(tokens))), without residual or MLP (Yu et al. 2022, section 3.2; open_clip's).

    Attributes:
      queries: vectors that come out.
      heads: of the attention.
      width: of what comes out; the width divides by the heads.
    """

    queries: int
    heads: int
    width: int
    norm: NormKind = "layer"
    epsilon: float = 1e-6
    dtype: str = "float32"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.queries < 2 or self.width % self.heads:
            raise ValueError(
                f"a pooler has at least 2 queries, and heads that divide its width {self.width}; "
                f"got {self.queries} and {self.heads}"
            )

    @nn.compact
    def __call__(
        self, tokens: Float[Array, "b n e"], mask: Bool[Array, "b n"] | None = None
    ) -> Float[Array, "b queries d"]:
        """Float32 vectors; zeros through the last norm for a row whose tokens none is real."""
        table = self.param("queries", nn.initializers.normal(self.width**-0.5), (self.queries, self.width))
        probe = Norm(self.norm, self.epsilon, name="norm_queries")(jnp.asarray(table))
        probe = jnp.broadcast_to(probe, (len(tokens), *probe.shape))
        read = Norm(self.norm, self.epsilon, name="norm_tokens")(tokens)
        out = _Read(self.heads, self.width, self.dtype, name="attention")(probe, read, mask)
        return Norm(self.norm, self.epsilon, name="norm_after")(out)


class _Read(nn.Module):
    """Attention from vectors of one width to tokens of another, which `Attention` has no use for."""

    heads: int
    width: int
    dtype: str

    @nn.compact
    def __call__(
        self, x: Float[Array, "b q d"], context: Float[Array, "b n e"], mask: Bool[Array, "b n"] | None
    ) -> Float[Array, "b q d"]:
        def project(name: str, y: Float[Array, "b m f"]) -> Float[Array, "b m heads dim"]:
            return make_dense(self.width, self.dtype, name=name)(y).reshape(*y.shape[:2], self.heads, -1)

        out = attend(project("query", x), project("key", context), project("value", context), mask)
        return make_dense(self.width, self.dtype, name="out")(out.reshape(x.shape))

"""An image encoder whose tokens a causal decoder reads: what captions, answers and descriptions are written by."""

from collections.abc import Mapping

import jax
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int

from mmjax.batch import Stream
from mmjax.models.cache import Cache
from mmjax.models.connector import Connection, Connector, shown
from mmjax.models.decoder import Decoder


class Captioner(nn.Module):
    """Parameters are `towers_image/...`, `towers_text/...` and `connect/...`.

    Attributes:
      towers: {"image": an encoder, "text": a `Decoder`}.
      connection: what lies between the two.
    """

    towers: Mapping[str, nn.Module]
    connection: Connection = Connection()

    def setup(self) -> None:
        own = self.decoder
        self.connect = Connector(self.connection, own.width, own.heads, own.dtype)

    @property
    def decoder(self) -> Decoder:
        """The tower that writes."""
        decoder = self.towers["text"]
        assert isinstance(decoder, Decoder)
        return decoder

    def see(self, image: Stream, train: bool = False) -> dict[str, jax.Array]:
        """What the decoder reads of pictures, by the names of its arguments. Of an absent picture it reads nothing."""
        encoded = self.towers["image"](image, train)
        tokens, mask = self.connect(encoded.tokens, shown(image, encoded.tokens, encoded.mask))
        key = "context" if self.connection.reads == "cross" else "prefix"
        return {key: tokens, f"{key}_mask": mask}

    def __call__(
        self,
        image: Stream,
        ids: Int[Array, "b n"],
        mask: Bool[Array, "b n"],
        free: Bool[Array, "b n"] | None = None,
        train: bool = False,
    ) -> Float[Array, "b n d"]:
        """Vectors behind each token, of which `logits` says what comes next.

        Args:
          mask: which ids are real.
          free: which of them all others read, those before them too; None for none.
        """
        return self.decoder.hidden(ids, mask, free_ids=free, **self.see(image, train), train=train)

    def logits(self, x: Float[Array, "b n d"]) -> Float[Array, "b n v"]:
        """Of vectors that a call gave, float32."""
        return self.decoder.logits(x)

    def everything(self, image: Stream, ids: Int[Array, "b n"], mask: Bool[Array, "b n"]) -> Float[Array, "b n v"]:
        """All parameters at once, for initialising."""
        return self.logits(self(image, ids, mask))

    def prefill(
        self,
        image: Stream,
        ids: Int[Array, "b n"],
        mask: Bool[Array, "b n"],
        free: Bool[Array, "b n"] | None,
        slots: int,
    ) -> tuple[Float[Array, "b v"], Cache]:
        """Logits after the last real token of each row, and what `step` goes on from.

        Args:
          slots: of text, the prompt included; those of a prefix come on top.
        """
        seen = self.see(image)
        before = seen["prefix"].shape[1] if "prefix" in seen else 0
        return self.decoder.prefill(ids, mask, slots + before, free_ids=free, **seen)

    def step(self, ids: Int[Array, " b"], cache: Cache) -> tuple[Float[Array, "b v"], Cache]:
        """Logits after one more token of each row."""
        return self.decoder.step(ids, cache)

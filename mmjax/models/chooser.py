"""A picture and a question to scores of a list of answers."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from mmjax.batch import Stream
from mmjax.models.captioner import Captioner
from mmjax.models.layers import make_dense


class Chooser(Captioner):
    """A captioner that reads a question and writes nothing: the vector behind its last token goes through a linear map.

    Parameters are those of `Captioner` and `head/...`.

    Attributes:
      answers: how many there are.
    """

    answers: int = 0

    def setup(self) -> None:
        super().setup()
        self.head = make_dense(self.answers, "float32")

    def choose(
        self,
        image: Stream,
        ids: Int[Array, "b n"],
        mask: Bool[Array, "b n"],
        free: Bool[Array, "b n"] | None = None,
        train: bool = False,
    ) -> Float[Array, "b answers"]:
        """Logits of each answer, float32; arguments as of a call."""
        x = self(image, ids, mask, free, train)
        last = jnp.max(jnp.where(mask, jnp.arange(ids.shape[1]), 0), axis=1)
        return self.head(jnp.take_along_axis(x, last[:, None, None], axis=1)[:, 0])

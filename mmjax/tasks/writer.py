"""What tasks share that write a text about a picture."""

from typing import Any

import jax
from jaxtyping import Array, Float, Int

from mmjax.batch import Batch
from mmjax.decoding import Decoding, Generated, Prompt, Trie, decode
from mmjax.models.cache import Cache
from mmjax.tasks.base import Params


class Writer:
    """A task whose `read` takes in what stands before a text, and whose model has a `step`.

    Attributes:
      model: its tower "text" says which ids begin and end a text.
    """

    model: Any

    def read(self, params: Params, batch: Batch, length: int) -> Prompt:
        """What stands before a text, as far as `length` new tokens are written from."""
        raise NotImplementedError

    def generate(
        self,
        params: Params,
        batch: Batch,
        rng: jax.Array | None = None,
        *,
        decoding: Decoding,
        answers: Trie | None = None,
    ) -> Generated:
        """Predictor: writes a text for each row, which ends with the token that ends texts.

        Args:
          rng: of draws; None where the likeliest tokens are taken.
          decoding: how; static under jit.
          answers: nothing but one of them is written.
        """
        key = jax.random.key(0) if rng is None else rng
        prompt = self.read(params, batch, decoding.length)
        return decode(self.step(params), Cache.take, prompt, decoding, self.ends, self.pad, key, answers)

    def step(self, params: Params) -> jax.tree_util.Partial:
        """f(ids [b], cache) -> logits [b, v], cache: one more token of each row."""
        return jax.tree_util.Partial(self._step, params)

    def _step(self, params: Params, ids: Int[Array, " b"], cache: Cache) -> tuple[Float[Array, "b v"], Cache]:
        out: Any = self.model.apply({"params": params}, ids, cache, method="step")
        return out

    @property
    def begin(self) -> int | None:
        """The id that begins a text."""
        return self.model.towers["text"].begin

    @property
    def ends(self) -> tuple[int, ...]:
        """Ids that end a text."""
        eos = self.model.towers["text"].eos
        return () if eos is None else (eos,)

    @property
    def pad(self) -> int:
        """The id behind a text."""
        raise NotImplementedError

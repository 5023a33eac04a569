"""The alignment task: towers into one space, pulled together by a contrastive loss."""

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.core import FrozenDict
from jaxtyping import Array, Bool, Float, Int

from mmjax.batch import Batch
from mmjax.config import build
from mmjax.losses import LOSSES
from mmjax.models import ENCODERS
from mmjax.models.dual_encoder import DualEncoder, Projection, unit
from mmjax.tasks.base import Loss, Params

Features = Mapping[str, Array]
Names = Mapping[str, tuple[str, ...]]


@dataclasses.dataclass(frozen=True)
class Align:
    """Contrastive alignment of the streams that the towers encode.

    Attributes:
      model: module from a batch to {stream: L2-normalised features [b, d]} plus "scale" [] and maybe "bias" [].
      loss_fn: f(a, b, scale, bias, valid_a=, valid_b=, group_a=, group_b=) -> [], one of `LOSSES`.
      pairs: which streams are aligned, e.g. (("image", "caption"),); the loss is their mean.
      positives: further streams true of the same item, as more columns of a pair: {"caption": ("caption_2",)}.
      foils: streams true of no item, negatives for every row of a pair: {"caption": ("foil",)}.
      soft: share of each row's target that its captions' words spread over the batch, see `soft_target`; the second
        stream of every pair must then be token ids.
    """

    model: nn.Module
    loss_fn: Callable[..., Array]
    pairs: tuple[tuple[str, str], ...]
    positives: Names = FrozenDict()
    foils: Names = FrozenDict()
    soft: float = 0.0
    coupled: ClassVar[bool] = True  # every row is every other row's negative

    def __post_init__(self) -> None:
        if not 0 <= self.soft <= 1:
            raise ValueError(f"soft must lie in [0, 1], got {self.soft}")
        if self.soft and "target" not in inspect.signature(self.loss_fn).parameters:
            raise ValueError("soft needs a loss that takes a target, such as info_nce")

    @classmethod
    def from_config(
        cls,
        where: str,
        towers: Mapping[str, Any],
        streams: Mapping[str, str],
        pairs: tuple[tuple[str, str], ...],
        loss: Any = "info_nce",
        dim: int = 512,
        scale_init: float = 1 / 0.07,
        bias_init: float | None = None,
        positives: Mapping[str, tuple[str, ...]] = FrozenDict(),
        foils: Mapping[str, tuple[str, ...]] = FrozenDict(),
        soft: float = 0.0,
        project: Mapping[str, Projection] = FrozenDict(),
    ) -> "Align":
        """Builds the towers and the loss from their sections.

        Args:
          where: dotted key of the section, for messages.
          towers: {tower: encoder section}.
          streams: {stream: tower that encodes it}.
          pairs, positives, foils, soft: see the class.
          loss: a name of `LOSSES`, or a section with its options.
          dim: width of the shared space.
          scale_init, bias_init: first logit scale and bias (CLIP: 1/0.07, none; SigLIP: 10, -10).
          project: {tower: "linear", "bias" or "none"}, see `DualEncoder`.
        """
        named = {*sum(pairs, ()), *sum(positives.values(), ()), *sum(foils.values(), ())}
        for stream, tower in streams.items():
            if tower not in towers:
                raise ValueError(f"streams.{stream} names the tower {tower!r}; towers: {', '.join(towers)}")
        if missing := sorted(named - set(streams)):
            raise ValueError(f"no tower encodes the stream {missing[0]!r}; add it to {where}.streams")
        modules = {name: build(section, ENCODERS, f"{where}.towers.{name}") for name, section in towers.items()}
        # Frozen, so that the task hashes and a program compiled for it is found again.
        model = DualEncoder(
            FrozenDict(modules), FrozenDict(streams), dim, scale_init, bias_init, project=FrozenDict(project)
        )
        loss_fn = build(loss, LOSSES, f"{where}.loss")
        return cls(model, loss_fn, pairs, FrozenDict(positives), FrozenDict(foils), soft)

    def init(self, rng: jax.Array, batch: Batch) -> Params:
        return self.model.init(rng, batch)["params"]

    def encode(self, params: Params, batch: Batch, rng: jax.Array | None) -> Features:
        rngs = None if rng is None else {"dropout": rng}
        features: Any = self.model.apply({"params": params}, batch, train=rng is not None, rngs=rngs)
        return features

    def loss(self, params: Params, features: Features, batch: Batch, rng: jax.Array | None) -> Loss:
        del params, rng  # the scale came along with the features
        losses = {f"{a}-{b}": self._pair_loss(features, batch, a, b) for a, b in self.pairs}
        rows = batch.valid.sum().astype(jnp.float32)
        mean = sum(losses.values()) / len(losses)
        scalars = {name: features[name] for name in ("scale", "bias") if name in features}
        return Loss(rows * mean, rows, (losses if len(losses) > 1 else {}) | scalars)

    def embed(self, params: Params, batch: Batch, rng: jax.Array | None = None) -> Features:
        """Predictor: {stream: features [b, d]} of the streams that are present."""
        features = self.encode(params, batch, rng)
        return {name: features[name] for name in batch.streams if name in features}

    def _pair_loss(self, features: Features, batch: Batch, a: str, b: str) -> Float[Array, ""]:
        columns = (b, *self.positives.get(b, ()))
        foils = self.foils.get(b, ())
        rows_b = [_rows(features, batch, name) for name in (*columns, *foils)]
        group = jnp.asarray(batch.group)
        groups = [group] * len(columns) + [foil_groups(jnp.asarray(batch.index))] * len(foils)
        feature_a, valid_a = _rows(features, batch, a)
        valid_b, group_b = jnp.concatenate([valid for _, valid in rows_b]), jnp.concatenate(groups)
        options = {}
        if self.soft:
            words = jnp.stack([words_of(batch, name) for name in columns])
            blank = jnp.zeros((len(foils) * len(group), words.shape[-1]))  # a foil is no positive, whatever its words
            words_b = jnp.concatenate([*words, blank])
            positive = valid_a[:, None] & valid_b & (group[:, None] == group_b)
            options["target"] = soft_target(self.soft, positive, words.max(axis=0), words_b)
        return self.loss_fn(
            feature_a,
            jnp.concatenate([feature for feature, _ in rows_b]),
            features["scale"],
            features.get("bias"),
            valid_a=valid_a,
            valid_b=valid_b,
            group_a=group,
            group_b=group_b,
            **options,
        )


def _rows(features: Features, batch: Batch, name: str) -> tuple[Float[Array, "b d"], Bool[Array, " b"]]:
    """A stream's features and which of its rows count."""
    return features[name], jnp.asarray(batch.valid) & batch[name].present


def foil_groups(index: Int[Array, " b"]) -> Int[Array, " b"]:
    """Groups that equal no item's: the far end of int32, where neither labels nor the loader's own groups reach."""
    return jnp.iinfo(jnp.int32).min + index


def words_of(batch: Batch, name: str, buckets: int = 4096) -> Float[Array, "b k"]:
    """Which tokens each row holds, as 0 and 1; ids that are equal modulo `buckets` count as one.

    Raises:
      ValueError: the stream is not token ids.
    """
    stream = batch[name]
    if not jnp.issubdtype(stream.data.dtype, jnp.integer) or stream.data.ndim != 2:
        raise ValueError(f"task.soft compares token ids, and the stream {name!r} holds none")
    real = (jnp.asarray(batch.valid) & stream.present)[:, None]
    real = jnp.broadcast_to(real if stream.mask is None else real & stream.mask, stream.data.shape)
    row = lambda ids, real: jnp.zeros(buckets).at[ids % buckets].max(real)  # noqa: E731
    return jax.vmap(row)(jnp.asarray(stream.data), real.astype(jnp.float32))


def soft_target(
    soft: float, positive: Bool[Array, "n m"], words_a: Float[Array, "n k"], words_b: Float[Array, "m k"]
) -> Float[Array, "n m"]:
    """(1 - soft) spread evenly over a row's positives, plus soft spread by the likeness of words.

    Likeness is the square of the cosine between the rows' words, each weighted by log(rows / rows that hold it), so
    what every caption holds counts nothing. Rows and columns without a positive get none: they are no target.
    """
    told = words_b.any(axis=1).sum()
    weight = jnp.log(jnp.maximum(told, 1) / jnp.maximum(words_b.sum(axis=0), 1))
    a, b = unit(words_a * weight), unit(words_b * weight)
    wanted = positive.any(axis=1)[:, None] & positive.any(axis=0)
    alike = jnp.where(wanted, jnp.square(jnp.matmul(a, b.T, precision=jax.lax.Precision.HIGHEST)), 0.0)
    # A row whose words say nothing (all of them everywhere) keeps to its positives.
    alike = jnp.where(alike.any(axis=1)[:, None], alike, positive)
    shares = lambda x: x / jnp.maximum(x.sum(axis=1, keepdims=True), 1e-12)  # noqa: E731
    return (1 - soft) * shares(positive.astype(jnp.float32)) + soft * shares(alike)

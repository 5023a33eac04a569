"""Where a captioner looks for each word: the attention of its last block, from the token before the word to patches."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float

from mmjax.batch import Batch
from mmjax.errors import UserError
from mmjax.report.attention import last_weights, over_grid
from mmjax.tasks.sequence import shifted


def token_maps(task: Any, params: Any, batch: Batch, mesh: Mesh | None = None) -> Float[np.ndarray, "b m g g"]:
    """Weights over the patches of each picture for each learnt token of its text, as `Caption.encode` counts them.

    Each map sums to 1: what the token reads of the picture, as shares. Mean over heads.

    Args:
      mesh: of the parameters, where they are split; every device then gets all maps.

    Raises:
      UserError: the decoder reads no patches: a resampler stands between, or they are no square grid.
    """
    if not hasattr(task, "seen"):
        raise UserError(f"{type(task).__name__} does not tell where it looks for a word")
    if task.model.connection.connector == "resampler":
        raise UserError("the decoder reads what a resampler made of the picture, and no patches of it")
    everywhere = None if mesh is None else NamedSharding(mesh, PartitionSpec())
    return np.asarray(jax.jit(_maps, static_argnums=0, out_shardings=everywhere)(task, params, batch))


def _maps(task: Any, params: Any, batch: Batch) -> Float[Array, "b m g g"]:
    row, image = task.row(batch), task.seen(batch)
    _, state = task.model.apply({"params": params}, image, row.ids, row.mask, row.free, mutable=["intermediates"])
    weights = _of_decoder(state["intermediates"], task.model.connection.reads)
    patches = weights.shape[-1] - (row.ids.shape[1] if task.model.connection.reads == "prefix" else 0)
    own = weights[:, :, -row.ids.shape[1] :, :patches].mean(axis=1)
    places, _, _ = shifted(row)
    own = jnp.take_along_axis(own, places[..., None], axis=1)
    return over_grid(own)


def _of_decoder(intermediates: Mapping[str, Any], reads: str) -> Float[Array, "b heads n m"]:
    """What the last block of the decoder reads: of the context, or of the row with the picture before it."""
    flat = traverse_util.flatten_dict(dict(intermediates), sep="/")
    part = "cross" if reads == "cross" else "attention"
    own = {path: value for path, value in flat.items() if path.startswith("towers_text/") and f"/{part}/" in path}
    return last_weights(traverse_util.unflatten_dict(own, sep="/"))[0]


def word_map(pieces: Sequence[str], maps: Float[np.ndarray, "m g g"], word: str) -> Float[np.ndarray, "g g"]:
    """The mean map of the tokens that spell the first such word.

    Args:
      pieces: of the text, one for each map.

    Raises:
      UserError: the text has no such word.
    """
    text = "".join(pieces)
    edge = r"(?<!\w)", r"(?!\w)"
    bounds = edge if word.isascii() else ("", "")  # Chinese words stand without blanks between them
    found = re.search(re.escape(word).join(bounds), text, re.IGNORECASE) if word.strip() else None
    if found is None:
        raise UserError(f"no word {word!r} in the caption: {text}")
    start, stop = found.span()
    ends = np.cumsum([len(piece) for piece in pieces])
    chosen = [i for i, end in enumerate(ends) if end > start and end - len(pieces[i]) < stop]
    return maps[chosen].mean(axis=0)

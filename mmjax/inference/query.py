"""What is searched for: a text, a picture, or an item that is indexed already."""

import dataclasses
import os
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float

from mmjax.data.sources.table import IMAGE_SUFFIXES
from mmjax.errors import UserError
from mmjax.inference.finite import check_finite
from mmjax.inference.index import Index
from mmjax.inference.manifest import Manifest, fingerprint


@dataclasses.dataclass(frozen=True)
class Query:
    """Attributes:
    kind: "text", "image" (`value` is a path) or "id".
    value: without its prefix.
    """

    kind: str
    value: str


def parse(text: str) -> Query:
    """`id:NAME`, the path of a file, or any other text.

    Raises:
      UserError: it is empty, or looks like a path of a picture that is not there.
    """
    if not text.strip():
        raise UserError("the query is empty: give a text, a picture file or id:ID")
    if text.startswith("id:"):
        return Query("id", text.removeprefix("id:"))
    path = os.path.expanduser(text)
    if os.path.isfile(path):  # of a text that can be no path it says no
        return Query("image", path)
    if path.lower().endswith(IMAGE_SUFFIXES) and " " not in text:
        raise UserError(f"{text}: no such file")
    return Query("text", text)


def features(query: Query, index: Index, model: Callable[[], Any]) -> Float[np.ndarray, " d"]:
    """The query as a point of the index's space.

    Args:
      model: loads the model; not called for an id.

    Raises:
      UserError: the item is not there, the picture cannot be read, or the model embeds no such thing.
      RunError: what the model makes of it is not finite.
    """
    if query.kind == "id":
        return index.vector(query.value)
    found = model().embed(**{query.kind: [query.value]})
    check_finite(found, lambda row: repr(query.value[:200]))
    return found[0]


def load_for(manifest: Manifest, path: str | None) -> Any:
    """The model that made the embeddings, from `path` or from where it was.

    Raises:
      UserError: there is no model, or another one.
    """
    from mmjax import load

    try:
        model = load(path or manifest.model)
    except UserError as error:
        raise UserError(f"{error}" if path else f"{error}; say where the model is now with --model M") from None
    if fingerprint(model) != manifest.model_sha256:
        raise UserError(f"{path or manifest.model}: is not the model that made these embeddings, or it has changed")
    return model

"""Every item read and decoded: what is broken, and how large the good ones are."""

import dataclasses
from collections.abc import Iterator

from mmjax import progress
from mmjax.data.decode import decode
from mmjax.data.parallel import ordered
from mmjax.data.skips import item_id
from mmjax.data.sources import Source
from mmjax.errors import BadItem


@dataclasses.dataclass(frozen=True)
class Seen:
    """What one item turned out to be.

    Attributes:
      index, id: which one.
      reason: why it cannot be used; None if it can.
      width, height: of the upright picture; 0 if it is broken.
      characters: the length of each good caption.
      dropped: why captions were left out of an item that is good otherwise.
    """

    index: int
    id: str
    reason: str | None = None
    width: int = 0
    height: int = 0
    characters: tuple[int, ...] = ()
    dropped: tuple[str, ...] = ()

    @property
    def faults(self) -> tuple[str, ...]:
        return (self.reason,) if self.reason else self.dropped


def look(source: Source, index: int) -> Seen:
    """Reads and decodes one item."""
    try:
        example = source[index]
        height, width, _ = decode(example.streams["image"]).shape
        lengths = tuple(len(caption) for caption in example.streams.get("caption", ()))
        dropped = source.caption_faults(index) if hasattr(source, "caption_faults") else ()
        return Seen(index, example.id, None, width, height, lengths, dropped)
    except BadItem as error:
        return Seen(index, item_id(source, index), str(error))


def check(source: Source, workers: int | None = None, limit: int | None = None) -> Iterator[Seen]:
    """Looks at every item, or at the first `limit`, in order, with a progress bar."""
    indices = range(len(source))[:limit]
    with progress.bar("decoding", len(indices)) as advance:
        for seen in ordered(look, source, indices, workers):
            advance()
            yield seen

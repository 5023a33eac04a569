"""Questions about pictures: the question is read before the answer is written."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from flax.core import FrozenDict

from mmjax.tasks.caption import Caption


@dataclasses.dataclass(frozen=True)
class Answer(Caption):
    """As `Caption` with a prompt, by the names that data of questions has. Only the answer is learnt.

    Of several answers that people gave, each epoch draws one, so each counts as often as it was given (Antol et al.
    2015, whose soft scores this amounts to).
    """

    text: str = "answer"
    prompt: str | None = "question"

    @classmethod
    def from_config(
        cls,
        where: str,
        towers: Mapping[str, Any],
        streams: Mapping[str, str],
        connection: Mapping[str, Any] = FrozenDict(),
        image: str = "image",
        text: str = "answer",
        prompt: str | None = "question",
        free_prompt: bool = False,
        smoothing: float = 0.0,
        parallel: float = 0.0,
        blind: bool = False,
    ) -> Any:
        """See `Caption.from_config`; the signature is the schema, so it stands here with its own defaults."""
        return super().from_config(
            where, towers, streams, connection, image, text, prompt, free_prompt, smoothing, parallel, blind
        )

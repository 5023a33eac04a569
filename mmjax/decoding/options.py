"""How tokens are chosen."""

import dataclasses

from mmjax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Decoding:
    """Static under jit: every choice is a program of its own.

    Attributes:
      length: the most new tokens of a row, the one that ends it included.
      temperature: 0 takes the likeliest token; else logits are divided by it and one is drawn.
      top_k: draws among so many likeliest tokens; 0 among all.
      top_p: draws among the likeliest tokens whose probabilities sum to this (Holtzman et al. 2020).
      repetition_penalty: logits of tokens that the row holds, prompt included, are divided by it where positive and
        multiplied where negative (Keskar et al. 2019); 1 for none.
      beams: keeps so many of the likeliest continuations (temperature 0 alone); 1 keeps the best.
      length_penalty: beams are ranked by log-probability / tokens ** this: above 0 prefers long, below 0 short rows.
      no_repeat_ngram: no run of so many tokens comes twice, prompt included; 0 allows it.
    """

    length: int
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    no_repeat_ngram: int = 0
    beams: int = 1
    length_penalty: float = 1.0

    def __post_init__(self) -> None:
        wrong = {
            "length": self.length < 1,
            "temperature": self.temperature < 0,
            "top_k": self.top_k < 0,
            "top_p": not 0 < self.top_p <= 1,
            "repetition_penalty": self.repetition_penalty <= 0,
            "no_repeat_ngram": self.no_repeat_ngram < 0,
            "beams": self.beams < 1 or (self.beams > 1 and self.temperature > 0),
        }
        for name, bad in wrong.items():
            if bad:
                raise UserError(f"decoding.{name}={getattr(self, name)} is out of range")

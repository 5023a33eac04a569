"""A list of answers as a tree of tokens: what may follow what has been written, so that nothing else is."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Int

from mmjax.errors import UserError


@struct.dataclass
class Trie:
    """Nodes level by level, so that the children of each are neighbours; node 0 is where an answer begins.

    Memory grows with the tokens of the answers, not with the vocabulary.

    Attributes:
      tokens: what leads to each node.
      first: the first child of each node; its last one is before the first child of the next node.
      widest: the most children of a node.
      longest: tokens of the longest answer.
      largest: the largest id.
    """

    tokens: Int[Array, " n"]
    first: Int[Array, " n+1"]
    widest: int = struct.field(pytree_node=False)
    longest: int = struct.field(pytree_node=False)
    largest: int = struct.field(pytree_node=False)

    @classmethod
    def of(cls, sequences: Sequence[Sequence[int]], eos: Sequence[int]) -> "Trie":
        """Of answers as ids, without a beginning and with an end.

        Raises:
          UserError: no answers, one that comes twice, or one that does not end, or goes on behind its end.
        """
        answers = [tuple(int(token) for token in sequence) for sequence in sequences]
        _check(answers, frozenset(eos))
        tokens, first = [0], [1]
        level = [sorted(answers)]  # the answers that go through each node of this depth
        for depth in range(max(map(len, answers))):
            below: list[list[tuple[int, ...]]] = []
            for through in level:
                children: dict[int, list[tuple[int, ...]]] = {}
                for answer in through:
                    if len(answer) > depth:
                        children.setdefault(answer[depth], []).append(answer)
                tokens += children
                first.append(first[-1] + len(children))
                below += children.values()
            level = below
        first += [first[-1]] * len(level)
        return cls(
            jnp.asarray(tokens, jnp.int32),
            jnp.asarray(first, jnp.int32),
            int(np.diff(first).max()),
            max(map(len, answers)),
            max(tokens),
        )

    def allowed(self, node: Int[Array, " b"], vocabulary: int) -> Bool[Array, "b v"]:
        """Which tokens go on from a node; none do from the end of an answer."""
        tokens, there = self._children(node)
        rows = jnp.arange(len(node))[:, None]
        allowed = jnp.zeros((len(node), vocabulary), bool)
        return allowed.at[rows, jnp.where(there, tokens, vocabulary)].set(True, mode="drop")

    def next(self, node: Int[Array, " b"], token: Int[Array, " b"]) -> Int[Array, " b"]:
        """Where a token leads; one that is not allowed, to an end."""
        tokens, there = self._children(node)
        found = there & (tokens == token[:, None])
        child = self.first[node] + jnp.argmax(found, axis=1).astype(jnp.int32)
        return jnp.where(found.any(axis=1), child, len(self.tokens) - 1)

    def _children(self, node: Int[Array, " b"]) -> tuple[Int[Array, "b w"], Bool[Array, "b w"]]:
        """Tokens that lead to the children, as many as the widest node has, and which of them there are."""
        places = jnp.arange(self.widest)
        tokens = jnp.take(self.tokens, self.first[node][:, None] + places, mode="clip")
        return tokens, places < (self.first[node + 1] - self.first[node])[:, None]


def _check(answers: list[tuple[int, ...]], ends: frozenset[int]) -> None:
    if not answers:
        raise UserError("answers: the list is empty; give one answer at least")
    seen: dict[tuple[int, ...], int] = {}
    for place, answer in enumerate(answers):
        if not answer or answer[-1] not in ends or ends & set(answer[:-1]):
            raise UserError(
                f"answers: number {place} is {list(answer)}; one of {sorted(ends)} must end it, and no more"
            )
        if answer in seen:
            raise UserError(f"answers: numbers {seen[answer]} and {place} are the same, {list(answer)}; keep one")
        seen[answer] = place

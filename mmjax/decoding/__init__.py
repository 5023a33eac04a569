"""From logits to text: what may come next, which of it is taken, and when a row ends."""

from mmjax.decoding.options import Decoding
from mmjax.decoding.prompt import Generated, Prompt
from mmjax.decoding.search import decode
from mmjax.decoding.streaming import stream
from mmjax.decoding.trie import Trie

__all__ = ["Decoding", "Generated", "Prompt", "Trie", "decode", "stream"]

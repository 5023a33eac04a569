"""Streams: how a raw value of an example becomes arrays of fixed shape.

A stream is plain data. A bundle saves its section and builds it again, so a model carries its own preprocessing.
"""

from mmjax.data.streams.answers import AnswerStream
from mmjax.data.streams.base import Arrays, StreamTransform
from mmjax.data.streams.fit import fit_tokenizers
from mmjax.data.streams.image import ImageStream
from mmjax.data.streams.patches import PatchStream
from mmjax.data.streams.text import TextStream

__all__ = ["STREAMS", "Arrays", "ImageStream", "PatchStream", "StreamTransform", "TextStream", "fit_tokenizers"]

STREAMS: dict[str, type] = {"image": ImageStream, "patches": PatchStream, "text": TextStream, "answers": AnswerStream}

"""Plain Flax Linen modules. An encoder maps a `Stream` to an `Encoded`; a dual encoder puts encoders into one space."""

from mmjax.models.dual_encoder import DualEncoder
from mmjax.models.encoded import Encoded
from mmjax.models.encoders.image import ViT
from mmjax.models.encoders.text import TextTransformer

ENCODERS = {"vit": ViT, "text": TextTransformer}

__all__ = ["ENCODERS", "DualEncoder", "Encoded", "TextTransformer", "ViT"]

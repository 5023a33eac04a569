"""Plain Flax Linen modules: encoders map a `Stream` to an `Encoded`, decoders write; larger models hold both."""

from mmjax.models.decoder import Decoder
from mmjax.models.dual_encoder import DualEncoder
from mmjax.models.encoded import Encoded
from mmjax.models.encoders.image import ViT
from mmjax.models.encoders.text import TextTransformer

ENCODERS = {"vit": ViT, "text": TextTransformer}
DECODERS = {"decoder": Decoder}

__all__ = ["DECODERS", "ENCODERS", "Decoder", "DualEncoder", "Encoded", "TextTransformer", "ViT"]

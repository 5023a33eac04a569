"""The contrastive losses that run at any batch size: dense, by tiles, or with each device holding its rows alone."""

from mmjax.losses.contrastive.info_nce import info_nce
from mmjax.losses.contrastive.sigmoid import sigmoid

__all__ = ["info_nce", "sigmoid"]

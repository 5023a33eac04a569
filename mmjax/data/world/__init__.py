"""The embedded world: generated scenes with captions and exact truth, to learn and to test without any data."""

from mmjax.data.world.source import World

WORLDS = {"scenes": World}

"""The embedded world: generated scenes with captions, questions and exact truth, to learn and to test without data."""

from mmjax.data.world.questions import Questions
from mmjax.data.world.source import World

WORLDS = {"scenes": World, "questions": Questions}

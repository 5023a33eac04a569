"""What the scenes of a split are drawn from, and how many captions each gets: all but the seed."""

import dataclasses
from random import Random

from mmjax.data.world.scene import Scene, number_of_things, sample
from mmjax.data.world.splits import ALLOWED, HELD_OUT
from mmjax.data.world.telling import Telling, tell


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Draws scenes of one split and tells them. Hashable, so that an evaluation set is made once a recipe.

    Attributes:
      split: "train", "val" or "test".
      min_objects, max_objects: a number between them is the likelier the greater it is.
      captions: paraphrases a scene.
    """

    split: str
    min_objects: int
    max_objects: int
    captions: int

    def scene(self, random: Random) -> Scene:
        """A scene; in val and test it holds one of the split's own combinations."""
        count = number_of_things(random, self.min_objects, self.max_objects)
        return sample(random, count, ALLOWED[self.split], HELD_OUT[self.split] or ALLOWED[self.split])

    def tell(self, scene: Scene, random: Random) -> Telling:
        return tell(scene, random, self.split, self.captions)

"""A source that takes its time, for a process that is to be killed at work."""

import dataclasses
import time

from tests.data.toys import Toy


@dataclasses.dataclass(frozen=True)
class Slow(Toy):
    length: int = 400
    size: int = 32
    seconds: float = 0.004

    def __getitem__(self, index):
        time.sleep(self.seconds)
        return super().__getitem__(index)

"""A source from outside with an item that kills the process that reads it, as a crash in a decoder would."""

import os
import sys
import time

from tests.my_lab.sources import Shades


class Deadly(Shades):
    def __getitem__(self, index):
        if index == self.length - 1:
            os._exit(1)
        return super().__getitem__(index)


def linger(source, index):
    """Tells its process and never comes back."""
    print(os.getpid(), flush=True)
    time.sleep(3600)


if __name__ == "__main__":
    from mmjax.data.parallel import ordered
    from tests.data import deadly

    list(ordered(deadly.linger, Shades(), range(64), int(sys.argv[1])))

"""A process that `launch local` started does not outlive it, however that ends: Linux tells the child."""

import ctypes
import os
import signal
import sys

LAUNCHER = "MMJAX_LAUNCHER"  # variable of a launched process: the launcher's process id
PR_SET_PDEATHSIG = 1  # of prctl(2)


def stop_with_launcher() -> None:
    """From now on this process gets SIGTERM, at which a run saves and stops, when its launcher is gone.

    Exits at once if it is gone already. Does nothing but on Linux.
    """
    launcher = int(os.environ.pop(LAUNCHER))  # of this process alone, and not of those that it starts
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != launcher:
        sys.exit("mmjax: the launcher has ended")

"""The C allocator of a CPU run."""

import ctypes
import glob
import os
import sys

M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8  # of mallopt(3)
ACCELERATORS = ("/dev/nvidia[0-9]*", "/dev/accel*", "/dev/vfio/[0-9]*")


def keep_freed_memory() -> None:
    """Tells glibc to keep large freed blocks for the next step instead of giving them back to the system.

    XLA on the CPU allocates its scratch space anew at every step. By default each such block is mapped, zeroed page by
    page by the kernel and unmapped again, which took a quarter of the step in the quickstart. Peak memory stays the
    same. To be called before the first import of JAX: threads keep the arenas that they started with. Does nothing
    beside an accelerator, or where the C library is another one.
    """
    accelerator = os.environ.get("JAX_PLATFORMS") != "cpu" and any(map(glob.glob, ACCELERATORS))
    if accelerator or not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    mallopt(M_MMAP_MAX, 0)
    mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
    # One arena: only the main one can grow past 64 MiB without mapping.
    mallopt(M_ARENA_MAX, 1)

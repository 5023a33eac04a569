"""How a process that computes begins: the allocator and the compilation cache."""

import ctypes
import glob
import os
import sys

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # of mallopt(3)
HEAP = 64 << 20  # bytes: glibc's HEAP_MAX_SIZE, the largest piece of a thread's arena
ACCELERATORS = ("/dev/nvidia[0-9]*", "/dev/accel*", "/dev/vfio/[0-9]*")


def keep_freed_memory() -> None:
    """Tells glibc to keep large freed blocks for the next step instead of giving them back to the system.

    XLA on the CPU allocates its scratch space anew at every step. By default each such block is mapped, zeroed page by
    page by the kernel and unmapped again. Does nothing beside an accelerator, or where the C library is another one.
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
    # A thread's arena drops its empty pieces whatever the threshold, unless they are smaller than the padding. A single
    # arena for all threads would not drop any either, but threads that compile would wait at its lock.
    mallopt(M_TOP_PAD, HEAP)


def start_jax() -> None:
    """Allocator and persistent compilation cache."""
    keep_freed_memory()
    import jax

    cache = os.environ.get("JAX_COMPILATION_CACHE_DIR", os.path.expanduser("~/.cache/mmjax/xla"))
    jax.config.update("jax_compilation_cache_dir", cache)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)

"""How a process that computes begins: the allocator, the compilation cache, the other hosts."""

import ctypes
import glob
import os
import sys

M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8  # of mallopt(3)
ACCELERATORS = ("/dev/nvidia[0-9]*", "/dev/accel*", "/dev/vfio/[0-9]*")


def keep_freed_memory() -> None:
    """Tells glibc to keep large freed blocks for the next step instead of giving them back to the system.

    XLA on the CPU allocates its scratch space anew at every step. By default each such block is mapped, zeroed page by
    page by the kernel and unmapped again. To be called before the first import of JAX: threads keep the arenas that
    they started with. Does nothing beside an accelerator, or where the C library is another one.
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


def start_jax(distributed: bool) -> None:
    """Allocator, persistent compilation cache, and the other hosts where there are any."""
    keep_freed_memory()
    import jax

    cache = os.environ.get("JAX_COMPILATION_CACHE_DIR", os.path.expanduser("~/.cache/mmjax/xla"))
    jax.config.update("jax_compilation_cache_dir", cache)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    if distributed:
        join_hosts()


def join_hosts() -> None:
    """Connects to the other processes of the run."""
    import jax

    if os.environ.get("JAX_PLATFORMS") == "cpu":
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
    address = os.environ.get("JAX_COORDINATOR_ADDRESS")
    if address is None:
        jax.distributed.initialize()  # TPU pods, GKE and SLURM tell JAX themselves
    else:
        jax.distributed.initialize(address, int(os.environ["JAX_NUM_PROCESSES"]), int(os.environ["JAX_PROCESS_ID"]))

"""What every test runs under: eight fake CPU devices, and shapes that are checked at each call.

The environment must be set before the first `import jax`, so the imports come after it.
"""

import os
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[1]

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8".strip()
# Compiled programs outlive the test run: a second run of the suite compiles next to nothing.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(ROOT / ".cache" / "jax"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.3")

from flax import struct  # noqa: E402
from jaxtyping import install_import_hook  # noqa: E402


def _unchecked(make):
    """JAX rebuilds its pytrees around shardings, shapes and None, so their constructors cannot insist on arrays."""

    def dataclass(cls=None, **options):
        if cls is None:
            return lambda cls: dataclass(cls, **options)
        made = make(cls, **options)
        made.__no_type_check__ = True  # jaxtyping passes over such a class's __init__; its methods stay checked
        return made

    return dataclass


struct.dataclass = _unchecked(struct.dataclass)
install_import_hook("mmjax", "beartype.beartype")


# Files that take minutes: begun first, so that no process is left alone with one at the end.
LONG = ("test_docs.py", "training/", "planning/", "test_notebooks.py", "interop/", "launch/")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sorts whole files, and keeps the order within each."""
    root = ROOT / "tests"

    def rank(item: pytest.Item) -> int:
        name = item.path.relative_to(root).as_posix()
        return next((place for place, start in enumerate(LONG) if name.startswith(start)), len(LONG))

    items.sort(key=rank)


@pytest.fixture(scope="session")
def data_root() -> pathlib.Path:
    """The folder of real data sets, or a skip that says how to have it."""
    folder = os.environ.get("MMJAX_TEST_DATA")
    if not folder:
        pytest.skip("real data: set MMJAX_TEST_DATA to the folder that holds flickr8k_1k, fashion_mnist, ...")
    path = pathlib.Path(folder)
    if not path.is_dir():
        pytest.fail(f"MMJAX_TEST_DATA={folder} is no folder")
    return path

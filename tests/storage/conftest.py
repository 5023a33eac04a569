"""Buckets for the tests of this folder."""

import fsspec
import pytest
from etils.epath import backend

from tests.storage.stores import MemoryS3, google


@pytest.fixture
def s3(monkeypatch):
    """An empty bucket `s3://bucket`."""
    monkeypatch.setattr(MemoryS3, "store", {})
    monkeypatch.setattr(MemoryS3, "pseudo_dirs", [""])
    fsspec.register_implementation("s3", MemoryS3, clobber=True)
    backend.fsspec_backend._get_filesystem.cache_clear()
    yield "s3://bucket"
    backend.fsspec_backend._get_filesystem.cache_clear()


@pytest.fixture(scope="module")
def gs():
    """An empty bucket `gs://bucket`."""
    backend.fsspec_backend._get_filesystem.cache_clear()
    with google("bucket"):
        yield "gs://bucket"
    backend.fsspec_backend._get_filesystem.cache_clear()

"""Object stores without a cloud: one in the memory of this process, and a server that speaks as Google's does."""

import contextlib
import os

from fsspec.implementations.memory import MemoryFileSystem

from tests.distributed.ports import free_port


class MemoryS3(MemoryFileSystem):
    """s3:// in memory. As in the real one, nothing can be appended to."""

    protocol = "s3"
    store: dict = {}  # noqa: RUF012  # of the class: each instance sees the same, as of a real store
    pseudo_dirs = [""]  # noqa: RUF012

    @classmethod
    def _strip_protocol(cls, path):
        return "/" + str(path).removeprefix("s3://").strip("/")

    def _open(self, path, mode="rb", **options):
        assert "a" not in mode, "an object store cannot append"
        return super()._open(path, mode, **options)


@contextlib.contextmanager
def google(bucket):
    """A server of Google Cloud Storage with one bucket. Yields the variables by which clients find it."""
    from gcp_storage_emulator.server import create_server

    port = free_port()
    server = create_server("127.0.0.1", port, in_memory=True, default_bucket=bucket)
    address = f"http://127.0.0.1:{port}"
    variables = {"STORAGE_EMULATOR_HOST": address, "TENSORSTORE_GCS_HTTP_URL": address, "GOOGLE_CLOUD_PROJECT": "p"}
    server.start()
    before = {name: os.environ.get(name) for name in variables}
    os.environ |= variables
    try:
        yield variables
    finally:
        server.stop()
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})

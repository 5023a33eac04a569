"""Object stores without a cloud: one in the memory of this process, and a server that speaks as Google's does."""

import contextlib
import os
from unittest import mock

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


def tells_generations(download):
    """Lets the server name the generation of what it sends, as Google's does.

    Without it a client that reads an object anew cannot say which generation it goes on from: "Malformed
    StorageGeneration", on a machine that is slow enough to read anew.
    """

    from gcp_storage_emulator.handlers import objects

    def handler(request, response, storage, *args, **kwargs):
        with contextlib.suppress(objects.NotFound):  # which the download itself answers
            stored = storage.get_file_obj(request.params["bucket_name"], request.params["object_id"])
            response["x-goog-generation"] = stored["generation"]
        download(request, response, storage, *args, **kwargs)

    return handler


@contextlib.contextmanager
def google(bucket):
    """A server of Google Cloud Storage with one bucket. Yields the variables by which clients find it."""
    from gcp_storage_emulator.handlers import objects
    from gcp_storage_emulator.server import create_server

    port = free_port()
    server = create_server("127.0.0.1", port, in_memory=True, default_bucket=bucket)
    address = f"http://127.0.0.1:{port}"
    variables = {"STORAGE_EMULATOR_HOST": address, "TENSORSTORE_GCS_HTTP_URL": address, "GOOGLE_CLOUD_PROJECT": "p"}
    server.start()
    before = {name: os.environ.get(name) for name in variables}
    os.environ |= variables
    try:
        with mock.patch.object(objects, "download", tells_generations(objects.download)):
            yield variables
    finally:
        server.stop()
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})

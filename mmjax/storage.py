"""Places on object stores, gs:// and s3://, as paths; and a folder there of which the files are written here.

Reading goes through `place`. A run appends to its files, which no object store can do, and a bundle is made by
renaming: so both are written into a folder of this machine, a `Mirror`, and sent whole.
"""

import contextlib
import functools
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeAlias, Union

from mmjax.errors import UserError

if TYPE_CHECKING:
    from etils import epath

SCHEMES = ("gs://", "s3://")
NEEDS = {"gs://": "gcsfs", "s3://": "s3fs"}
CHECKPOINTS = "checkpoints"
CHUNK = 16 << 20  # bytes that a copy holds at once
Place: TypeAlias = Union[pathlib.Path, "epath.Path"]


def is_remote(path: object) -> bool:
    """Whether this names a place on an object store."""
    return str(path).startswith(SCHEMES)


def place(path: str | os.PathLike) -> Place:
    """A path, of this machine or of an object store, that can be read.

    Raises:
      UserError: the library for that store is not installed.
    """
    if not is_remote(path):
        return pathlib.Path(path).expanduser()
    from etils import epath

    found = epath.Path(path)
    with _reachable(str(path)):
        found.exists()  # the first access imports the library and looks for credentials
    return found


def filesystem(path: Place) -> Any:
    """The fsspec file system of a remote path, for what a path cannot do."""
    import fsspec

    return fsspec.core.url_to_fs(str(path))[0]


class Home:
    """Where files belong that are written into a folder of this machine: that folder itself.

    Attributes:
      folder: of this machine.
      remote: where its files belong.
    """

    def __init__(self, folder: pathlib.Path, remote: Place):
        self.folder, self.remote = folder, remote

    def pull(self) -> None:
        """Takes every file from there that is not here."""

    def push(self) -> None:
        """Sends every file that is new or has changed."""


class Mirror(Home):
    """A folder of this machine for one on an object store. It goes when this object does.

    Checkpoints are left where they are: Orbax itself reads and writes them there.
    """

    def __init__(self, remote: str):
        found = place(remote)
        self._keep = tempfile.TemporaryDirectory(prefix="mmjax_")
        super().__init__(pathlib.Path(self._keep.name), found)
        self._sent: dict[str, tuple[int, int]] = {}  # time and size of what is there as it is here

    def pull(self) -> None:
        for name in self._mirrored(self.remote):
            if not (self.folder / name).exists():
                copy(self.remote / name, self.folder / name)
                self._sent[name] = _stamp(self.folder / name)

    def push(self) -> None:
        for name in self._mirrored(self.folder):
            stamp = _stamp(self.folder / name)
            if self._sent.get(name) != stamp:
                copy(self.folder / name, self.remote / name)
                self._sent[name] = stamp

    def _mirrored(self, folder: Place) -> list[str]:
        return [name for name in names(folder) if not name.startswith(f"{CHECKPOINTS}/") and not name.endswith(".tmp")]


@contextlib.contextmanager
def opened(folder: str) -> Iterator[Home]:
    """A folder of this name to write into, made if need be; whatever happens, what was written is sent at the end."""
    if is_remote(folder):
        home: Home = Mirror(folder)
    else:
        here = pathlib.Path(folder)
        here.mkdir(parents=True, exist_ok=True)
        home = Home(here, here)
    home.pull()
    try:
        yield home
    finally:
        home.push()


def fetched(source: str | pathlib.Path) -> str | pathlib.Path:
    """What names a model, as it is; a remote bundle, or that of a remote run, as a folder of this machine.

    Raises:
      UserError: there is no bundle.
    """
    return _bundle(str(source)).folder if is_remote(source) else source


@functools.cache  # the mirrors live as long as the process
def _bundle(source: str) -> Mirror:
    remote = place(source)
    for folder in (remote, remote / "bundle"):
        if (folder / "bundle.json").exists():
            mirror = Mirror(str(folder))
            mirror.pull()
            return mirror
    raise UserError(f"{source}: no bundle here; expected bundle.json or bundle/bundle.json (has the run finished?)")


def names(folder: Place) -> list[str]:
    """All files below a folder, relative to it: those of a folder before those of its subfolders, each in order."""
    if is_remote(folder):
        store = filesystem(folder)  # one listing instead of a request for each folder
        root = store._strip_protocol(str(folder))
        found = [os.path.relpath(path, root) for path in store.find(str(folder))]
    else:
        found = [os.path.join(parent, file) for parent, _, files in os.walk(folder) for file in files]
        found = [os.path.relpath(path, folder) for path in found]
    return sorted(found, key=lambda name: (os.path.dirname(name).split(os.sep), name))


def copy(source: Place, target: Place) -> None:
    """Copies one file, from store to store if need be; its folder is made."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with source.open("rb") as incoming, target.open("wb") as outgoing:
        shutil.copyfileobj(incoming, outgoing, CHUNK)


def _stamp(file: Place) -> tuple[int, int]:
    stat = os.stat(file)
    return stat.st_mtime_ns, stat.st_size


@contextlib.contextmanager
def _reachable(path: str) -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        library = next(name for scheme, name in NEEDS.items() if path.startswith(scheme))
        raise UserError(f"{path}: needs {library}, pip install 'mmjax[cloud]' ({error})") from None
    except Exception as error:  # each library has errors of its own for a missing bucket or missing credentials
        raise UserError(f"{path}: cannot be reached: {type(error).__name__}: {error}") from None

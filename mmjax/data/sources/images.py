"""The pictures of data that names them: in a folder, or in tars that are read as they are."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from mmjax.data.sources.files import Handles, expand
from mmjax.data.sources.table import read_image
from mmjax.data.sources.tar_index import tar_index
from mmjax.errors import BadItem, UserError
from mmjax.storage import Place, place


class Images:
    """Pictures by name. It can be pickled; each process opens its own files.

    Args:
      path: a folder, or a tar, with `{000..099}` and stars if there are several.
      where: the config key it stands under, for messages.

    Raises:
      UserError: nothing is there.
    """

    def __init__(self, path: str, where: str):
        found = place(path)
        self._folder = found if found.is_dir() else None
        self._tars: list[Place] = []
        if self._folder is None:
            if ".tar" not in path or path.endswith((".gz", ".bz2", ".xz", ".zst")):
                raise UserError(f"{where}: {path}: no such folder, and no plain tar; say where the pictures lie")
            self._tars = expand(path)
        self._members: dict[str, tuple[int, int, int]] | None = None
        self._handles = Handles()

    def read(self, *names: str) -> bytes:
        """The encoded picture of the first of these names that is there. Raises BadItem."""
        if self._folder is not None:
            here = [name for name in names if (self._folder / name).is_file()]
            return read_image(self._folder, (here or names)[0])
        members = self._listed()
        for name in names:
            if found := members.get(folded(name)):
                tar, offset, size = found
                return self._bytes(self._tars[tar], name, offset, size)
        raise BadItem(f"no such file: {names[0]}")

    def _bytes(self, tar: Place, name: str, offset: int, size: int) -> bytes:
        try:
            data = self._handles.read(tar, offset, size)
        except OSError as error:
            raise BadItem(f"{tar.name}: {error.strerror or error}") from None
        if len(data) < size:
            raise BadItem(f"the tar is truncated within {name}: {len(data):,} of {size:,} bytes")
        return data

    def _listed(self) -> Mapping[str, tuple[int, int, int]]:
        """Name → (tar, offset, size), by the path within the tar, and by its last part where one path alone has it."""
        if self._members is None:
            paths = {path: (n, *span) for n, tar in enumerate(self._tars) for path, span in members(tar)}
            short = Counter(path.rpartition("/")[2] for path in paths)
            alone = {name: place for path, place in paths.items() if short[name := path.rpartition("/")[2]] == 1}
            self._members = alone | paths
        return self._members

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_members": None}


def members(tar: Place) -> list[tuple[str, tuple[int, int]]]:
    """(folded path, (offset, size)) of the members of a tar."""
    index = tar_index(tar)
    return [
        (f"{index.key(item)}.{extension}", span)
        for item in range(len(index))
        for extension, span in index.members(item).items()
    ]


def folded(path: str) -> str:
    """A path as the index of a tar has it: what comes after the first dot of its last part in lower case."""
    folder, slash, name = path.rpartition("/")
    stem, dot, extension = name.partition(".")
    return f"{folder}{slash}{stem}{dot}{extension.lower()}"


def beside(table: Place, names: Sequence[str]) -> str:
    """Where the pictures of a table lie if nobody says: in its folder, in `images` there, or in the tars there.

    Args:
      names: of some pictures.
    """
    folder = table.parent
    for place_ in (folder, folder / "images"):
        if any((place_ / name).is_file() for name in names):
            return str(place_)
    return str(folder / "*.tar") if any(folder.glob("*.tar")) else str(folder)

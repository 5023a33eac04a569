"""Checkpoint files as a mapping from name to tensor, each read when it is asked for and none kept."""

import contextlib
import dataclasses
import json
import pathlib
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence

import ml_dtypes
import numpy as np
from safetensors import SafetensorError, safe_open

from mmjax.errors import UserError

DTYPES: Mapping[str, np.dtype] = {
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "I64": np.dtype(np.int64),
    "I32": np.dtype(np.int32),
    "U8": np.dtype(np.uint8),
    "BOOL": np.dtype(np.bool_),
}
PICKLED = (".bin", ".pt", ".pth")
ARCHIVE = b"PK\x03\x04"  # what a zip file begins with


@dataclasses.dataclass(frozen=True)
class Stored:
    """A tensor in a file: its shape and type are known, its values are read by `read`."""

    shape: tuple[int, ...]
    dtype: str
    read: Callable[[], np.ndarray]


def open_files(files: Sequence[pathlib.Path]) -> dict[str, Stored]:
    """All tensors of one or several files, in the order of the files.

    Raises:
      UserError: a file that is missing, cut short, of no known kind, or unsafe to read; or a name that stands in two.
    """
    found: dict[str, Stored] = {}
    for file in files:
        if not file.is_file():
            raise UserError(f"{file}: missing; the checkpoint's index names it, so fetch it too")
        tensors = _safetensors(file) if file.suffix == ".safetensors" else _pickled(file)
        if twice := sorted(found.keys() & tensors.keys()):
            raise UserError(f"{file}: {twice[0]} stands in another file as well; give one copy of the weights")
        found |= tensors
    return found


def _safetensors(file: pathlib.Path) -> dict[str, Stored]:
    with _readable(file), safe_open(str(file), "np"):  # refuses what is cut short or overlaps
        pass
    # The library reads no bfloat16 into NumPy, so the values are taken at the offsets that the header gives.
    with file.open("rb") as stream:
        size = struct.unpack("<Q", stream.read(8))[0]
        header = json.loads(stream.read(size))
    header.pop("__metadata__", None)
    return {name: _at(file, 8 + size, entry) for name, entry in header.items()}


@contextlib.contextmanager
def _readable(file: pathlib.Path) -> Iterator[None]:
    try:
        yield
    except (SafetensorError, OSError) as error:
        raise UserError(f"{file}: not a whole safetensors file ({error}); fetch it again") from None


def _at(file: pathlib.Path, base: int, entry: Mapping) -> Stored:
    shape, (begin, end) = tuple(entry["shape"]), entry["data_offsets"]
    dtype = DTYPES.get(entry["dtype"])

    def read() -> np.ndarray:
        assert dtype is not None  # another type is refused before anything is read
        return np.fromfile(file, dtype, (end - begin) // dtype.itemsize, offset=base + begin).reshape(shape)

    return Stored(shape, entry["dtype"], read)


def _pickled(file: pathlib.Path) -> dict[str, Stored]:
    """A torch file, by torch's reader of plain tensors: nothing in it is run."""
    if file.suffix not in PICKLED:
        raise UserError(f"{file}: no checkpoint; known are .safetensors and {', '.join(PICKLED)}")
    try:
        import torch
    except ImportError:
        raise UserError(
            f"{file}: a file of this kind needs torch; pip install 'mmjax[torch]', or convert it to safetensors"
        ) from None
    with file.open("rb") as stream:
        archive = stream.read(len(ARCHIVE)) == ARCHIVE  # torch before 1.6 wrote none, and such a file cannot be mapped
    try:
        state = torch.load(file, map_location="cpu", weights_only=True, mmap=archive)
    except Exception as error:  # torch raises many kinds, and all of them mean: this is not a file of plain tensors
        reason = str(error).strip().splitlines()[0][:120]
        raise UserError(
            f"{file}: torch does not read it as plain tensors, and nothing else is run ({reason})"
        ) from None
    for key in ("state_dict", "model"):  # what trainers wrap around
        state = state.get(key, state) if isinstance(state, Mapping) else state
    if not isinstance(state, Mapping):
        raise UserError(f"{file}: holds a {type(state).__name__}, not tensors by name")
    return {
        name.removeprefix("module."): _torch(tensor.detach())
        for name, tensor in state.items()
        if isinstance(tensor, torch.Tensor)
    }


def _torch(tensor) -> Stored:
    names = {"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "int64": "I64", "int32": "I32"}
    kind = str(tensor.dtype).removeprefix("torch.")

    def read() -> np.ndarray:
        import torch

        if tensor.dtype == torch.bfloat16:  # NumPy has no such type of its own: the bits, under their name
            return tensor.contiguous().view(torch.int16).numpy().view(ml_dtypes.bfloat16)
        return np.array(tensor.numpy())

    return Stored(tuple(tensor.shape), names.get(kind, kind), read)

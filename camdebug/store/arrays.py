"""Arrays in one ``.npz`` file, read without trust: nothing but numbers, and no more of them than announced."""

from __future__ import annotations

import errno
import io
import math
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.lib import format as npy
from torch import Tensor

from camdebug.store.strict import RecordError

DTYPES = ("float16", "float32", "float64", "int64", "bool", "uint8", "int16")
MOST_BYTES = 1 << 29
"""Of the arrays of a file together, unpacked."""

_LONGEST_HEADER = 4096


def pack(arrays: Mapping[str, np.ndarray[Any, Any]], *, level: int = 6) -> bytes:
    """The bytes of an ``.npz``.

    Args:
        arrays: by name.
        level: of deflate, 1 to 9; 0 leaves them as they are.

    Raises:
        OSError: when they are larger than what is read back.
        TypeError: for an array of any but the known dtypes, which could not be read back.
    """
    unknown = [name for name, array in arrays.items() if str(array.dtype) not in DTYPES]
    if unknown:
        raise TypeError(f"{unknown[0]}: a record cannot hold an array of {arrays[unknown[0]].dtype}")
    if sum(array.nbytes for array in arrays.values()) > MOST_BYTES:
        raise OSError(errno.EFBIG, f"the maps of an epoch would take more than {MOST_BYTES} bytes")
    buffer = io.BytesIO()
    kind = zipfile.ZIP_DEFLATED if level else zipfile.ZIP_STORED
    with zipfile.ZipFile(buffer, "w", kind, compresslevel=level or None) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                npy.write_array(file, np.asarray(array, order="C"), version=(1, 0), allow_pickle=False)
    return buffer.getvalue()


def describe(arrays: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, Any]:
    """Dtype and shape of each, as JSON."""
    return {name: {"dtype": str(array.dtype), "shape": list(array.shape)} for name, array in arrays.items()}


def unpack(data: bytes, announced: object) -> dict[str, Tensor]:
    """The arrays that :func:`describe` announced.

    Raises:
        RecordError: when these are not what is there.
    """
    expected = _expected(announced)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if sorted(archive.namelist()) != sorted(f"{name}.npy" for name in expected):
                raise RecordError("holds other arrays than announced")
            return {name: _read(archive, f"{name}.npy", *found) for name, found in expected.items()}
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, NotImplementedError, RuntimeError) as error:
        if isinstance(error, RecordError):
            raise
        raise RecordError(f"is damaged ({type(error).__name__})") from None


def _expected(announced: object) -> dict[str, tuple[np.dtype[Any], tuple[int, ...]]]:
    if not isinstance(announced, dict):
        raise RecordError("announces no arrays")
    found, total = {}, 0
    for name, about in announced.items():
        dtype, shape = _dtype_and_shape(about)
        found[name] = dtype, shape
        total += math.prod(shape) * dtype.itemsize
    if total > MOST_BYTES:
        raise RecordError(f"announces more than {MOST_BYTES} bytes of arrays")
    return found


def _dtype_and_shape(about: object) -> tuple[np.dtype[Any], tuple[int, ...]]:
    dtype = about.get("dtype") if isinstance(about, dict) else None
    shape = about.get("shape") if isinstance(about, dict) else None
    if dtype not in DTYPES or not isinstance(shape, list) or len(shape) > 8:
        raise RecordError("announces an array of no known kind")
    if not all(type(side) is int and 0 <= side <= MOST_BYTES for side in shape):
        raise RecordError("announces an array of no possible shape")
    return np.dtype(dtype), tuple(shape)


def _read(archive: zipfile.ZipFile, member: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Tensor:
    size = math.prod(shape) * dtype.itemsize
    if archive.getinfo(member).file_size > size + _LONGEST_HEADER:
        raise RecordError("holds a larger array than announced")
    with archive.open(member) as file:
        if npy.read_magic(file) != (1, 0):
            raise RecordError("holds an array in a form of another time")
        if npy.read_array_header_1_0(file) != (shape, False, dtype):
            raise RecordError("holds an array of another kind or shape than announced")
        content = file.read(size + 1)  # to its end, where the checksum is compared
    if len(content) != size:
        raise RecordError("holds an array that is cut off")
    return torch.from_numpy(np.frombuffer(content, dtype).reshape(shape).copy())

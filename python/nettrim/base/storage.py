"""Paths, and files of arrays: written whole or not at all, read in bounds, never executed."""

from __future__ import annotations

import math
import os
import stat
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

__all__ = [
    "as_path",
    "check_place",
    "names_in_npz",
    "open_to_write",
    "read_npy",
    "read_npz",
    "write_atomically",
    "write_npz",
]

EXPANDED = 1 << 30  # bytes that any file may become in memory
RATIO = 250  # times its own length that a larger one may become: more is no set of weights
VERSIONS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def as_path(value: object, name: str) -> Path:
    """Return an argument as a path.

    Raises
    ------
    TypeError
        If it is neither text nor path-like. The message starts with ``name``.
    ValueError
        If it is empty, or holds a character that no path can have.
    """
    if not isinstance(value, (str, os.PathLike)):
        raise TypeError(f"{name} must be a path, got {type(value).__name__}")
    path = os.fspath(value)
    if not isinstance(path, str):
        raise TypeError(f"{name} must be a path of text, got {type(path).__name__}")
    if not path or "\0" in path:
        raise ValueError(f"{name} must be a path, got {path!r}")
    return Path(path)


def check_place(path: str | os.PathLike[str]) -> Path:
    """Return where a file to be written will be: the path itself, or what it links to.

    Raises
    ------
    FileNotFoundError
        If its folder is missing.
    ValueError
        If it is a folder, or something else than a file that can be replaced.
    """
    target = Path(os.path.realpath(path))
    name = os.fspath(path)
    if not target.parent.is_dir():
        raise FileNotFoundError(
            f"{name!r} cannot be written: there is no folder {str(target.parent)!r}"
        )
    if target.is_dir():
        raise ValueError(f"{name!r} must be a file to write, it is a folder")
    if target.exists() and not stat.S_ISREG(target.stat().st_mode):
        raise ValueError(f"{name!r} must be a file to write, it is a device, pipe or socket")
    return target


@contextmanager
def write_atomically(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Let a file be written beside its place, and move it there if that ended well.

    Files that it refers to may be written next to it, under its name and more; they are moved
    first. A link stays: the file it leads to is replaced.

    Raises
    ------
    FileNotFoundError, ValueError
        Like `check_place`.
    OSError
        If the system refuses it; the error names the file.
    """
    place = Path(path)
    target = check_place(place)
    with _named(place), TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as folder:
        yield Path(folder, place.name)
        written = sorted(Path(folder).iterdir(), reverse=True)
        targets = [check_place(place.with_name(file.name)) for file in written]
        for file, end in zip(written, targets, strict=True):
            with file.open("rb+") as stream:
                os.fsync(stream.fileno())
            file.replace(end)


@contextmanager
def open_to_write(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for a writer that hides errors of the system behind its own, like ``torch.save``.

    Raises
    ------
    OSError
        The error of the system itself.
    """
    with path.open("wb") as stream:
        try:
            yield stream
        except RuntimeError as error:
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise


@contextmanager
def _named(place: Path) -> Iterator[None]:
    """Let errors of the system name the file that was to be written, and no temporary one."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, os.strerror(error.errno), os.fspath(place)) from error


def write_npz(path: str | os.PathLike[str], arrays: Mapping[str, Any]) -> None:
    """Write an ``.npz`` file whole or not at all."""
    with write_atomically(path) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, **arrays)


def read_npz(
    path: str | os.PathLike[str], wanted: Callable[[str], object] = lambda name: True
) -> dict[str, NDArray[Any]]:
    """Read arrays of an ``.npz`` file; nothing in it is executed.

    A file of which more than 1 GiB would have to be read, and more than 250 times its own length,
    is refused before anything is unpacked.

    Parameters
    ----------
    path : str or path-like
    wanted : callable, optional
        Takes the name of an array and returns whether to read it; default all are.

    Returns
    -------
    dict of ndarray

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is not an ``.npz`` of plain arrays, or would become too large.
    """
    with open(path, "rb") as stream:
        try:
            if stream.read(6) == npy.MAGIC_PREFIX:
                raise ValueError("it holds a single array")
            with zipfile.ZipFile(stream) as archive:
                return _members(archive, wanted, _length(stream))
        except Exception as error:  # noqa: BLE001 (whatever a damaged file provokes)
            raise ValueError(
                f"{os.fspath(path)!r} is not an .npz file of arrays: {_error_line(error)}"
            ) from None


def names_in_npz(path: str | os.PathLike[str]) -> list[str]:
    """Return the names of all arrays of a file that `read_npz` could read."""
    with zipfile.ZipFile(path) as archive:
        return [name.removesuffix(".npy") for name in archive.namelist()]


def read_npy(path: str | os.PathLike[str], content: str) -> NDArray[Any]:
    """Read the array of an ``.npy`` file, and say what was to be in it; nothing in it is executed.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is not an ``.npy`` of plain numbers or text.
    """
    with open(path, "rb") as stream:
        try:
            if zipfile.is_zipfile(stream):
                raise ValueError(f"it holds several arrays; {content} come in an .npy file")
            return _array(stream, _length(stream))
        except Exception as error:  # noqa: BLE001 (whatever a damaged file provokes)
            raise ValueError(
                f"{os.fspath(path)!r} is not an .npy file: {_error_line(error)}"
            ) from None


def _members(
    archive: zipfile.ZipFile, wanted: Callable[[str], object], length: int
) -> dict[str, NDArray[Any]]:
    """Read some arrays of an archive that has so many bytes."""
    members: dict[str, zipfile.ZipInfo] = {}
    for member in archive.infolist():
        name = member.filename.removesuffix(".npy")
        if name in members:
            raise ValueError(f"it holds {name!r} twice")
        members[name] = member
    chosen = {name: member for name, member in members.items() if wanted(name)}
    size = sum(member.file_size for member in chosen.values())
    if size > max(EXPANDED, RATIO * length):
        raise ValueError(f"its {length:,} bytes would become {size:,}, more than any weights do")
    arrays = {}
    for name, member in chosen.items():
        with archive.open(member) as stream:
            arrays[name] = _array(stream, member.file_size)
            stream.read(1)  # behind the end: the check sum is looked at there
    return arrays


def _array(stream: IO[bytes], size: int) -> NDArray[Any]:
    """Read an array from a stream of so many bytes, if it can hold what its header says."""
    version = npy.read_magic(stream)
    if version not in VERSIONS:
        raise ValueError(f"its format has version {version}")
    shape, _, dtype = VERSIONS[version](stream)
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which are not read")
    declared, present = math.prod(shape) * dtype.itemsize, size - stream.tell()
    if min(shape, default=0) < 0 or declared > present:
        raise ValueError(
            f"its header tells of {declared:,} bytes, shape {shape}; it has {present:,}"
        )
    stream.seek(0)
    array: NDArray[Any] = npy.read_array(stream, allow_pickle=False)
    return array


def _length(stream: IO[bytes]) -> int:
    """Return the length of a file, which is then at its beginning."""
    length = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    return length


def _error_line(error: Exception) -> str:
    """Return what an error says, in one line."""
    return str(error).partition("\n")[0] or type(error).__name__


def refuse_changes(stored: Mapping[str, Any], wanted: Mapping[str, Any], path: Path) -> None:
    """Raise a ValueError that names what differs between a run's identity and the stored one."""
    changed = [
        key
        if len(str(wanted.get(key))) > 40
        else f"{key} ({stored.get(key)}, now {wanted.get(key)})"
        for key in {**wanted, **stored}
        if stored.get(key) != wanted.get(key)
    ]
    if changed:
        raise ValueError(
            f"checkpoint {str(path)!r} was made with a different {', '.join(changed)}; delete it "
            "or choose another place"
        )

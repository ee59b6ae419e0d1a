"""ONNX models in files, with their large tensors in the same file or beside it."""

from __future__ import annotations

import os
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx.external_data_helper import (
    load_external_data_for_tensor,
    set_external_data,
    uses_external_data,
)

from ....base.storage import write_atomically
from .graph import count_bytes, fill, tensors

__all__ = ["is_large", "read", "write"]

LIMIT = (1 << 31) - (1 << 24)  # bytes of tensors; with its nodes a model has to stay below 2 GB
SMALL = 1024  # bytes of a tensor that is kept with the nodes


def is_large(model: onnx.ModelProto) -> bool:
    """Tell whether a model is too large for one file, and for functions that take its bytes."""
    return count_bytes(tensors(model)) > LIMIT


def read(path: str | os.PathLike[str]) -> onnx.ModelProto:
    """Read a model from a file, and its external data from the folder of the file.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    onnx.ModelProto
        With all tensors in memory; `write` puts those that were external beside the file again.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file does not hold a valid model, or external data is missing, damaged or outside the
        folder; the message names the file.

    Examples
    --------
    >>> import tempfile
    >>> from onnx import parser
    >>> path = os.path.join(tempfile.mkdtemp(), "model.onnx")
    >>> write(parser.parse_model('''
    ...     <ir_version: 8, opset_import: ["": 17]>
    ...     net (float[N, 2] x) => (float[N, 2] y) { y = Relu(x) }
    ... '''), path)
    >>> read(path).graph.node[0].op_type
    'Relu'
    """
    name = os.fspath(path)
    length = os.stat(name).st_size
    if length >= 1 << 31:
        raise ValueError(
            f"{name!r} has {length:,} bytes, an ONNX file has less than 2 GB; larger models keep "
            "their tensors as external data"
        )
    content = Path(name).read_bytes()
    try:
        onnx.checker.check_model(name)  # by path: the external data is checked too
        model: onnx.ModelProto = onnx.ModelProto.FromString(content)
        for tensor in filter(uses_external_data, tensors(model)):
            _load(tensor, str(Path(name).parent))
    except (DecodeError, OSError, ValueError, onnx.checker.ValidationError) as error:
        raise ValueError(f"{name!r} does not hold a valid ONNX model: {error}") from None
    return model


def write(model: onnx.ModelProto, path: str | os.PathLike[str]) -> None:
    """Write a model to a file, whole or not at all.

    Tensors go into a second file, called like the first with ``.data`` behind, if the model is too
    large for one file or `read` found them outside. Each file is complete when it takes its place,
    the data before the model.

    Parameters
    ----------
    model : onnx.ModelProto
    path : str or path-like
        Taken as it is; no suffix is added.
    """
    if is_large(model) or any(tensor.external_data for tensor in tensors(model)):
        model = _outside(model, f"{Path(path).name}.data")
    with write_atomically(path) as temporary:
        onnx.save_model(model, temporary, format="protobuf")


def _load(tensor: onnx.TensorProto, folder: str) -> None:
    """Load external data, and leave the note of where it was, for `write`."""
    where = [(entry.key, entry.value) for entry in tensor.external_data]
    load_external_data_for_tensor(tensor, folder)
    del tensor.external_data[:]
    for key, value in where:
        tensor.external_data.add(key=key, value=value)
    onnx.checker.check_tensor(tensor)


def _outside(model: onnx.ModelProto, location: str) -> onnx.ModelProto:
    """Return a copy whose large initializers are to be saved under another name."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for tensor in tensors(copy):
        del tensor.external_data[:]
    for tensor in copy.graph.initializer:
        if count_bytes([tensor]) >= SMALL and tensor.data_type != onnx.TensorProto.STRING:
            if not tensor.HasField("raw_data"):
                fill(tensor, onnx.numpy_helper.to_array(tensor))
            set_external_data(tensor, location)
    return copy

"""ONNX models: what `nettrim.trim` needs to know of them, and their files."""

try:
    import onnx  # noqa: F401
except ImportError as error:
    raise ImportError(
        'onnx is missing, which reads ONNX models: pip install "nettrim[onnx]"'
    ) from error

from .files import read, write
from .model import OnnxView, view

__all__ = ["OnnxView", "read", "view", "write"]

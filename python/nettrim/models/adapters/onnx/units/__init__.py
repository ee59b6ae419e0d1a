"""Units of an ONNX model: followed through the nodes of its graph, and cut out of it."""

from .cut import keep_units
from .trial import Trial
from .walk import follow_units, list_bounds

__all__ = ["Trial", "follow_units", "keep_units", "list_bounds"]

"""Sparse networks by convex optimisation, every answer with its proof."""

from ._dispatch import build_info
from .errors import ConvergenceWarning, InfeasibleError
from .layer import solve_layer
from .network import Dense, Network
from .report import LayerReport, TrimResult
from .solution import LayerProgress, LayerSolution
from .trace import LayerTrace, trace
from .trim import trim

__version__ = "0.1.0"

__all__ = [
    "ConvergenceWarning",
    "Dense",
    "InfeasibleError",
    "LayerProgress",
    "LayerReport",
    "LayerSolution",
    "LayerTrace",
    "Network",
    "TrimResult",
    "build_info",
    "solve_layer",
    "trace",
    "trim",
]

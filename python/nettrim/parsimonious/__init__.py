"""Parsimonious learning: networks that shed their own units while they train (PyTorch)."""

try:
    import torch as _torch  # noqa: F401
except ImportError as error:
    raise ImportError("nettrim.parsimonious needs PyTorch: pip install nettrim[torch]") from error

from .certificate import Certificate, leave_one_out
from .cost import ComplexityCost
from .gates import CollapseWarning, UnitGates
from .history import Epoch
from .prior import best_prior, flattening_log_prior, flattening_profile, gate_divergence
from .result import ParsimoniousResult
from .trainer import ParsimoniousTrainer

__all__ = [
    "Certificate",
    "CollapseWarning",
    "ComplexityCost",
    "Epoch",
    "ParsimoniousResult",
    "ParsimoniousTrainer",
    "UnitGates",
    "best_prior",
    "flattening_log_prior",
    "flattening_profile",
    "gate_divergence",
    "leave_one_out",
]

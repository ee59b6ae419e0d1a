"""BranchHull: two signals from their entrywise product, the signs of one of them being known."""

from .image import separate_image
from .recovery import is_recoverable, recovery_odds
from .separation import ImageSeparation
from .signs import SignCheck, check_signs
from .solution import HullProgress, HullSolution
from .solve import branch_hull

__all__ = [
    "HullProgress",
    "HullSolution",
    "ImageSeparation",
    "SignCheck",
    "branch_hull",
    "check_signs",
    "is_recoverable",
    "recovery_odds",
    "separate_image",
]

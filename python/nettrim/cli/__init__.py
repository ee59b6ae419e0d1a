"""The command line: ``nettrim demo``, ``trim``, ``inspect``, ``branch-hull``."""

from .commands import main

__all__ = ["main"]

"""Modules of PyTorch."""

from .model import TorchView, view

__all__ = ["TorchView", "view"]

"""Networks of NumPy arrays, and the kinds of layers they are made of."""

from .convolution import Conv1D, Conv2D
from .dense import Dense
from .layer import Layer, PrunableLayer
from .network import Network
from .residual import Residual
from .steps import AveragePool, BatchNorm, Flatten, GlobalAveragePool, MaxPool, ReLU

__all__ = [
    "AveragePool",
    "BatchNorm",
    "Conv1D",
    "Conv2D",
    "Dense",
    "Flatten",
    "GlobalAveragePool",
    "Layer",
    "MaxPool",
    "Network",
    "PrunableLayer",
    "ReLU",
    "Residual",
]

"""Libraries of models that the tests borrow architectures from."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import pytest


def import_torchvision() -> Any:
    """Import torchvision, or skip the test.

    Its wheel on PyPI is built for PyTorch with CUDA: beside one without, its own operators do not
    load, and it cannot be imported unless they are declared. Architectures do not use them.
    """
    torch = pytest.importorskip("torch")
    try:
        return pytest.importorskip("torchvision")
    except RuntimeError:
        signature = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        for name in ("nms", "qnms"):
            torch.library.define(f"torchvision::{name}", signature)
    return pytest.importorskip("torchvision")


def import_transformers() -> Any:
    """Import transformers, which imports torchvision where that is; or skip the test."""
    if find_spec("torchvision"):
        import_torchvision()
    return pytest.importorskip("transformers")


def import_timm() -> Any:
    """Import timm, which imports torchvision; or skip the test."""
    import_torchvision()
    return pytest.importorskip("timm")

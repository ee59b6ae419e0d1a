"""Settings of all tests of adapters."""

from __future__ import annotations

import sys

import pytest


@pytest.fixture(autouse=True)
def seeded() -> None:
    """PyTorch draws the same numbers in every run, where it is used."""
    if torch := sys.modules.get("torch"):
        torch.manual_seed(20171204)

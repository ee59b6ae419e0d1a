"""Settings shared by all tests: no randomness that another run would not repeat."""

from __future__ import annotations

import os

# Threads that wait by spinning starve each other where processors are shared, and small products on
# two of them take ten times as long. Both are read when a library is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
if "PYTEST_XDIST_WORKER" in os.environ:  # processors are shared out among the workers already
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
from hypothesis import Phase, settings

# A failing example is shown as found: every step of shrinking it would solve a program. For a
# smaller one, run that test with --hypothesis-profile=default.
settings.register_profile(
    "nettrim",
    deadline=None,
    derandomize=True,
    database=None,
    phases=(Phase.explicit, Phase.generate),
)
settings.load_profile("nettrim")

pytest.register_assert_rewrite("support")  # so that a failed check says what it compared


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20171204)

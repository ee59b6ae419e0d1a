"""A trimmed network for the tests of what is made of results."""

from __future__ import annotations

import numpy as np
import pytest

from nettrim import Network, TrimResult
from support.networks import random_network, trim


@pytest.fixture(scope="module")
def result() -> TrimResult[Network]:
    rng = np.random.default_rng(5)
    network = random_network(rng, 40, 60, 30, 5, dtype=np.float32)
    return trim(network, rng.standard_normal((400, 40)), epsilon=0.4)

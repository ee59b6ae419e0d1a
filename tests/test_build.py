"""The build: which core is chosen, what it says about itself, what importing it costs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import resources
from typing import Any

import numpy as np
import pytest

import nettrim
from nettrim import _dispatch

SOLVE = """
import json, sys
import numpy as np
import nettrim
rng = np.random.default_rng(0)
X = rng.standard_normal((60, 12))
Y = np.maximum(X @ rng.standard_normal((12, 5)), 0.0)
s = nettrim.solve_layer(X, Y, epsilon=0.1 * np.linalg.norm(Y), tol=1e-9)
json.dump({"isa": nettrim.build_info()["isa"], "status": s.status, "objective": s.objective,
           "weights": s.weights.tolist()}, sys.stdout)
"""


def run(code: str, isa: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k != "NETTRIM_ISA"}
    if isa is not None:
        environment["NETTRIM_ISA"] = isa
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )


def solve(isa: str | None = None) -> dict[str, Any]:
    process = run(SOLVE, isa)
    assert process.returncode == 0, process.stderr
    answer: dict[str, Any] = json.loads(process.stdout)
    return answer


@pytest.fixture(scope="module")
def baseline() -> dict[str, Any]:
    return solve("baseline")


@pytest.mark.parametrize("isa", _dispatch.usable)
def test_every_variant_gives_the_same_solution(isa: str, baseline: dict[str, Any]) -> None:
    answer = solve(isa)
    assert answer["isa"] == isa
    assert answer["status"] == "optimal"
    assert answer["objective"] == pytest.approx(baseline["objective"], rel=1e-6)
    np.testing.assert_allclose(answer["weights"], baseline["weights"], rtol=0, atol=1e-6)


def test_best_variant_is_chosen_unless_one_is_forced() -> None:
    report = "import nettrim; print(nettrim.build_info()['isa'])"
    assert run(report).stdout.strip() == _dispatch.usable[0]
    assert run(report, "").stdout.strip() == _dispatch.usable[0]
    assert run(report, "baseline").stdout.strip() == "baseline"


def test_unknown_variant_is_refused_with_the_choices() -> None:
    process = run("import nettrim", "sse9")
    assert process.returncode != 0
    assert "ImportError" in process.stderr
    for word in ["NETTRIM_ISA", "'sse9'", *_dispatch.usable]:
        assert word in process.stderr


def test_build_info_tells_how_the_core_was_built() -> None:
    info = nettrim.build_info()
    assert info["version"] == nettrim.__version__
    assert info["isa"] == _dispatch.isa
    assert info["usable"] == _dispatch.usable
    assert isinstance(info["openmp"], int)
    for field in ["compiler", "flags", "eigen"]:
        assert info[field]
        assert isinstance(info[field], str)
    assert "fast-math" not in str(info["flags"])


def test_package_is_typed() -> None:
    assert resources.files("nettrim").joinpath("py.typed").is_file()


def test_import_leaves_the_heavy_and_the_optional_alone() -> None:
    process = run("import sys, nettrim; print(*sys.modules)")
    assert process.returncode == 0, process.stderr
    loaded = set(process.stdout.split())
    assert "nettrim" in loaded
    assert not loaded & {"rich", "matplotlib", "torch", "sklearn", "cvxpy"}

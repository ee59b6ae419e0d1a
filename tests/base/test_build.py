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
from nettrim.base import dispatch

SOLVE = """
import json, sys
import nettrim
from support.problems import six_neurons, wide_and_dead, random_program
programs = [six_neurons().at(0.1), six_neurons("linear").at(0.1), six_neurons().penalised(1.0),
            wide_and_dead().at(0.1), random_program(2, "negative").at(0.2),
            random_program(0, "above").penalised(0.5)]
answers = {}
for solver in ("newton", "admm"):
    for k, program in enumerate(programs):
        s = program.solve(solver=solver, tol=1e-9, max_iter=500_000)
        answers[f"{solver} {k}"] = [s.status, s.solver, s.objective, s.weights.tolist()]
json.dump({"isa": nettrim.build_info()["isa"], "answers": answers}, sys.stdout)
"""


def run(code: str, isa: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k != "NETTRIM_ISA"}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
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
def plainest() -> dict[str, Any]:
    return solve(dispatch.usable[-1])


@pytest.mark.parametrize("isa", dispatch.usable)
def test_every_variant_gives_the_same_solutions(isa: str, plainest: dict[str, Any]) -> None:
    """Both engines, both forms, ReLU and linear."""
    found = solve(isa)
    assert found["isa"] == isa
    for name, (status, solver, objective, weights) in found["answers"].items():
        _, _, same_objective, same_weights = plainest["answers"][name]
        assert (status, solver) == ("optimal", name.split()[0])
        assert objective == pytest.approx(same_objective, rel=2e-9)
        np.testing.assert_allclose(weights, same_weights, rtol=0, atol=1e-6)


def test_best_variant_is_chosen_unless_one_is_forced() -> None:
    report = "import nettrim; print(nettrim.build_info()['isa'])"
    assert run(report).stdout.strip() == dispatch.usable[0]
    assert run(report, "").stdout.strip() == dispatch.usable[0]
    for isa in dispatch.usable:
        assert run(report, isa).stdout.strip() == isa


def test_unknown_variant_is_refused_with_the_choices() -> None:
    process = run("import nettrim", "sse9")
    assert process.returncode != 0
    assert "ImportError" in process.stderr
    for word in ["NETTRIM_ISA", "'sse9'", *dispatch.usable]:
        assert word in process.stderr


def with_cores_only_for(*kept: str) -> str:
    """Code that imports nettrim as if it had been built for these instruction sets."""
    return f"""
import importlib.util
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, package: (
    None if name.startswith(".._core_") and name[8:] not in {kept} else find(name, package)
)
import nettrim
print(nettrim.build_info())
"""


def test_variant_that_was_not_built_is_refused_with_the_way_to_build_it() -> None:
    best, *others = dispatch.runnable
    if not others:
        pytest.skip("this machine runs one instruction set")
    process = run(with_cores_only_for(best), others[0])
    assert process.returncode != 0
    for word in ["ImportError", "NETTRIM_ISA", f"'{others[0]}'", best, "NETTRIM_ISA_SETS=all"]:
        assert word in process.stderr


def test_build_for_another_machine_is_refused_with_a_reason() -> None:
    process = run(with_cores_only_for())
    assert process.returncode != 0
    for word in ["ImportError", "built for", *dispatch.runnable, "NETTRIM_ISA_SETS=all"]:
        assert word in process.stderr


def test_build_info_tells_how_the_core_was_built() -> None:
    info = nettrim.build_info()
    assert info["version"] == nettrim.__version__
    assert info["isa"] == dispatch.isa
    assert info["usable"] == dispatch.usable
    assert info["built"] == dispatch.built
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
    assert not loaded & {"rich", "matplotlib", "torch", "sklearn", "onnx", "onnxruntime", "cvxpy"}


def test_import_leaves_the_parts_of_scipy_to_their_first_use() -> None:
    """``import scipy`` and ``scipy.optimize.linprog(...)``: importing the parts takes a second."""
    process = run("import sys, nettrim; print(*sys.modules)")
    parts = {name.split(".")[1] for name in process.stdout.split() if name.startswith("scipy.")}
    assert "version" in parts
    assert {part for part in parts if not part.startswith("_")} == {"version"}

"""The examples run as they are; the one that needs scikit-image runs where that is installed."""

from __future__ import annotations

import importlib.util
import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
SAYS = {
    "gain_calibration": "largest error of a gain: ",
    "sweep_distortion": "at [9, 22, 31, 47, 52, 66], in truth at [9, 22, 31, 47, 52, 66]",
}


@pytest.fixture
def run(tmp_path, monkeypatch, capsys) -> Callable[[str], str]:
    """Run an example as a script, in this process, which has loaded what it needs already."""

    def run(name: str) -> str:
        picture = tmp_path / f"{name}.png"
        monkeypatch.setattr(sys, "argv", [f"{name}.py", str(picture)])
        runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
        assert picture.stat().st_size > 10_000
        return capsys.readouterr().out

    return run


@pytest.mark.parametrize("name", sorted(SAYS))
def test_example(name, run) -> None:
    said = run(name)
    assert "optimal" in said
    assert SAYS[name] in said


@pytest.mark.slow
def test_parsimonious_digits(run) -> None:
    pytest.importorskip("torch")
    said = run("parsimonious_digits")
    assert "units are worth their cost" in said
    assert "and then trimmed: " in said


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("skimage") is None, reason="needs scikit-image")
def test_page(run) -> None:
    assert run("page_illumination").count("optimal") == 2

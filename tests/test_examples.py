"""The examples run as they are; the one that needs scikit-image runs where that is installed."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
SAYS = {
    "gain_calibration": "largest error of a gain: ",
    "sweep_distortion": "at [9, 22, 31, 47, 52, 66], in truth at [9, 22, 31, 47, 52, 66]",
}


def run(name: str, folder: Path) -> str:
    picture = folder / f"{name}.png"
    script = str(EXAMPLES / f"{name}.py")
    done = subprocess.run(
        [sys.executable, script, str(picture)], check=True, capture_output=True, text=True
    )
    assert picture.stat().st_size > 10_000
    return done.stdout


@pytest.mark.parametrize("name", sorted(SAYS))
def test_example(name, tmp_path) -> None:
    said = run(name, tmp_path)
    assert "optimal" in said
    assert SAYS[name] in said


@pytest.mark.slow
def test_parsimonious_digits(tmp_path) -> None:
    pytest.importorskip("torch")
    said = run("parsimonious_digits", tmp_path)
    assert "units are worth their cost" in said
    assert "and then trimmed: " in said


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("skimage") is None, reason="needs scikit-image")
def test_page(tmp_path) -> None:
    assert run("page_illumination", tmp_path).count("optimal") == 2

"""The command line and the demo."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hulls import random_product
from nettrim import Network, cli
from nettrim.demo import DIGITS, accuracy, by_magnitude, load_digits, run_demo
from networks import random_network


@pytest.fixture
def files(rng: np.random.Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a network and calibration data, which is the current one."""
    monkeypatch.chdir(tmp_path)
    random_network(rng, 12, 10, 6).save("net.npz")
    np.save("X.npy", rng.standard_normal((80, 12)).astype(np.float32))
    return tmp_path


def run(command: str) -> int:
    return cli.main(command.split())


def without_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make rich and matplotlib impossible to import."""
    for extra in ("rich", "matplotlib"):
        for name in [m for m in sys.modules if m.split(".")[0] == extra] + [extra]:
            monkeypatch.setitem(sys.modules, name, None)


# --- demo ---------------------------------------------------------------------------------------


def test_demo_with_extras(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("demo -o weights.png") == 0
    out, err = capsys.readouterr()
    for words in ["64-100-60-10", "parallel on 1,200", "cascade on 1,200", "Accuracy on 597"]:
        assert words in out
    assert max(map(len, out.splitlines())) <= 100
    assert (tmp_path / "weights.png").read_bytes().startswith(b"\x89PNG")
    assert "layer 3/3 dense3 60x10: optimal" in err  # plain lines: this is no terminal


def test_demo_without_extras(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    without_extras(monkeypatch)
    results = run_demo(tmp_path / "weights.png", progress=True)
    out, err = capsys.readouterr()
    assert 'pip install "nettrim[cli]"' in out
    assert not (tmp_path / "weights.png").exists()
    assert "layer 1/3 dense1 64x100: optimal" in err
    digits = load_digits()
    original = accuracy(digits.network, digits.X_test, digits.labels_test)
    assert original > 0.97
    for result in results.values():
        assert result.converged
        assert result.sparsity > 0.6
        assert result.discrepancy <= result.bound
        assert accuracy(result.model, digits.X_test, digits.labels_test) > original - 0.03


def test_embedded_file_is_small_and_a_network() -> None:
    assert DIGITS.stat().st_size < 300_000
    assert [layer.shape for layer in Network.load(DIGITS).prunable_layers()] == [
        (64, 100),
        (100, 60),
        (60, 10),
    ]


def test_by_magnitude_keeps_the_largest(rng: np.random.Generator) -> None:
    net = random_network(rng, 5, 4, 3)
    kept = by_magnitude(net, [7, 0])
    first, second = (layer.affine.weights for layer in kept.prunable_layers())
    before = net.prunable_layers()[0].affine.weights
    assert (np.count_nonzero(first), np.count_nonzero(second)) == (7, 0)
    assert np.abs(before[first == 0]).max() < np.abs(first[first != 0]).min()


# --- trim and inspect ---------------------------------------------------------------------------


def test_trim(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = "trim net.npz --calibration X.npy --epsilon 0.1 -o out.npz --held-out X.npy"
    options = "--scheme parallel --layers 0 --plot out.png --checkpoint kept --threads 1 --quiet"
    assert run(f"{command} {options}") == 0
    out, err = capsys.readouterr()
    assert out.startswith("parallel on 80 calibration samples")
    assert err == ""
    before, after = Network.load("net.npz"), Network.load("out.npz")
    assert np.count_nonzero(after.prunable_layers()[0].affine.weights) < 120
    np.testing.assert_array_equal(
        before.prunable_layers()[1].affine.weights, after.prunable_layers()[1].affine.weights
    )
    assert Path("out.png").read_bytes().startswith(b"\x89PNG")
    assert Path("kept", "layer001.npz").exists()


def test_layers_by_name(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = "trim net.npz -c X.npy -e 0.1 -o out.npz -q --layers dense1,-1"
    assert run(command) == 0
    assert "kept" not in capsys.readouterr().out.splitlines()[2]


def test_progress_bar(
    files: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes stderr for a terminal
    monkeypatch.setenv("COLUMNS", "120")
    assert run("trim net.npz -c X.npy -e 0.1 -o out.npz --checkpoint kept") == 0
    assert "2/2 dense2 10x6" in capsys.readouterr().err
    assert run("trim net.npz -c X.npy -e 0.1 -o out.npz --checkpoint kept") == 0
    assert "from the checkpoint" in capsys.readouterr().err


def test_unconverged_shows_in_the_exit_status(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("trim net.npz -c X.npy -e 0.1 -o out.npz -q --max-iter 2") == 1
    assert "max_iter!" in capsys.readouterr().out
    assert Path("out.npz").exists()


def test_interrupted_shows_in_the_exit_status(
    files: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys.modules["nettrim.trim"], "solve_layer", interrupted)
    assert run("trim net.npz -c X.npy -e 0.1 -o out.npz -q") == 130
    assert "not reached" in capsys.readouterr().out


def test_inspect(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("inspect net.npz") == 0
    line = capsys.readouterr().out.splitlines()[1]
    assert line.split()[:5] == ["dense1", "dense", "12x10", "relu", "120"]


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("inspect missing.npz", "missing.npz"),
        ("inspect X.npy", "'X.npy' is not an .npz file"),
        ("trim net.npz -c net.npz -e 0.1 -o out.npz -q", "samples come in an .npy file"),
        ("trim net.npz -c X.npy -e -1 -o out.npz -q", "epsilon must be"),
        ("trim net.npz -c X.npy -e 0.1 -o out.npz -q --layers conv1", "conv1"),
        ("trim net.npz -c X.npy -e 0.1 -o out.npz -q --kappa 0.001", "larger kappa"),
    ],
)
def test_errors_are_one_line(
    files: Path, capsys: pytest.CaptureFixture[str], command: str, words: str
) -> None:
    assert run(command) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("nettrim: error: ")
    assert words in err
    assert err.count("\n") == 1
    assert not Path("out.npz").exists()


@pytest.mark.parametrize("command", ["demo", "trim", "inspect"])
def test_help_shows_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main([command, "--help"])
    assert caught.value.code == 0
    assert f"example:\n  nettrim {command}" in capsys.readouterr().out


def test_the_command_is_required(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main([])
    assert caught.value.code == 2
    assert "COMMAND" in capsys.readouterr().err


# --- branch-hull ------------------------------------------------------------------------------------


def test_branch_hull_writes_the_signals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    product = random_product(60, 20, 20, support=2, seed=0)
    np.savez("data.npz", y=product.y, B=product.B, C=product.C, signs=product.signs)
    assert run("branch-hull data.npz -o out.npz --explain 3 --threads 1") == 0
    out = capsys.readouterr().out
    assert "optimal" in out
    assert "measurement" in out
    with np.load("out.npz") as found:
        np.testing.assert_array_equal(np.flatnonzero(found["h"]), np.flatnonzero(product.h))
        np.testing.assert_allclose(found["w"] * found["x"], product.y, rtol=1e-5)


def test_branch_hull_says_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez("data.npz", y=np.ones(2), B=np.ones((2, 1)), C=np.ones((2, 1)), signs=[1, -1])
    assert run("branch-hull data.npz -o out.npz") == 2
    assert "contradict" in capsys.readouterr().err
    np.savez("data.npz", y=np.ones(2), B=np.ones((2, 1)))
    assert run("branch-hull data.npz -o out.npz") == 2
    assert "lacks C, signs" in capsys.readouterr().err
    assert not Path("out.npz").exists()

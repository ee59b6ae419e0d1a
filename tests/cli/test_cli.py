"""The command line and the demo."""

from __future__ import annotations

import logging
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nettrim import Network
from nettrim.cli import commands
from nettrim.demo import DIGITS, load_digits, measure_accuracy, prune_by_magnitude, run_demo
from nettrim.hull.solve import SOLVERS
from nettrim.layer.solution import LayerProgress
from nettrim.models.io import read_recipe
from nettrim.trimming.progress import BASIS, Bars, time_left
from support.hulls import random_product
from support.networks import random_network
from support.onnx_network import onnx_model
from support.pages import read


@pytest.fixture
def files(rng: np.random.Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a network and calibration data, which is the current one."""
    monkeypatch.chdir(tmp_path)
    random_network(rng, 12, 10, 6).save("net.npz")
    np.save("X.npy", rng.standard_normal((80, 12)).astype(np.float32))
    return tmp_path


def run(command: str) -> int:
    return commands.main(command.split())


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
    original = measure_accuracy(digits.network, digits.X_test, digits.labels_test)
    assert original > 0.97
    for result in results.values():
        assert result.converged
        assert result.sparsity > 0.6
        assert result.discrepancy <= result.bound
        assert measure_accuracy(result.model, digits.X_test, digits.labels_test) > original - 0.03


def test_embedded_file_is_small_and_a_network() -> None:
    assert DIGITS.stat().st_size < 300_000
    assert [layer.shape for layer in Network.load(DIGITS).prunable_layers()] == [
        (64, 100),
        (100, 60),
        (60, 10),
    ]


def test_by_magnitude_keeps_the_largest(rng: np.random.Generator) -> None:
    net = random_network(rng, 5, 4, 3)
    kept = prune_by_magnitude(net, [7, 0])
    first, second = (layer.affine.weights for layer in kept.prunable_layers())
    before = net.prunable_layers()[0].affine.weights
    assert (np.count_nonzero(first), np.count_nonzero(second)) == (7, 0)
    assert np.abs(before[first == 0]).max() < np.abs(first[first != 0]).min()


# --- trim and inspect ---------------------------------------------------------------------------


def test_trim(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save("unseen.npy", np.load("X.npy")[:40] + 0.1)
    command = "trim net.npz --calibration X.npy --epsilon 0.1 -o out.npz --held-out unseen.npy"
    options = "--scheme parallel --layers 0 --plot out.png --checkpoint kept --threads 1 --quiet"
    assert run(f"{command} {options}") == 0
    out, err = capsys.readouterr()
    assert out.startswith("parallel on 80 calibration samples")
    assert "Of future samples, by 40 held-out ones" in out
    assert err == ""
    before, after = Network.load("net.npz"), Network.load("out.npz")
    assert np.count_nonzero(after.prunable_layers()[0].affine.weights) < 120
    np.testing.assert_array_equal(
        before.prunable_layers()[1].affine.weights, after.prunable_layers()[1].affine.weights
    )
    assert Path("out.png").read_bytes().startswith(b"\x89PNG")
    assert Path("kept", "layer001.npz").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--sparsity 0.5 -e 0.1", "epsilon"),
        ("--sparsity 0.5 --gamma 1.2", "gamma"),
        ("--sparsity 0.5 --kappa 1", "kappa"),
        ("--sparsity 0.5 --slack positive", "slack"),
        ("--sparsity 0.5 --tol 1e-4", "tol"),
        ("--sparsity 0.5 --max-iter 7", "max_iter"),
        ("--flips 0.1 --regularise auto", "regularise"),
        ("-e 0.1 --regularise strong", "regularise must be 'auto'"),
        ("-e 0.1 --regularise 0.1", "pair (ridge, pull)"),
        ("-e 0.1 --share network", "share"),
        ("-e 0.1 --min-density 0", "min_density"),
        ("-e 0.1 --scheme parallel --gamma 1.1", "gamma"),
        ("-e 0.1 --scheme parallel --kappa 1", "kappa"),
    ],
)
def test_options_that_nothing_would_use_are_refused(
    files: Path, capsys: pytest.CaptureFixture[str], options: str, words: str
) -> None:
    """Even where they say what is so without them."""
    assert run(f"trim net.npz -c X.npy -o out.npz -q {options}") == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1
    assert not Path("out.npz").exists()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("-e 0.1", {"epsilon": 0.1}),
        (
            "-e 0.1 --gamma 1.1 --slack positive --kappa 1 --tol 1e-3 --max-iter 9 --time-limit 4",
            {"epsilon": 0.1, "gamma": 1.1, "slack": "positive", "kappa": 1.0}
            | {"tol": 1e-3, "max_iter": 9, "time_limit": 4.0},
        ),
        (
            "--sparsity 0 --share layer --min-density 0 --seed 0 --max-patches 1 --layers 0,dense2",
            {"sparsity": 0.0, "share": "layer", "min_density": 0.0, "seed": 0, "max_patches": 1}
            | {"layers": [0, "dense2"]},
        ),
        ("--pattern 2:4 --scheme parallel", {"pattern": "2:4", "scheme": "parallel"}),
        ("--network 0.1", {"network": 0.1}),
        ("-e 0.1 --regularise auto", {"epsilon": 0.1, "regularise": "auto"}),
        ("-e 0.1 --regularise 1e-3,0.1", {"epsilon": 0.1, "regularise": (0.001, 0.1)}),
        (
            "--flips 0.01 --confidence 0.9 --path units",
            {"flips": 0.01, "confidence": 0.9, "path": "units"},
        ),
        ("--error 0.1 --quantile 0.9", {"error": 0.1, "quantile": 0.9}),
    ],
)
def test_what_is_given_is_passed_on_and_nothing_else(
    files: Path, monkeypatch: pytest.MonkeyPatch, options: str, expected: dict[str, Any]
) -> None:
    given = {}

    def refuse(model: Any, X: Any, **options: Any) -> None:
        given.update(options)
        raise ValueError("seen")

    monkeypatch.setattr(commands, "trim", refuse)
    assert run(f"trim net.npz -c X.npy -o out.npz -q {options}") == 2
    del given["held_out"], given["n_threads"], given["progress"]
    assert given == expected


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


def test_report_page_and_accuracy(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save("y.npy", np.arange(80) % 6)
    command = "trim net.npz -c X.npy -e 0.1 -o out.npz -q --report trim.html --labels y.npy"
    assert run(command) == 0
    said = capsys.readouterr().out.splitlines()[-1]
    before, after = (
        (Network.load(name).predict(np.load("X.npy")).argmax(axis=1) == np.arange(80) % 6).mean()
        for name in ("net.npz", "out.npz")
    )
    assert said == f"accuracy on 80 samples: {before:.2%} before, {after:.2%} after"
    page = read(Path("trim.html").read_text(encoding="utf-8"))
    assert [e.text for e in page.all("h3")] == ["dense1", "dense2"]
    assert f"{before:.2%} → {after:.2%}" in [e.text for e in page.all("dd", class_="figure")]


def test_copies_among_held_out_samples_are_told(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("trim net.npz -c X.npy --epsilon 0.1 -o out.npz -q --held-out X.npy") == 0
    assert "80 of its 80 samples are in X" in capsys.readouterr().err


def test_labels_belong_to_the_held_out_samples(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save("unseen.npy", np.load("X.npy")[:7] + 0.1)
    np.save("y.npy", np.zeros(7, dtype=int))
    command = "trim net.npz -c X.npy -e 0.1 -o out.npz -q --labels y.npy"
    assert run(f"{command} --held-out unseen.npy") == 0
    assert "accuracy on 7 samples" in capsys.readouterr().out
    Path("out.npz").unlink()
    assert run(command) == 2  # before anything is solved
    assert "labels must be one for each of the 80 samples" in capsys.readouterr().err
    np.save("y.npy", np.full(80, 99))
    assert run(command) == 2
    assert "labels must be numbers of outputs" in capsys.readouterr().err
    assert run("trim net.npz -c X.npy --drop 0.1 -o out.npz -q --labels y.npy") == 2
    assert "held_out is needed" in capsys.readouterr().err
    assert not Path("out.npz").exists()


def test_onnx_from_end_to_end(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = onnx_model(Network.load("net.npz"))
    Path("net.onnx").write_bytes(model.SerializeToString())
    assert run("trim net.onnx -c X.npy -e 0.1 -o out.onnx -q --report trim.html") == 0
    capsys.readouterr()
    assert run("trim net.npz -c X.npy -e 0.1 -o out.npz -q") == 0
    capsys.readouterr()
    assert run("inspect out.onnx") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["layer", "shape", "activation", "nonzeros", "of", "all", "dtype"]
    layers = Network.load("out.npz").prunable_layers()
    counts = [int(np.count_nonzero(layer.affine.weights)) for layer in layers]
    assert [line.split()[:4] for line in lines[1:3]] == [
        ["dense1", "12x10", "relu", str(counts[0])],
        ["dense2", "10x6", "linear", str(counts[1])],
    ]
    assert lines[3].split()[:2] == ["network", str(sum(counts))]
    read(Path("trim.html").read_text(encoding="utf-8"))


def test_export_writes_a_folder_and_lists_it(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("trim net.npz -c X.npy -e 0.1 -o out.npz -q --export shipped") == 0
    listed = capsys.readouterr().out.split("shipped\n")[1]
    written = sorted(path.name for path in Path("shipped").iterdir())
    assert written
    assert all(name in listed for name in written)


def test_patches_and_seed_reach_the_run(files: Path) -> None:
    command = "trim net.npz -c X.npy -e 0.1 -o out.npz -q --max-patches 50 --seed 3"
    assert run(command) == 0
    arguments = read_recipe("out.npz")["arguments"]
    assert (arguments["max_patches"], arguments["seed"]) == (50, 3)


def test_layers_are_skipped(files: Path) -> None:
    assert run("trim net.npz -c X.npy -e 0.1 -o out.npz -q --layers 0,dense2 --skip re:.*1") == 0
    assert read_recipe("out.npz")["arguments"]["layers"] == ["dense2"]


def test_verbose_logs_instead_of_progress(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("nettrim")
    before = (logger.level, list(logger.handlers))
    assert run("trim net.npz -c X.npy -e 0.1 -o out.npz -v") == 0
    lines = capsys.readouterr().err.splitlines()
    assert [re.sub(r"^\d\d:\d\d:\d\d ", "", line).split(",")[0] for line in lines] == [
        "layer 1/2 dense1 12x10: optimal",
        "layer 2/2 dense2 10x6: optimal",
    ]
    assert run("trim net.npz -c X.npy -e 0.1 -o out.npz -vv") == 0
    assert ": iteration " in capsys.readouterr().err
    assert (logger.level, logger.handlers) == before


def test_log_has_layers_and_certificates(files: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "nettrim"):
        assert run("trim net.npz -c X.npy -e 0.1 -o out.npz -q") == 0
    levels = [record.levelno for record in caplog.records]
    assert levels.count(logging.INFO) == 2
    assert levels.count(logging.DEBUG) >= 2
    assert caplog.records[-1].getMessage().startswith("layer 2/2 dense2 10x6: optimal, gap ")


# --- time left ----------------------------------------------------------------------------------


def test_time_left_extrapolates_the_logarithm() -> None:
    history = [(0.5 * k, 0.1 * 10 ** (-0.25 * k)) for k in range(2 * BASIS)]
    _, gap = history[-1]
    expected = (np.log(gap) - np.log(1e-6)) / (0.25 * np.log(10) / 0.5)
    assert time_left(history, 1e-6) == pytest.approx(expected)
    assert time_left(history, 0.5) == 0


def test_the_bar_shows_gap_and_time_left() -> None:
    progress = pytest.importorskip("rich.progress")
    bars = progress.Progress(disable=True)
    bar = Bars(bars, 3)
    bar.start("dense1", (12, 10))
    (task,) = bars.tasks
    assert task.description == "1/3 dense1 12x10"
    for k in range(BASIS):
        assert "left" not in task.fields["note"]
        bar.update(LayerProgress(k, 1.0, 1.0, 10.0**-k, 0.0, 0.0, 4.0 * k), 1e-6)
    assert task.completed == pytest.approx(0.5)
    assert task.fields["note"] == "gap 1.0e-03"  # half of the certificates are too few
    for k in range(BASIS, 2 * BASIS):
        bar.update(LayerProgress(k, 1.0, 1.0, 10.0 ** (-0.5 * k), 0.0, 0.0, 4.0 * k), 1e-6)
    assert task.fields["note"] == "gap 3.2e-04, about 20 s left"  # 2.5 decades at 8 s each


@pytest.mark.parametrize(
    "gaps",
    [
        [],
        [0.5, 0.4, 0.3],
        [0.1] * 8,
        [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8],  # it rises
        [0.1, 0.9, 0.1, 0.9, 0.05, 0.9, 0.1, 0.8, 0.05],  # it falls less than it scatters
        [0.5, 0.4, 0.3, 0.2, 0.1, 0.05, -0.01, 0.02],  # infeasible in between
    ],
)
def test_nothing_is_said_of_time_without_a_basis(gaps: list[float]) -> None:
    assert time_left([(0.1 * k, gap) for k, gap in enumerate(gaps)], 1e-4) is None
    assert time_left([(0.1, gap) for gap in gaps], 1e-4) is None  # no time has passed


def test_unconverged_shows_in_the_exit_status(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("trim net.npz -c X.npy -e 0.1 -o out.npz -q --max-iter 2 --max-error 9") == 1
    assert "max_iter!" in capsys.readouterr().out
    assert Path("out.npz").exists()


def test_interrupted_shows_in_the_exit_status(
    files: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("nettrim.trimming.methods.to_error.solve_layer", interrupted)
    assert run("trim net.npz -c X.npy -e 0.1 -o out.npz -q") == 130
    assert "not reached" in capsys.readouterr().out


def test_inspect(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("inspect net.npz") == 0
    out = capsys.readouterr().out
    assert out.splitlines()[1].split()[:5] == ["dense1", "dense", "12x10", "relu", "120"]
    assert "trimmed on" not in out
    assert run("trim net.npz -c X.npy -e 0.1 -o out.npz -q") == 0
    capsys.readouterr()
    assert run("inspect out.npz") == 0
    assert "epsilon=0.1, scheme='cascade'" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("inspect missing.npz", "missing.npz"),
        ("inspect X.npy", "'X.npy' is not an .npz file"),
        ("trim net.npz -c net.npz -e 0.1 -o out.npz -q", "samples come in an .npy file"),
        ("trim net.npz -c X.npy -e -1 -o out.npz -q", "epsilon must be"),
        ("trim net.npz -c X.npy -e 0.1 -o out.npz -q --layers conv1", "conv1"),
        ("trim net.npz -c X.npy -e 0.1 -o out.npz -q --kappa 0.001", "larger kappa"),
        ("trim net.npz -c X.npy -e 0.1 -o out.onnx -q", "output 'out.onnx' must be a .npz file"),
        ("trim net.npz -c X.npy -e 0.1 -o out.npz -q --labels X.npy", "labels must be whole"),
        ("trim net.npz -c X.npy -e 0.1 -o out.npz -q --labels net.npz", "labels come in an .npy"),
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


def examples(command: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The commands under "example:" in a help text."""
    with pytest.raises(SystemExit) as caught:
        commands.main([command, "--help"])
    assert caught.value.code == 0
    help_text = capsys.readouterr().out
    assert f"example:\n  nettrim {command} " in help_text
    return re.findall(r"^  nettrim (.*)$", help_text, re.MULTILINE)


@pytest.mark.parametrize("command", ["demo", "trim", "inspect", "branch-hull"])
def test_examples_work_as_printed(
    command: str, files: Path, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    product = random_product(60, 20, 20, support=2, seed=0)
    np.savez("data.npz", y=product.y, B=product.B, C=product.C, signs=product.signs)
    np.save("X2.npy", np.tile(np.load("X.npy"), (5, 1)) + 0.001 * rng.standard_normal((400, 12)))
    for example in examples(command, capsys):
        arguments = shlex.split(example)
        if "model.onnx" in arguments:
            model = onnx_model(Network.load("net.npz"))  # skips where there is no ONNX
            Path("model.onnx").write_bytes(model.SerializeToString())
        assert commands.main(arguments) == 0
        written = [arguments[k + 1] for k, a in enumerate(arguments) if a in ("-o", "--report")]
        assert all(Path(name).stat().st_size for name in written)


GOOD = "trim net.npz -c X.npy -o out.npz -e 0.1"


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("trimm", "; did you mean trim?"),
        (f"{GOOD} --time-limt=9", "--time-limt=9; did you mean --time-limit?"),
        (f"{GOOD} --scheme paralel", "did you mean parallel?"),
        ("trim net.npz --calibraton X.npy -o out.npz", "did you mean --calibration?"),
        ("trim trim.npz --output out.npz", "required: -c/--calibration (nettrim trim --help"),
        (f"{GOOD} more", "unrecognized arguments: more (nettrim trim --help shows more)"),
    ],
)
def test_a_typo_is_told_in_one_line(
    command: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        run(command)
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("nettrim: error: ")
    assert words in line


def test_the_command_is_required(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        commands.main([])
    assert caught.value.code == 2
    assert "COMMAND" in capsys.readouterr().err


# --- branch-hull ----------------------------------------------------------------------------------


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


@pytest.mark.parametrize("solver", SOLVERS)
def test_branch_hull_takes_every_solver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, solver: str
) -> None:
    monkeypatch.chdir(tmp_path)
    product = random_product(60, 8, 8, support=2, seed=0)
    np.savez("data.npz", y=product.y, B=product.B, C=product.C, signs=product.signs)
    assert run(f"branch-hull data.npz -o out.npz --solver {solver} --threads 1") == 0


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


@pytest.fixture
def held_out(files: Path, rng: np.random.Generator) -> None:
    np.save("X2.npy", rng.standard_normal((80, 12)))
    network = Network.load("net.npz")
    np.save("y2.npy", network.predict(np.load("X2.npy")).argmax(axis=1))


@pytest.mark.parametrize("options", ["--flips 0.2", "--misses 0.2 --labels y2.npy", "--error 0.6"])
def test_promises(held_out, capsys: pytest.CaptureFixture[str], options: str) -> None:
    command = f"trim net.npz -c X.npy --held-out X2.npy -o out.npz -q --path epsilon {options}"
    assert run(f"{command} --max-error 1") == 0
    assert "With 95% confidence" in capsys.readouterr().out
    assert run("inspect out.npz") == 0
    assert "With 95% confidence" in capsys.readouterr().out


def test_a_promise_that_is_not_kept_shows_in_the_exit_status(
    held_out, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nettrim.trimming.path_search.Search.find", lambda *_: 0.02)
    assert run("trim net.npz -c X.npy --held-out X2.npy -o out.npz -q --flips 0.05") == 4
    out, err = capsys.readouterr()
    assert "Nothing is promised" in out
    assert "Nothing is promised" not in err
    assert Path("out.npz").exists()

"""Files: where output may go, what damaged and oversized input is told, ends that come early."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mutated_files
from nettrim import Network
from nettrim.base import storage
from nettrim.base.storage import read_npy, read_npz, write_npz
from nettrim.cli import commands
from nettrim.layer.blocks.workers import SharedData
from nettrim.layer.data import LayerData
from nettrim.models.io import read_recipe
from nettrim.models.network import network as network_module
from nettrim.models.network import sparse_storage
from support.networks import random_network, trim

posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX")


@pytest.fixture
def files(rng: np.random.Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a network and calibration data, which is the current one."""
    monkeypatch.chdir(tmp_path)
    random_network(rng, 12, 10, 6).save("net.npz")
    np.save("X.npy", rng.standard_normal((80, 12)))
    np.save("y.npy", np.zeros(80, dtype=int))
    Path("folder").mkdir()
    return tmp_path


@pytest.fixture
def result(rng: np.random.Generator) -> Any:
    return trim(random_network(rng, 6, 5, 3), rng.standard_normal((40, 6)), epsilon=0.1)


# --- places for output --------------------------------------------------------------------------

TRIM = "trim net.npz -c X.npy -e 0.1 -q --threads 1"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("-o missing/out.npz", "there is no folder"),
        ("-o out.npz --plot missing/out.png", "there is no folder"),
        ("-o out.npz --report missing/out.html", "there is no folder"),
        ("-o folder", "it is a folder"),
        ("-o out.npz --report folder", "it is a folder"),
        ("-o net.npz", "--output and MODEL are the same place"),
        ("-o folder/../X.npy", "--output and --calibration are the same place"),
        ("-o out.npz --labels y.npy --plot y.npy", "--plot and --labels are the same place"),
        ("-o out.npz --held-out y.npy --report y.npy", "--report and --held-out are the same"),
        ("-o out.npz --report out.npz", "--report and --output are the same place"),
        ("-o out.npz --plot a.png --report folder/../a.png", "--report and --plot are the same"),
        (
            "-o out.npz --export folder --checkpoint folder",
            "--checkpoint and --export are the same",
        ),
        ("-o out.npz --export X.npy", "--export and --calibration are the same place"),
        ("-o out.npz --export net.npz/inside", "leads through a file"),
        ("-o out.npz --checkpoint net.npz/inside", "leads through a file"),
        ("-o folder/model.npz --export folder", "which is --output"),
        ("-o out.npz --plot out.nonsense", "must be a picture"),
        ("-o out.npz --report out.pdf", "path of a report must be .html or .htm, got 'out.pdf'"),
    ],
)
def test_places_are_looked_at_before_any_work(
    files: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    options: str,
    words: str,
) -> None:
    monkeypatch.setattr(commands, "load", None)  # calling it would be work
    before = {path: path.read_bytes() for path in files.iterdir() if path.is_file()}
    assert commands.main(f"{TRIM} {options}".split()) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1
    assert {path: path.read_bytes() for path in files.iterdir() if path.is_file()} == before


def writers(result: Any) -> dict[str, Callable[[Path], object]]:
    """What writes a file."""
    return {
        "save": result.model.save,
        "report": result.report,
        "plot": result.plot,
        "arrays": lambda path: write_npz(path, {"a": np.ones(3)}),
    }


@pytest.mark.parametrize("kind", ["save", "report", "plot", "arrays"])
def test_links_stay_and_what_they_lead_to_is_replaced(
    result: Any, tmp_path: Path, kind: str
) -> None:
    (tmp_path / "far").mkdir()
    real, link = tmp_path / "far" / "real", tmp_path / "link"
    link.symlink_to(real)
    for _ in range(2):  # it leads nowhere at first
        writers(result)[kind](link)
        assert link.is_symlink()
        assert real.stat().st_size > 0
        assert [path.name for path in real.parent.iterdir()] == ["real"]


@posix
@pytest.mark.parametrize("kind", ["save", "report", "plot", "arrays"])
def test_what_is_no_file_is_refused_and_stays(result: Any, tmp_path: Path, kind: str) -> None:
    write = writers(result)[kind]
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    (tmp_path / "null").symlink_to(os.devnull)
    for name, words in [("fifo", "pipe"), ("folder", "folder"), ("null", "device")]:
        with pytest.raises(ValueError, match=rf"{name}' must be a file to write, it is a.*{words}"):
            write(tmp_path / name)
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        write(tmp_path / "missing" / "out")
    assert (tmp_path / "fifo").is_fifo()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fifo", "folder", "null"]


@posix
def test_an_export_keeps_links_and_refuses_pipes(result: Any, tmp_path: Path) -> None:
    (tmp_path / "sparse.npz").symlink_to(tmp_path / "far.npz")
    result.export(tmp_path, formats=["sparse"])
    assert (tmp_path / "sparse.npz").is_symlink()
    assert Network.load(tmp_path / "far.npz").names == result.model.names
    os.mkfifo(tmp_path / "recipe.json")
    with pytest.raises(ValueError, match="must be a file to write"):
        result.export(tmp_path, formats=["recipe"])


# --- damaged and oversized input ----------------------------------------------------------------


def test_damaged_files_end_in_one_line() -> None:
    wrong, statuses = mutated_files.failures(100)
    assert not wrong, "\n".join(wrong)
    assert statuses[2] > 50
    assert statuses[0] > 0


def header(shape: tuple[int, ...], descr: str = "<f8") -> bytes:
    stream = io.BytesIO()
    fields = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, fields)
    return stream.getvalue()


@pytest.mark.parametrize("shape", [(10**12,), (2**62, 4), (3, 5), (-1,), (-2, -8)])
def test_headers_are_held_against_the_data(tmp_path: Path, shape: tuple[int, ...]) -> None:
    content = header(shape) + bytes(80)
    (tmp_path / "X.npy").write_bytes(content)
    with zipfile.ZipFile(tmp_path / "net.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("W1.npy", content)
    with pytest.raises(ValueError, match=r"X\.npy' is not an \.npy file: "):
        read_npy(tmp_path / "X.npy", "samples")
    with pytest.raises(ValueError, match=r"net\.npz' is not an \.npz file of arrays: "):
        Network.load(tmp_path / "net.npz")


def test_objects_are_not_read(tmp_path: Path) -> None:
    np.save(tmp_path / "X.npy", np.array([{}, None]), allow_pickle=True)
    with pytest.raises(ValueError, match="Python objects, which are not read"):
        read_npy(tmp_path / "X.npy", "samples")


def test_what_would_become_too_large_is_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Zeros pack a thousandfold: a small file of a large one is refused before it is unpacked."""
    path = tmp_path / "bomb.npz"
    np.savez_compressed(path, W1=np.zeros((3000, 1000)), small=np.ones(3))
    assert path.stat().st_size < 100_000
    read_npz(path)  # below a gigabyte all is well
    monkeypatch.setattr(storage, "EXPANDED", 1 << 20)
    with pytest.raises(ValueError, match="bytes would become 24,000,2"):
        read_npz(path)
    np.testing.assert_array_equal(read_npz(path, {"small"}.__contains__)["small"], 1)
    noise = np.random.default_rng(0).standard_normal((300, 1000))
    np.savez_compressed(path, W1=noise)  # large, and full of numbers
    assert read_npz(path)["W1"].shape == noise.shape


def test_packed_arrays_of_absurd_shapes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = sparse_storage.pack({"W": np.diag(np.arange(1.0, 40))}, "csr")
    for shape in ([39, 2**40], [10**9, 10**9], [-39, 39]):
        with pytest.raises(ValueError, match="W is no array in csr"):
            sparse_storage.unpack({**packed, "W@csr.shape": np.array(shape)})


def test_a_name_twice_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "net.npz", "w") as archive:
        for value in (1.0, 2.0):
            with contextlib.suppress(UserWarning):
                archive.writestr("W1.npy" if value == 1 else "W1", header((1,)) + bytes(8))
    with pytest.raises(ValueError, match="holds 'W1' twice"):
        Network.load(tmp_path / "net.npz")


def test_arrays_nobody_asks_for_are_not_read(files: Path, result: Any) -> None:
    """Beside a network there may be anything, even damaged."""
    arrays = result.model.to_arrays()
    write_npz("both.npz", {**arrays, "training data": np.zeros(9), "recipe": "{}"})
    content = bytearray(Path("both.npz").read_bytes())
    with zipfile.ZipFile("both.npz") as archive:
        start = archive.getinfo("training data.npy").header_offset
    content[start + 80] ^= 0xFF  # among its data
    Path("both.npz").write_bytes(bytes(content))
    assert Network.load("both.npz").names == result.model.names
    assert read_recipe("both.npz") == {}
    with pytest.raises(ValueError, match="both"):
        read_npz("both.npz")
    assert network_module.ARRAYS.fullmatch("12.weights@csr.values")


# --- ends that come early -----------------------------------------------------------------------

# The child hangs in its second layer until a signal comes: in Python, or in the compiled solver.
CHILD = """
import sys, time
from nettrim.cli import commands
from nettrim.trimming.methods import to_error

solve_layer, count = to_error.solve_layer, 0

def hang_at_the_second(X, Y, **options):
    global count
    count += 1
    if count == 2:
        print("second layer", file=sys.stderr, flush=True)
        {hang}
    return solve_layer(X, Y, **options)

to_error.solve_layer = hang_at_the_second
arguments = "trim net.npz -c X.npy -e 0.1 -o out.npz -q --threads 1 --report r.html"
sys.exit(commands.main(arguments.split()))
"""
ASLEEP = "time.sleep(600)"
ENDLESS = 'options |= {"tol": 1e-300, "max_iter": 10**9}'


def child(*arguments: str, **options: Any) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    return subprocess.Popen([sys.executable, *arguments], text=True, env=environment, **pipes)


@posix
@pytest.mark.parametrize(
    ("number", "status", "hang"),
    [
        (signal.SIGTERM, 143, ASLEEP),
        (signal.SIGTERM, 143, ENDLESS),
        (signal.SIGINT, 130, ASLEEP),
    ],
    ids=["term", "term-in-the-core", "int"],
)
def test_a_signal_keeps_finished_layers(files: Path, number: int, status: int, hang: str) -> None:
    process = child("-c", CHILD.format(hang=hang))
    try:
        assert process.stderr is not None
        assert process.stderr.readline() == "second layer\n"
        time.sleep(0.2)
        process.send_signal(number)
        said, _ = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == status
    assert "interrupted: layers not reached" in said
    before, after = Network.load("net.npz"), Network.load("out.npz")
    kept = [layer.affine.weights for layer in (*before.prunable_layers(), *after.prunable_layers())]
    assert np.count_nonzero(kept[2]) < np.count_nonzero(kept[0])
    np.testing.assert_array_equal(kept[3], kept[1])
    assert Path("r.html").exists()


def test_the_handler_of_sigterm_is_put_back(files: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    assert commands.main(["inspect", "net.npz"]) == 0
    assert signal.getsignal(signal.SIGTERM) is before


@posix
def test_nobody_has_to_read_what_is_said(files: Path) -> None:
    options = "-o out.npz --report r.html --export shipped --labels y.npy"
    process = child("-m", "nettrim", *f"{TRIM} {options}".split())
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    with process:
        assert process.stderr.read() == ""
    assert process.returncode == 0
    for name in ("out.npz", "r.html", "shipped/model.npz"):
        assert Path(name).stat().st_size > 0


@contextlib.contextmanager
def files_of_at_most(n_bytes: int) -> Iterator[None]:
    """Let writing fail beyond a length, as on a full disk."""
    resource = pytest.importorskip("resource")
    _, hard = before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@posix
@pytest.mark.parametrize("kind", ["save", "report", "plot", "arrays"])
def test_a_full_disk_leaves_what_was_there(result: Any, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "out"
    path.write_bytes(b"before")
    with files_of_at_most(100), pytest.raises(OSError, match=r"[Tt]oo large.*out\b"):
        writers(result)[kind](path)
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


@posix
def test_a_full_disk_leaves_no_folder_of_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    X, Y = rng.standard_normal((50, 6)), rng.standard_normal((50, 3))
    data = LayerData.of(X, Y, "relu", None, None, np.dtype(np.float64))
    with files_of_at_most(100), pytest.raises(OSError):  # noqa: PT011 (NumPy words it itself)
        SharedData(data).name()
    assert not list(tmp_path.iterdir())


def test_the_command_tells_a_full_disk_in_one_line(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(path.name for path in files.iterdir())
    with files_of_at_most(100):
        status = commands.main(f"{TRIM} -o out.npz".split())
    assert status == 2
    told = capsys.readouterr()
    assert told.err.count("\n") == 1
    assert "'out.npz'" in told.err
    assert "the weights are zero" in told.out  # what was reached is not lost
    assert sorted(path.name for path in files.iterdir()) == before


@posix
def test_a_full_disk_is_what_a_file_of_tensors_tells(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    place = tmp_path / "out.pt"
    with (
        files_of_at_most(100),
        pytest.raises(OSError, match=r"[Tt]oo large.*out\.pt"),
        storage.write_atomically(place) as path,
        storage.open_to_write(path) as stream,
    ):
        torch.save(torch.zeros(1000), stream)
    assert not list(tmp_path.iterdir())

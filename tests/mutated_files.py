"""Damaged files for the command line: it has to end with a status and one line, never a traceback.

The tests run a few. Many more, and what the seed of a failure was::

    python tests/mutated_files.py --count 2000
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import shutil
import sys
import tempfile
import traceback
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import nettrim
from nettrim.cli import commands
from support.hulls import random_product
from support.networks import random_network

Mutator = Callable[[np.random.Generator, bytes], bytes]

TRIM = "-e 0.3 -q --threads 1 --max-iter 100 --time-limit 2"
COMMANDS = {  # file: the commands that read it
    "net.npz": ["inspect {}", f"trim {{}} -c X.npy -o out.npz {TRIM}"],
    "plain.npz": ["inspect {}", f"trim {{}} -c X.npy -o out.npz {TRIM}"],
    "trimmed.npz": ["inspect {}"],
    "sparse.npz": ["inspect {}"],
    "bitmask.npz": ["inspect {}"],
    "X.npy": [f"trim net.npz -c {{}} -o out.npz {TRIM}"],
    "y.npy": [f"trim net.npz -c X.npy -o out.npz {TRIM} --labels {{}}"],
    "data.npz": ["branch-hull {} -o out.npz --threads 1"],
    "kept/layer001.npz": [f"trim net.npz -c X.npy -o out.npz {TRIM} --checkpoint kept"],
    "net.onnx": ["inspect {}", f"trim {{}} -c X.npy -o out.onnx {TRIM}"],
    "trimmed.onnx": ["inspect {}"],
}
TEXTS = [
    "",
    "{",
    "[]",
    "7",
    "{}",
    '{"arguments": 3}',
    '{"arguments": {}, "date": []}',
    "[" * 100_000,
]
SHAPES = [(10**12,), (2**63 - 1, 2), (-1,), (0,), (10**6, 10**6), (1,), ()]


# --- good files ---------------------------------------------------------------------------------


def write_good_files(folder: Path) -> None:
    """Fill a folder with a file of every kind that the command reads."""
    rng = np.random.default_rng(0)
    net = random_network(rng, 6, 5, 3)
    net.save(folder / "net.npz")
    pairs = enumerate(net.layers, start=1)
    arrays = [(f"W{k}", layer.weights) for k, layer in pairs]
    np.savez(folder / "plain.npz", **dict(arrays))
    X = rng.standard_normal((40, 6))
    np.save(folder / "X.npy", X)
    np.save(folder / "y.npy", np.arange(40) % 3)
    product = random_product(30, 8, 8, support=1, seed=0)
    np.savez(folder / "data.npz", y=product.y, B=product.B, C=product.C, signs=product.signs)
    with contextlib.suppress(ImportError):
        from support.onnx_network import onnx_model

        (folder / "net.onnx").write_bytes(onnx_model(net).SerializeToString())
        run(f"trim net.onnx -c X.npy -o trimmed.onnx {TRIM}", folder)
    run(f"trim net.npz -c X.npy -o trimmed.npz {TRIM} --checkpoint kept", folder)
    result = nettrim.trim(net, X, epsilon=0.3, progress=False, n_threads=1)
    result.export(folder, formats=["sparse", "bitmask"])


# --- damage -------------------------------------------------------------------------------------


def flipped(rng: np.random.Generator, content: bytes) -> bytes:
    """Some bits are others."""
    damaged = bytearray(content)
    for place in rng.integers(len(content), size=rng.integers(1, 9)):
        damaged[place] ^= 1 << int(rng.integers(8))
    return bytes(damaged)


def truncated(rng: np.random.Generator, content: bytes) -> bytes:
    """The end is missing."""
    return content[: rng.integers(len(content))]


def spliced(rng: np.random.Generator, content: bytes) -> bytes:
    """A piece stands in the place of another, of any length."""
    a, b, c = (int(place) for place in np.sort(rng.integers(len(content), size=3)))
    return content[:a] + content[b:c] + content[rng.integers(a, len(content)) :]


def with_other_members(rng: np.random.Generator, content: bytes) -> bytes:
    """A zip of other arrays: a name twice, another's data, shapes that are none, other text."""
    if not zipfile.is_zipfile(io.BytesIO(content)):
        return with_other_header(rng, content)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    k = int(rng.integers(len(members)))
    name, data = members[k]
    other = members[int(rng.integers(len(members)))][1]
    choices = [
        lambda: [(name, data)],  # once more
        lambda: [(name, other)],
        lambda: [(name, with_other_header(rng, data))],
        lambda: [(name, flipped(rng, data))],
        lambda: [(name, as_npy(np.array(TEXTS[rng.integers(len(TEXTS))])))],
        lambda: [(name, as_npy(other_array(rng)))],
        list,
    ]
    choice = int(rng.integers(len(choices)))
    kept = members if choice == 0 else members[:k] + members[k + 1 :]
    target = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of the name that is there twice
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
            for entry in [*kept, *choices[choice]()]:
                archive.writestr(*entry)
    return target.getvalue()


def with_other_header(rng: np.random.Generator, content: bytes) -> bytes:
    """An array whose header tells of another shape or type than its data have."""
    if not content.startswith(b"\x93NUMPY"):
        return flipped(rng, content)
    stream = io.BytesIO()
    descr = ["<f8", "|O", "<U9", "<c16", "<f2", "|b1", "<M8[s]", "nonsense"][rng.integers(8)]
    header = {"descr": descr, "fortran_order": False, "shape": SHAPES[rng.integers(len(SHAPES))]}
    np.lib.format.write_array_header_1_0(stream, header)
    length = int.from_bytes(content[8:10], "little")
    return stream.getvalue() + content[10 + length :]


def other_array(rng: np.random.Generator) -> Any:
    """Something else than what was there."""
    choices = [
        np.array(np.nan),
        np.zeros((0, 3)),
        rng.standard_normal((3, 5, 2)),
        np.array([["a", "b"]]),
        np.array([1 + 2j]),
        np.array(2**63, dtype=np.uint64),
        np.full((5, 3), 1e300),
        np.array([-1, 10**9]),
    ]
    return choices[rng.integers(len(choices))]


def with_other_graph(rng: np.random.Generator, content: bytes) -> bytes:
    """An ONNX model of other dims, data, names, operators or recipes."""
    import onnx

    model = onnx.ModelProto.FromString(content)
    graph = model.graph
    tensor = graph.initializer[rng.integers(len(graph.initializer))]
    node = graph.node[rng.integers(len(graph.node))]
    source = graph.input[0].type.tensor_type
    choice = int(rng.integers(9))
    if choice == 0:
        tensor.dims[0] = int(rng.choice([-1, 0, 1, 10**12]))
    elif choice == 1:
        tensor.raw_data = tensor.raw_data[: rng.integers(len(tensor.raw_data))]
    elif choice == 2:
        tensor.data_type = int(rng.integers(0, 24))
    elif choice == 3:
        node.op_type = str(rng.choice(["Relu", "MatMul", "Conv", "LSTM", "If", "Nonsense"]))
    elif choice == 4:
        node.input[rng.integers(len(node.input))] = str(rng.choice(["", "input", "nothing"]))
    elif choice == 5:
        source.shape.dim[int(rng.integers(2))].dim_value = int(rng.choice([-1, 0, 3, 10**12]))
    elif choice == 6:
        source.elem_type = int(rng.integers(0, 24))
    elif choice == 7:
        del graph.node[rng.integers(len(graph.node))]
    else:
        del model.metadata_props[:]
        model.metadata_props.add(
            key="nettrim.results.recipe", value=TEXTS[rng.integers(len(TEXTS))]
        )
    return bytes(model.SerializeToString())


def as_npy(array: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def mutators_of(name: str) -> list[Mutator]:
    own = with_other_graph if name.endswith(".onnx") else with_other_members
    return [flipped, truncated, spliced, own, own, own]


# --- runs ---------------------------------------------------------------------------------------


def run(command: str, folder: Path) -> tuple[int, str]:
    """Run a command in a folder; return its status and what it said on stderr."""
    said = io.StringIO()
    before = Path.cwd()
    os.chdir(folder)
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            return commands.main(command.split()), said.getvalue()
    finally:
        os.chdir(before)


def failures(count: int, seed: int = 0) -> tuple[list[str], Counter[int]]:
    """Damage files so many times; return what went wrong, and how often each status came."""
    wrong: list[str] = []
    statuses: Counter[int] = Counter()
    with tempfile.TemporaryDirectory() as temporary:
        good = Path(temporary, "good")
        good.mkdir()
        write_good_files(good)
        names = [name for name in COMMANDS if (good / name).exists()]
        for number in range(seed, seed + count):
            rng = np.random.default_rng(number)
            name = names[number % len(names)]
            mutators = mutators_of(name)
            mutate = mutators[rng.integers(len(mutators))]
            folder = Path(temporary, "damaged")
            shutil.copytree(good, folder)
            (folder / name).write_bytes(mutate(rng, (good / name).read_bytes()))
            for command in COMMANDS[name]:
                told = _wrong(command.format(name), folder, statuses)
                if told:
                    wrong.append(f"seed {number}, {mutate.__name__} {name}, {command}: {told}")
            shutil.rmtree(folder)
    return wrong, statuses


def _wrong(command: str, folder: Path, statuses: Counter[int]) -> str:
    """Return what a command did wrong, nothing if it did nothing wrong."""
    try:
        status, said = run(command, folder)
    except BaseException:  # noqa: BLE001 (whatever it is, it was not caught)
        return traceback.format_exc()
    statuses[status] += 1
    if status == 2 and not said.splitlines()[-1].startswith("nettrim: error: "):
        return f"said {said!r}"
    if status == 2 and any(not line.startswith("nettrim: ") for line in said.splitlines()):
        return f"said {said!r}"
    leftovers = [path.name for path in folder.iterdir() if path.name.startswith(".")]
    return f"left {leftovers}" if leftovers else ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    wrong, statuses = failures(options.count, options.seed)
    for told in wrong:
        print(told)
    print(json.dumps({"files": options.count, "wrong": len(wrong), "statuses": dict(statuses)}))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

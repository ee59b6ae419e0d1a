"""A short run of `random_calls`, and what long ones found at the doors of whole networks."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nettrim
from nettrim import Dense, Network

pytest.importorskip("sklearn")
pytest.importorskip("onnxruntime")
import random_calls

SENSELESS: tuple[Any, ...] = (3, 0.5, None, b"x", ["a"], "", "a\0b", np.zeros(2), object())
CUBE = np.zeros((2, 2, 2))


@pytest.fixture(scope="module")
def result() -> nettrim.TrimResult[Network]:
    rng = np.random.default_rng(0)
    network = Network([Dense(rng.standard_normal((4, 3)), activation="linear")])
    X = rng.standard_normal((30, 4))
    return nettrim.trim(network, X, epsilon=0.2, n_threads=1, progress=False)


def test_random_calls_are_right_or_refused_by_name() -> None:
    """With -rP, a table of how they end."""
    counts: Counter[tuple[str, str]] = Counter()
    for seed in range(200):
        entry, kind, reason = random_calls.outcome(seed)
        assert kind not in ("wrong", "slow"), f"{entry} --seed {seed}: {reason}"
        counts[(entry, kind)] += 1
    print(random_calls.table(counts, Counter()))
    assert {entry for entry, _ in counts} >= {entry.title() for entry in random_calls.ENTRIES}
    assert sum(n for (_, kind), n in counts.items() if kind == "right") >= 70


@pytest.mark.parametrize("path", SENSELESS)
def test_what_is_no_path_is_refused_by_name(
    result: nettrim.TrimResult[Network], path: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model, X = result.original, np.ones((5, 4))
    for call in (result.report, model.save, Network.load):
        with pytest.raises((TypeError, ValueError), match=r"^path must be a path"):
            call(path)
    with pytest.raises((TypeError, ValueError), match=r"^path must be a path"):
        nettrim.load_weights(path, model)
    with pytest.raises((TypeError, ValueError), match=r"^folder must be a path"):
        result.export(path)
    if path is not None:
        with pytest.raises((TypeError, ValueError), match=r"^checkpoint must be a path"):
            nettrim.trim(model, X, epsilon=0.5, checkpoint=path, progress=False)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("formats", [3, len, np.array(0.5), ["dense", 3], [CUBE]])
def test_formats_that_are_none(
    result: nettrim.TrimResult[Network], formats: Any, tmp_path: Path
) -> None:
    with pytest.raises((TypeError, ValueError), match=r"^formats must"):
        result.export(tmp_path, formats=formats)


@pytest.mark.parametrize("accuracy", [0.5, (0.5, 0.5, 3), "0.5", CUBE])
def test_an_accuracy_that_is_none(
    result: nettrim.TrimResult[Network], accuracy: Any, tmp_path: Path
) -> None:
    with pytest.raises(TypeError, match=r"^accuracy must be"):
        result.report(tmp_path / "page.html", accuracy)


@pytest.mark.parametrize("model", [Network, Dense, type])
def test_a_class_is_no_model(model: Any) -> None:
    with pytest.raises(TypeError, match=r"^model must be"):
        nettrim.trim(model, np.ones((3, 2)), epsilon=0.5, progress=False)


@pytest.mark.parametrize("name", ["scheme", "gamma", "slack", "layers", "outputs", "share", "tol"])
@pytest.mark.parametrize("goal", [{"epsilon": 0.5}, {"sparsity": 0.5}])
def test_a_message_is_one_line(
    result: nettrim.TrimResult[Network], name: str, goal: dict[str, float]
) -> None:
    for value in (CUBE, np.array(0.5), 10**400, "two\nlines"):
        options: Any = {**goal, name: value, "progress": False}
        with pytest.raises((TypeError, ValueError), match=f"^{name}") as caught:
            nettrim.trim(result.original, np.ones((5, 4)), **options)
        assert "\n" not in str(caught.value)

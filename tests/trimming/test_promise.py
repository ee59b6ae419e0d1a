"""Promises: the boldest model of a path that passes, on samples that nothing else has looked at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

import nettrim
from nettrim import Network, Promise
from nettrim.demo import load_digits
from nettrim.results.recipe import format_snippet
from nettrim.trimming import keep_promise, path_search
from nettrim.trimming.path import Path as ModelPath
from support.networks import random_network, trim
from support.onnx_network import onnx_model

DIGITS = load_digits()
X, HELD_OUT, LABELS = DIGITS.X[:300], DIGITS.X_test[:300], DIGITS.labels_test[:300]


def keep(goal: Promise, held_out: np.ndarray = HELD_OUT, **options: Any) -> nettrim.TrimResult[Any]:
    with np.errstate(all="raise"):
        return trim(DIGITS.network, X, goal=goal, held_out=held_out, n_threads=1, **options)


def decisions(model: Network, samples: np.ndarray) -> np.ndarray:
    return model.predict(samples).argmax(axis=1)


@pytest.fixture(scope="module")
def result() -> nettrim.TrimResult[Any]:
    return keep(Promise(flips=0.08))


def test_what_is_promised_was_seen(result) -> None:
    promise = result.promise
    flips = np.sum(decisions(DIGITS.network, HELD_OUT) != decisions(result.model, HELD_OUT))
    assert promise.kept
    assert promise.seen * promise.n_samples == pytest.approx(flips)
    assert promise.p_value == pytest.approx(binom.cdf(flips, 300, 0.08))
    assert promise.p_value <= 0.05
    assert str(promise).startswith("With 95% confidence, at most 8% of future samples get another")


def test_models_are_tested_from_careful_to_bold_until_one_fails(result) -> None:
    models = result.promise.models
    assert [model.level for model in models] == sorted({model.level for model in models})
    assert all(model.passed == (model.p_value <= 0.05) for model in models)
    assert all(model.passed for model in models[:-1])
    chosen = [model for model in models if model.passed][-1]
    assert chosen.nonzeros == result.nonzeros_after
    assert result.sparsity == pytest.approx(chosen.level, abs=1e-4)


def test_no_model_is_trimmed_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    trimmed: list[str] = []
    for name in ("trim_to", "draft"):
        whole = getattr(ModelPath, name)

        def noted(*arguments: Any, whole: Any = whole, name: str = name, **options: Any) -> Any:
            trimmed.append(f"{name} {arguments[2]}")
            return whole(*arguments, **options)

        monkeypatch.setattr(ModelPath, name, noted)
    result = keep(Promise(flips=0.1))
    assert len(trimmed) == len(set(trimmed))
    assert len(trimmed) == len(result.promise.models) + len(result.promise.searched)


@pytest.mark.filterwarnings("ignore::nettrim.PromiseWarning")
def test_the_path_does_not_depend_on_held_out_samples(result) -> None:
    """Models are the same, whatever these are; only how far the tests go differs."""
    other = keep(Promise(flips=0.08), 0.8 * HELD_OUT)
    pairs = zip(result.promise.models, other.promise.models, strict=False)
    assert all(a.level == b.level for a, b in pairs)
    assert other.promise.searched == result.promise.searched


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"flips": 0.1, "path": "epsilon"}, "epsilon"),
        ({"flips": 0.1, "path": "units"}, "size"),
        ({"error": 0.4, "path": nettrim.Sparsity(0.8, share="layer")}, "sparsity"),
        ({"error": 0.5, "quantile": 0.9, "path": "epsilon"}, "epsilon"),
        ({"misses": 0.1, "labels": LABELS, "path": "epsilon"}, "epsilon"),
        ({"drop": 0.15, "labels": LABELS, "path": nettrim.Error(0.2, tol=1e-3)}, "epsilon"),
    ],
    ids=["epsilon", "units", "mean", "quantile", "misses", "drop"],
)
def test_all_that_can_be_promised(options: dict[str, Any], kind: str) -> None:
    result = keep(Promise(**options))
    promise = result.promise
    assert (promise.kept, promise.path) == (True, kind)
    assert promise.seen < promise.level
    assert result.converged
    assert (result.widths is not None) == (kind == "size")


@pytest.mark.filterwarnings("ignore::nettrim.LargeErrorWarning")
def test_an_unkept_promise_is_said_and_gives_the_most_careful_model(monkeypatch) -> None:
    monkeypatch.setattr(path_search.Search, "find", lambda *_: 0.006)
    with pytest.warns(nettrim.PromiseWarning, match="Nothing is promised") as told:
        result = keep(Promise(flips=0.05))
    (warning,) = (one for one in told if one.category is nettrim.PromiseWarning)
    promise = result.promise
    assert not promise.kept
    assert len(promise.models) == 1
    assert promise.models[0].level == pytest.approx(1 / (1 + 1.7 * 2.5 * 0.006))
    assert result.nonzeros_after == promise.models[0].nonzeros
    assert str(warning.message) == promise.sentence
    assert f"{promise.seen:.3g}"[:1] in promise.sentence


@pytest.mark.parametrize(("flips", "wary"), [(0.1, True), (0.2, False)])
def test_where_few_samples_judge_a_more_careful_model_is_tested_first(
    monkeypatch, flips: float, wary: bool
) -> None:
    monkeypatch.setattr(path_search.Search, "find", lambda *_: 10.0)
    models = keep(Promise(flips=flips, path="epsilon")).promise.models  # 75 samples judge
    found = nettrim.Error(0.1).with_care(10.0).epsilon
    step = nettrim.Error.tested[0] * (1.7 if wary else 1.0)
    assert models[0].level == pytest.approx(found / step)


def test_bolder_models_are_tested_for_as_long_as_they_pass(monkeypatch) -> None:
    monkeypatch.setattr(path_search.Search, "find", lambda *_: 10.0)
    models = keep(Promise(flips=0.1)).promise.models
    assert len(models) > len(nettrim.Sparsity.tested)
    assert not models[-1].passed
    assert len({model.level for model in models}) == len(models)


def test_a_drop_may_be_promised_if_every_flip_is_one() -> None:
    """The original is always right here, which the search cannot know."""
    answers = decisions(DIGITS.network, HELD_OUT)
    promise = keep(Promise(drop=0.0205, labels=answers)).promise
    assert promise.kept
    assert promise.seen < 0.0205


def test_a_promise_that_only_the_original_keeps_is_told(monkeypatch) -> None:
    monkeypatch.setattr(path_search.Search, "find", lambda *_: 1e5)
    monkeypatch.setattr(nettrim.Sparsity, "tested", (1.0,))
    monkeypatch.setattr(nettrim.Sparsity, "range_of_care", (1e5, 1e5))
    with pytest.warns(nettrim.PromiseWarning, match="no weight is gone"):
        result = keep(Promise(flips=0.05))
    assert result.promise.kept
    assert result.nonzeros_after == result.nonzeros_before


def test_a_path_may_begin_at_the_whole_model() -> None:
    promise = keep(Promise(flips=0.1, path=nettrim.Sparsity(0.0))).promise
    assert promise.kept
    assert 0 < promise.models[0].level < 1


def test_steps_are_as_fine_beside_the_whole_model_as_beside_none() -> None:
    cares = [1e-3, 1e3]
    shares = [nettrim.Sparsity(0.5).with_care(care).sparsity for care in cares]
    assert shares[0] == pytest.approx(1 - shares[1])
    assert [nettrim.Units(0.5).with_care(care).size for care in cares] == pytest.approx(
        [1e-3 / 1.001, 1e3 / 1001]
    )


@pytest.mark.filterwarnings("ignore::nettrim.LargeErrorWarning")
def test_a_promise_of_padded_texts() -> None:
    """Positions that count stand side by side there, not sample by sample."""
    torch = pytest.importorskip("torch")

    class Tagger(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = torch.nn.Embedding(500, 8)
            self.hidden, self.out = torch.nn.Linear(8, 12), torch.nn.Linear(12, 3)

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            return self.out(torch.relu(self.hidden(self.embedding(input_ids))))

    def texts(rng: np.random.Generator, count: int) -> dict[str, Any]:
        lengths = rng.integers(2, 6, (count, 1))
        mask = (np.arange(5) < lengths).astype(np.int64)
        return {
            "input_ids": torch.tensor(rng.integers(0, 500, (count, 5))),
            "attention_mask": torch.tensor(mask),
        }

    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    result = trim(Tagger().eval(), texts(rng, 60), held_out=texts(rng, 200), flips=0.3)
    assert result.promise.kept
    assert 0 < result.promise.seen < 0.3


def made_with(framework: str, network: Network) -> Any:
    """The network as a model of a framework."""
    pytest.importorskip(framework)
    if framework == "onnx":
        return onnx_model(network)
    pairs = [(layer.weights, layer.bias) for layer in network.layers]
    if framework == "sklearn":
        from sklearn.neural_network import MLPClassifier

        rng = np.random.default_rng(0)
        model = MLPClassifier((10,), max_iter=1)
        model.partial_fit(rng.standard_normal((20, 12)), np.arange(20) % 4, classes=np.arange(4))
        model.coefs_, model.intercepts_ = ([pair[k] for pair in pairs] for k in (0, 1))
        return model
    import torch
    from torch import nn

    module = nn.Sequential(nn.Linear(12, 10), nn.ReLU(), nn.Linear(10, 4))
    with torch.no_grad():
        for linear, (weights, bias) in zip((module[0], module[2]), pairs, strict=True):
            linear.weight.copy_(torch.tensor(weights.T))
            linear.bias.copy_(torch.tensor(bias))
    return module


@pytest.mark.filterwarnings("ignore::nettrim.LargeErrorWarning")
@pytest.mark.parametrize(
    ("framework", "path"),
    [("sklearn", "sparsity"), ("torch", "epsilon"), ("onnx", "units"), ("onnx", "epsilon")],
)
def test_models_of_all_frameworks(rng: np.random.Generator, framework: str, path: str) -> None:
    """The same is promised of the same network."""
    network, data = random_network(rng, 12, 10, 4), rng.standard_normal((200, 12))
    data = data.astype(np.float32)
    options = {"flips": 0.3, "path": path, "held_out": data[100:], "n_threads": 1}
    own, other = (
        trim(model, data[:100], **options) for model in (network, made_with(framework, network))
    )
    assert other.promise.kept
    assert type(other.model) is type(other.original)
    assert [m.level for m in own.promise.models] == [m.level for m in other.promise.models]
    assert own.promise.seen == pytest.approx(other.promise.seen, abs=0.02)


# --- refused -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "held_out", "words"),
    [
        ({"flips": 0.05}, None, "held_out is needed"),
        ({"flips": 0.05}, HELD_OUT[:50], "held_out has 50 samples; .* at least 59"),
        ({"flips": 0.05}, np.concatenate([HELD_OUT, X[:7]]), "held_out: 7 of its 307 samples"),
        ({"misses": 0.05, "labels": LABELS[:9]}, HELD_OUT, "labels must be one for each"),
    ],
    ids=["none", "few", "copies", "labels"],
)
def test_what_is_refused_before_any_work(monkeypatch, options, held_out, words) -> None:
    monkeypatch.setattr(path_search.Search, "find", None)
    with pytest.raises(ValueError, match=words):
        keep(Promise(**options), held_out)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "exactly one of flips, misses, drop, error"),
        ({"flips": 0.1, "error": 0.1}, "exactly one"),
        ({"flips": 1.5}, "flips"),
        ({"flips": 0.1, "quantile": 0.9}, "quantile"),
        ({"flips": 0.1, "labels": LABELS}, "labels"),
        ({"misses": 0.1}, "labels are needed"),
        ({"flips": 0.1, "confidence": 1}, "confidence"),
        ({"flips": 0.1, "path": "magnitude"}, "path must be"),
    ],
)
def test_options_that_make_no_promise(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Promise(**options)


def test_a_single_output_does_not_flip(rng: np.random.Generator) -> None:
    network, data = random_network(rng, 6, 5, 1), rng.standard_normal((80, 6))
    with pytest.raises(ValueError, match="flips: a single output decides nothing"):
        trim(network, data[:40], flips=0.2, held_out=data[40:])
    promise = {"error": 0.9, "quantile": 0.7, "path": "epsilon"}
    assert trim(network, data[:40], held_out=data[40:], **promise).promise.kept


# --- ends, folders, files ------------------------------------------------------------------------


def interrupted_after(count: int, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    whole, calls = getattr(ModelPath, name), iter(range(100))

    def stop(*arguments: Any, **options: Any) -> Any:
        walk = whole(*arguments, **options)
        walk.interrupted = next(calls) >= count
        return walk

    monkeypatch.setattr(ModelPath, name, stop)


def test_an_interrupt_keeps_the_last_model_that_passed(result, monkeypatch) -> None:
    interrupted_after(1, monkeypatch, "trim_to")
    stopped = keep(Promise(flips=0.08))
    assert stopped.interrupted
    assert stopped.promise.kept
    assert stopped.promise.models == result.promise.models[:1]


def test_an_interrupt_of_a_test_keeps_the_last_model_that_passed(result, monkeypatch) -> None:
    whole, calls = keep_promise.run_on_held_out, iter(range(100))

    def stop(*arguments: Any) -> Any:
        if next(calls) == 2:  # after the original model and one of the path
            raise KeyboardInterrupt
        return whole(*arguments)

    monkeypatch.setattr(keep_promise, "run_on_held_out", stop)
    stopped = keep(Promise(flips=0.08))
    assert stopped.interrupted
    assert stopped.promise.kept
    assert stopped.promise.models == result.promise.models[:1]


@pytest.mark.filterwarnings("ignore::nettrim.PromiseWarning")
def test_an_interrupt_of_the_search_leaves_the_model_as_it_was(monkeypatch) -> None:
    interrupted_after(0, monkeypatch, "draft")
    stopped = keep(Promise(flips=0.08))
    assert stopped.interrupted
    assert not stopped.promise.kept
    assert stopped.nonzeros_after == stopped.nonzeros_before
    assert "no model was tested" in str(stopped)


@pytest.mark.parametrize("path", ["sparsity", "epsilon"])
def test_a_run_that_is_taken_up_again_gives_the_same_bits(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    goal = Promise(flips=0.1, path=path)
    with monkeypatch.context() as patched:
        interrupted_after(1, patched, "trim_to")
        keep(goal, checkpoint=tmp_path)
    kept = sorted(folder.name for folder in tmp_path.iterdir())
    assert len(kept) == 2
    assert all(name.startswith(f"{path} ") for name in kept)
    resumed = keep(goal, checkpoint=tmp_path)
    whole = keep(goal, checkpoint=tmp_path / "other")
    for one, other in zip(resumed.model.layers, whole.model.layers, strict=True):
        np.testing.assert_array_equal(one.weights, other.weights)
    assert resumed.promise == whole.promise


def test_the_recipe_repeats_it(result) -> None:
    namespace = {"model": DIGITS.network, "X": X, "held_out": HELD_OUT}
    code = format_snippet(result.recipe).replace("seed=", "progress=False, seed=")
    exec(code, namespace)  # noqa: S102 (of the package itself)
    again = namespace["result"]
    assert again.promise == result.promise
    assert again.nonzeros_after == result.nonzeros_after


def test_table_and_page_say_it(result, tmp_path: Path) -> None:
    assert result.promise.sentence in str(result)
    assert result.unseen is None  # of a model that was not chosen by the same samples
    result.report(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert result.promise.sentence in page
    assert page.count(">passed<") + page.count(">failed<") == len(result.promise.models)


@pytest.mark.parametrize("goal", [nettrim.Sparsity(0.5), nettrim.Error(0.1), nettrim.Units(0.5)])
def test_a_path_goes_from_careful_to_bold(goal) -> None:
    least, most = goal.range_of_care
    assert least < goal.care < most
    assert list(goal.tested) == sorted(set(goal.tested), reverse=True)
    assert goal.with_care(goal.care) == goal


@pytest.mark.filterwarnings("ignore::nettrim.LargeErrorWarning")
@pytest.mark.parametrize("promise", ["misses", "drop"])
def test_right_answers_of_a_single_output(rng: np.random.Generator, promise: str) -> None:
    network, data = random_network(rng, 6, 5, 1), rng.standard_normal((160, 6))
    before = network.predict(data[60:])[:, 0] > 0
    options: dict[str, Any] = {promise: 0.4, "labels": before.astype(int), "path": "epsilon"}
    result = trim(network, data[:60], held_out=data[60:], **options)
    after = result.model.predict(data[60:])[:, 0] > 0
    assert result.promise.kept
    assert result.promise.seen == pytest.approx(np.mean(before != after))


@pytest.mark.filterwarnings("ignore::nettrim.LargeErrorWarning")
def test_small_logits_of_one_class_are_no_probabilities(rng: np.random.Generator) -> None:
    """As the calibration samples show, whose logits are negative, too."""
    network, data = random_network(rng, 6, 5, 1), rng.standard_normal((900, 6))
    logits = network.predict(data)[:, 0]
    held_out = data[300:][(logits[300:] > 0) & (logits[300:] < 1)]
    labels = np.ones(len(held_out), int)
    result = trim(network, data[:300], held_out=held_out, misses=0.3, labels=labels)
    after = result.model.predict(held_out)[:, 0] > 0
    assert len(held_out) > 50
    assert result.promise.seen == pytest.approx(np.mean(~after))


@pytest.mark.filterwarnings("ignore::nettrim.LargeErrorWarning")
def test_labels_are_those_of_accuracy() -> None:
    """Of a classifier of scikit-learn, names of classes; not all of them in order, or text."""
    neural = pytest.importorskip("sklearn.neural_network")
    rng = np.random.default_rng(0)
    data, names = rng.standard_normal((260, 5)), np.array(["ant", "bee", "cat"])
    labels = names[(data @ rng.standard_normal((5, 3))).argmax(axis=1)]
    model = neural.MLPClassifier((8,), solver="lbfgs", max_iter=60, random_state=0)
    model.fit(data[:60], labels[:60])
    held_out, right = data[60:], labels[60:]
    for answers in (right, right.tolist(), right[:, None]):
        result = trim(model, data[:60], misses=0.4, labels=answers, held_out=held_out)
        before, after = (own.predict(held_out) == right for own in (model, result.model))
        assert result.promise.seen == pytest.approx(np.mean(before & ~after))
    for wrong in (["dog"] * 200, [None] * 200, np.zeros(200, int)):
        with pytest.raises(ValueError, match=r"^labels must be among the classes of the model"):
            trim(model, data[:60], misses=0.4, labels=wrong, held_out=held_out)


@pytest.mark.filterwarnings("ignore::nettrim.LargeErrorWarning")
@pytest.mark.parametrize("n_labels", [1, 3])
def test_answers_of_classifiers_with_two_sides(n_labels: int) -> None:
    """A classifier of two classes, or of several labels, answers by signs."""
    neural = pytest.importorskip("sklearn.neural_network")
    rng = np.random.default_rng(0)
    data = rng.standard_normal((300, 5))
    labels = (data[:, :n_labels] + data[:, -1:] > 0).astype(int)
    model = neural.MLPClassifier((8,), solver="lbfgs", tol=1e-2, max_iter=999, random_state=0)
    model.fit(data[:100], labels[:100] if n_labels > 1 else labels[:100, 0])
    held_out = data[100:]
    options = {"held_out": held_out, "n_threads": 1}
    for result, seen in (
        (promised := trim(model, data[:100], flips=0.3, **options), promised.promise.seen),
        (plain := trim(model, data[:100], sparsity=0.5, **options), plain.unseen.flips / 200),
    ):
        before, after = (own.predict(held_out).reshape(200, -1) for own in (model, result.model))
        assert seen == pytest.approx(np.mean((before != after).any(axis=1)))


def test_a_regressor_does_not_flip(rng: np.random.Generator) -> None:
    neural = pytest.importorskip("sklearn.neural_network")
    data = rng.standard_normal((160, 4))
    model = neural.MLPRegressor(hidden_layer_sizes=(6,), solver="lbfgs", tol=1e-2, max_iter=999)
    model.fit(data, data[:, :3])
    with pytest.raises(ValueError, match="flips: a regressor decides nothing"):
        trim(model, data[:80], flips=0.2, held_out=data[80:])


def test_labels_of_shuffled_samples_are_refused(monkeypatch) -> None:
    """Whoever shuffles has labels of other samples than those that are read."""
    torch = pytest.importorskip("torch")
    model = made_with("torch", random_network(np.random.default_rng(0), 12, 10, 4))
    data = torch.randn(200, 12, generator=torch.Generator().manual_seed(0))
    labels = model(data[100:]).argmax(dim=1)
    known = torch.utils.data.TensorDataset(data[100:], labels)
    options = {"misses": 0.3, "labels": labels, "path": "epsilon", "n_threads": 1}
    ordered = torch.utils.data.DataLoader(known, 20)
    plain = trim(model, data[:100], held_out=ordered, **options)
    assert plain.promise.kept
    assert plain.accuracy(ordered, labels).before == 1
    random = torch.utils.data.SubsetRandomSampler(range(100))
    batches = torch.utils.data.BatchSampler(random, 20, drop_last=False)
    for loader in (
        torch.utils.data.DataLoader(known, 20, shuffle=True),
        torch.utils.data.DataLoader(known, batch_sampler=batches),
    ):
        with pytest.raises(ValueError, match=r"^labels: held_out is a loader that shuffles"):
            trim(model, data[:100], held_out=loader, **options)
        with pytest.raises(ValueError, match=r"^labels: X is a loader that shuffles"):
            plain.accuracy(loader, labels)
        with pytest.raises(ValueError, match=r"^labels: held_out is a loader that shuffles"):
            nettrim.trace_network(model, data[:100], held_out=loader, labels=labels)


def test_one_sample_cannot_be_set_aside(rng: np.random.Generator) -> None:
    network, data = random_network(rng, 6, 5, 3), rng.standard_normal((80, 6))
    with pytest.raises(ValueError, match=r"^X has one sample"):
        trim(network, data[:1], flips=0.2, held_out=data[1:])


def test_a_recipe_names_labels_as_an_argument() -> None:
    held_out, labels = HELD_OUT, LABELS
    recipe = keep(Promise(misses=0.2, labels=labels), held_out).recipe
    assert "labels=labels, " in format_snippet(recipe)

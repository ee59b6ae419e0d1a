"""scikit-learn's perceptrons: the answers of the network they compute, and the same type back."""

from __future__ import annotations

import numpy as np
import pytest

import nettrim

pytest.importorskip("sklearn")
import scipy.sparse
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

pytestmark = pytest.mark.filterwarnings("ignore:Stochastic Optimizer")


@pytest.fixture(scope="module")
def digits():
    data = load_digits()
    return data.data / 16.0, data.target


@pytest.fixture(scope="module")
def classifier(digits):
    return MLPClassifier([24, 16], max_iter=60, random_state=0).fit(*digits)


def as_network(model) -> nettrim.Network:
    pairs = list(zip(model.coefs_, model.intercepts_, strict=True))
    return nettrim.Network(
        [*(nettrim.Dense(*pair) for pair in pairs[:-1]), nettrim.Dense(*pairs[-1], "linear")]
    )


@pytest.mark.parametrize("scheme", ["cascade", "parallel"])
def test_a_classifier_gets_the_weights_of_its_network(classifier, digits, scheme) -> None:
    X = digits[0][:300]
    options = {"epsilon": 0.1, "scheme": scheme, "progress": False}
    result = nettrim.trim(classifier, X, **options)
    expected = nettrim.trim(as_network(classifier), X, **options)
    assert type(result.model) is MLPClassifier
    for ours, layer in zip(result.model.coefs_, expected.model.layers, strict=True):
        np.testing.assert_array_equal(ours, layer.weights)
    assert result.discrepancy == expected.discrepancy <= result.bound
    assert result.sparsity > 0.3


def test_a_trimmed_classifier_still_classifies(classifier, digits) -> None:
    X, labels = digits
    before = [c.copy() for c in classifier.coefs_]
    model = nettrim.trim(classifier, X[:600], epsilon=0.05, progress=False).model
    assert model.score(X, labels) > classifier.score(X, labels) - 0.02
    assert model.get_params() == classifier.get_params()
    for kept, original in zip(classifier.coefs_, before, strict=True):
        np.testing.assert_array_equal(kept, original)


def test_a_regressor(rng) -> None:
    X = rng.standard_normal((400, 6)).astype(np.float32)
    y = np.sin(X[:, 0]) + X[:, 1] * X[:, 2]
    model = MLPRegressor(hidden_layer_sizes=[20], max_iter=100, random_state=0).fit(X, y)
    result = nettrim.trim(model, X, epsilon=0.05, progress=False)
    assert type(result.model) is MLPRegressor
    assert result.model.coefs_[0].dtype == model.coefs_[0].dtype
    change = np.linalg.norm(result.model.predict(X) - model.predict(X))
    assert change / np.linalg.norm(model.predict(X)) <= result.bound * (1 + 1e-5)


def test_what_is_no_fitted_perceptron_of_relus_is_refused() -> None:
    X = np.ones((3, 2))
    for model, error, message in (
        (LogisticRegression(), TypeError, "^model must be an MLPClassifier"),
        (
            make_pipeline(StandardScaler(), LogisticRegression()),
            TypeError,
            "^model must be an MLPClassifier .* got LogisticRegression at the end of its Pipeline",
        ),
        (make_pipeline(MLPClassifier(), StandardScaler()), TypeError, "^model .* StandardScaler"),
        (make_pipeline(StandardScaler(), MLPClassifier()), ValueError, "^model is not fitted"),
        (make_pipeline(MLPClassifier(), "passthrough"), TypeError, "^model must be"),
        (
            GridSearchCV(MLPClassifier(), {}),
            ValueError,
            "^model is not fitted: GridSearchCV has no",
        ),
        (
            make_pipeline(StandardScaler(), TransformedTargetRegressor(MLPRegressor())),
            ValueError,
            "^model is not fitted: TransformedTargetRegressor",
        ),
        (MLPClassifier(activation="tanh"), ValueError, "^model must have activation='relu'"),
        (MLPClassifier(), ValueError, "^model is not fitted"),
    ):
        with pytest.raises(error, match=message):
            nettrim.trim(model, X, epsilon=0.1, progress=False)


# --- pipelines and searches ---------------------------------------------------------------------


def small_mlp() -> MLPClassifier:
    return MLPClassifier([12], max_iter=40, random_state=0)


GRID = {"alpha": [1e-4, 1e-2]}
NESTINGS = {
    "pipeline": lambda: make_pipeline(StandardScaler(), "passthrough", small_mlp()),
    "bare": lambda: make_pipeline(small_mlp()),
    "pipelines": lambda: make_pipeline(
        StandardScaler(), make_pipeline(StandardScaler(with_mean=False), small_mlp())
    ),
    "grid": lambda: GridSearchCV(small_mlp(), GRID, cv=2),
    "grid of pipelines": lambda: GridSearchCV(
        make_pipeline(StandardScaler(), small_mlp()), {"mlpclassifier__alpha": [1e-3]}, cv=2
    ),
    "pipeline to a search": lambda: make_pipeline(
        StandardScaler(), RandomizedSearchCV(small_mlp(), GRID, n_iter=1, cv=2, random_state=0)
    ),
}


def mlp_in(model):
    """The perceptron that answers, and whether it is the model itself or inside."""
    while not isinstance(model, MLPClassifier):
        model = model[-1] if isinstance(model, Pipeline) else model.best_estimator_
    return model


def transformed(model, X):
    """What the perceptron sees."""
    if isinstance(model, Pipeline):
        for step in model[:-1] if len(model) > 1 else []:
            X = X if isinstance(step, str) else step.transform(X)
        return transformed(model[-1], X)
    return X if isinstance(model, MLPClassifier) else transformed(model.best_estimator_, X)


@pytest.mark.parametrize("nesting", NESTINGS)
def test_the_perceptron_at_the_end_is_trimmed_on_what_it_sees(nesting, rng) -> None:
    X = 3 * rng.standard_normal((300, 8)) + 5
    labels = np.where(X[:, 0] * X[:, 1] > 25, "above", "below")
    model = NESTINGS[nesting]().fit(X[:200], labels[:200])
    before = [c.copy() for c in mlp_in(model).coefs_]
    options = {"epsilon": 0.05, "progress": False, "n_threads": 1}
    result = nettrim.trim(model, X[:200], held_out=X[200:], **options)
    expected = nettrim.trim(mlp_in(model), transformed(model, X[:200]), **options)
    assert type(result.model) is type(model)
    for ours, own in zip(mlp_in(result.model).coefs_, mlp_in(expected.model).coefs_, strict=True):
        np.testing.assert_array_equal(ours, own)
    assert result.discrepancy == expected.discrepancy <= result.bound
    for kept, original in zip(mlp_in(model).coefs_, before, strict=True):
        np.testing.assert_array_equal(kept, original)
    probabilities = [m.predict_proba(X[200:])[:, 1] for m in (model, result.model)]
    logits = [np.log(p / (1 - p)) for p in probabilities]
    change = np.linalg.norm(logits[1] - logits[0]) / np.linalg.norm(logits[0])
    assert change == pytest.approx(result.held_out_discrepancy, rel=1e-6)
    accuracy = result.accuracy(X[200:], labels[200:])
    assert accuracy.before == (model.predict(X[200:]) == labels[200:]).mean()
    assert accuracy.after == (result.model.predict(X[200:]) == labels[200:]).mean()
    assert clone(result.model).get_params().keys() == model.get_params().keys()


def test_a_pipeline_is_exported_and_reported(rng, tmp_path) -> None:
    X = rng.standard_normal((100, 5))
    model = NESTINGS["pipeline"]().fit(X, X[:, 0] > 0)
    result = nettrim.trim(model, X, epsilon=0.1, progress=False)
    result.report(tmp_path / "trim.html")
    shipped = result.export(tmp_path / "out", formats=["dense"])
    network = nettrim.Network.load(tmp_path / "out" / "model.npz")
    positive = network.predict(transformed(model, X))[:, 0] > 0
    np.testing.assert_array_equal(positive, result.model.predict(X))
    assert "Pipeline" in str(shipped)


def test_regressors_of_transformed_targets(rng) -> None:
    X = rng.standard_normal((300, 4))
    y = np.exp(X[:, 0] + np.abs(X[:, 1]))
    inner = make_pipeline(
        StandardScaler(), MLPRegressor(hidden_layer_sizes=[16], max_iter=200, random_state=0)
    )
    model = TransformedTargetRegressor(inner, func=np.log, inverse_func=np.exp).fit(X, y)
    result = nettrim.trim(model, X, epsilon=0.05, progress=False)
    logs = [np.log(m.predict(X)) for m in (model, result.model)]
    change = np.linalg.norm(logs[1] - logs[0]) / np.linalg.norm(logs[0])
    assert change == pytest.approx(result.discrepancy, rel=1e-6)
    with pytest.raises(TypeError, match=r"^accuracy is of classifiers"):
        result.accuracy(X, y)


# --- data and weights of other kinds ------------------------------------------------------------


@pytest.mark.parametrize("kind", ["csr_matrix", "csr_array", "csc_matrix"])
def test_sparse_data_are_read(classifier, digits, kind) -> None:
    X = digits[0][:200]
    sparse = getattr(scipy.sparse, kind)(X)
    one, other = (nettrim.trim(classifier, D, epsilon=0.1, progress=False) for D in (X, sparse))
    for a, b in zip(one.model.coefs_, other.model.coefs_, strict=True):
        np.testing.assert_array_equal(a, b)
    assert one.accuracy(X, digits[1][:200]) == other.accuracy(sparse, digits[1][:200])


@pytest.mark.parametrize("dtype", [[("a", "i4")], [("a", "i4"), ("b", "f8")], "V8"])
def test_labels_of_several_fields_are_refused_by_name(classifier, digits, dtype) -> None:
    result = nettrim.trim(classifier, digits[0][:100], epsilon=0.1, progress=False)
    with pytest.raises(TypeError, match=r"^labels must be names of classes, got dtype"):
        result.accuracy(digits[0][:100], np.zeros(100, dtype))


def test_sparse_data_inside_a_pipeline_are_read(rng) -> None:
    X = rng.choice(["red", "green", "blue"], (200, 3))
    model = make_pipeline(OneHotEncoder(), small_mlp()).fit(X, X[:, 0] == X[:, 1])
    result = nettrim.trim(model, X, epsilon=0.1, progress=False)
    assert result.layers[0].shape == (9, 12)
    assert result.discrepancy <= result.bound


def test_frames_are_read_by_their_names(rng) -> None:
    pandas = pytest.importorskip("pandas")
    X = pandas.DataFrame(rng.standard_normal((100, 3)), columns=["a", "b", "c"])
    model = small_mlp().fit(X, X["a"] > X["b"])
    result = nettrim.trim(model, X, epsilon=0.1, progress=False)
    assert result.accuracy(X, X["a"] > X["b"]).before == model.score(X, X["a"] > X["b"])
    with pytest.raises(
        ValueError, match=r"^X must be data that model.predict takes, .*feature names"
    ):
        nettrim.trim(model, X[["b", "a", "c"]], epsilon=0.1, progress=False)


def test_what_does_not_fit_is_told_by_the_argument(classifier, digits) -> None:
    X = digits[0][:50]
    holes = X.copy()
    holes[20, 3] = np.nan
    for data, words in [(X[:, :5], "5 features"), (X[0], "1D array"), (holes, "NaN"), (None, ".")]:
        with pytest.raises((TypeError, ValueError), match=f"^X .*{words}"):
            nettrim.trim(classifier, data, epsilon=0.1, progress=False)
    masked = np.ma.masked_array(X, mask=X > 0.9)
    for model in (
        classifier,
        make_pipeline(StandardScaler(), clone(classifier)).fit(X, digits[1][:50]),
    ):
        with pytest.raises(ValueError, match=r"^X has masked entries"):
            nettrim.trim(model, masked, epsilon=0.1, progress=False)
    with pytest.raises(ValueError, match=r"^held_out .*5 features"):
        nettrim.trim(classifier, X, held_out=X[:, :5], epsilon=0.1, progress=False)


@pytest.mark.parametrize("kind", ["csr_matrix", "csr_array", "csc_matrix"])
def test_sparse_weights_are_read_and_stay_sparse(classifier, digits, kind) -> None:
    X, labels = digits[0][:200], digits[1][:200]
    trimmed = nettrim.trim(classifier, X, epsilon=0.1, progress=False).model
    held = nettrim.trim(classifier, X, epsilon=0.1, progress=False).model
    held.coefs_ = [getattr(scipy.sparse, kind)(array) for array in held.coefs_]
    expected = nettrim.trim(trimmed, X, epsilon=0.1, progress=False)
    result = nettrim.trim(held, X, epsilon=0.1, progress=False)
    for ours, own in zip(result.model.coefs_, expected.model.coefs_, strict=True):
        assert type(ours) is getattr(scipy.sparse, kind)
        np.testing.assert_array_equal(ours.toarray(), own)
    assert result.accuracy(X, labels) == expected.accuracy(X, labels)


# --- accuracy -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["two numbers", "truth", "far numbers", "names", "three names", "floats", "several labels"],
)
def test_accuracy_is_what_the_classifier_itself_says(rng, name) -> None:
    X = rng.standard_normal((200, 6))
    above = X[:, 0] > 0
    labels = {
        "two numbers": above.astype(int),
        "truth": above,
        "far numbers": np.where(above, 10**6, -7),
        "names": np.where(above, "cat", "dog"),
        "three names": np.array(["a", "b", "c"])[np.digitize(X[:, 0], [-0.5, 0.5])],
        "floats": np.where(above, 0.5, 1.5).astype(str),
        "several labels": np.column_stack([above, X[:, 1] > 0, X[:, 2] > 1]).astype(int),
    }[name]
    model = small_mlp().fit(X[:150], labels[:150])
    result = nettrim.trim(model, X[:150], epsilon=0.1, progress=False)
    accuracy = result.accuracy(X[150:], labels[150:])
    assert accuracy.before == model.score(X[150:], labels[150:])
    assert accuracy.after == result.model.score(X[150:], labels[150:])
    assert accuracy.n_samples == 50
    assert result.accuracy(X[150:], labels[150:].tolist()) == accuracy
    with pytest.raises(ValueError, match=r"^labels must be one for each of the 50 samples"):
        result.accuracy(X[150:], labels[:150])
    with pytest.raises(ValueError, match=r"^labels must be among the classes"):
        result.accuracy(X[150:], np.full_like(labels[150:].astype("<U9"), "other"))


def test_accuracy_is_of_classifiers(rng) -> None:
    X = rng.standard_normal((100, 3))
    model = MLPRegressor(hidden_layer_sizes=[6], max_iter=50, random_state=0).fit(X, X[:, 0])
    result = nettrim.trim(model, X, epsilon=0.1, progress=False)
    with pytest.raises(TypeError, match=r"^accuracy is of classifiers, model is a MLPRegressor"):
        result.accuracy(X, X[:, 0])


@pytest.mark.parametrize("squash", [False, True])
def test_a_single_output_is_a_logit_or_a_probability(rng, squash) -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    parts = [torch.nn.Linear(5, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1)]
    module = torch.nn.Sequential(*parts, *([torch.nn.Sigmoid()] if squash else []))
    X = rng.standard_normal((100, 5)).astype(np.float32)
    result = nettrim.trim(module, X, epsilon=0.1, progress=False)
    for labels in (X[:, 0] > 0, (X[:, 0] > 0).astype(int), (X[:, :1] > 0).astype(np.uint8)):
        accuracy = result.accuracy(X, labels)
        for share, m in zip(accuracy, (module, result.model), strict=False):
            logits = torch.nn.Sequential(*list(m)[:3])(torch.from_numpy(X)).detach().numpy()
            assert share == ((logits > 0)[:, 0] == (X[:, 0] > 0)).mean()
    with pytest.raises(ValueError, match="labels must be 0 or 1"):
        result.accuracy(X, np.full(100, 2))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X", np.float64(3)),
        ("X", np.zeros((5, 0))),
        ("X", np.zeros((5, 64), "M8[s]")),
        ("X", np.zeros((5, 64), complex)),
        ("labels", [1, [2, 3]]),
        ("labels", np.full(5, 0.5)),
        ("labels", np.full(5, "2020-01-01", "M8[D]")),
    ],
)
def test_an_accuracy_that_cannot_be_names_its_argument(classifier, digits, name, value) -> None:
    X = digits[0][:300]
    result = nettrim.trim(classifier, X, epsilon=0.05, n_threads=1, progress=False)
    arguments = {"X": X[:5], "labels": digits[1][:5], name: value}
    with pytest.raises((TypeError, ValueError), match=rf"^{name}\b") as caught:
        result.accuracy(**arguments)
    assert "\n" not in str(caught.value)

"""What calibration data of PyTorch may look like: names, positions, batches, masks, labels."""

from __future__ import annotations

import warnings
from collections import UserDict
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from nettrim import CalibrationWarning
from nettrim.models.model_view import as_view
from nettrim.models.samples import Samples
from support.libraries import import_transformers
from support.networks import trim

torch = pytest.importorskip("torch")
nn = torch.nn

from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

N = 11


class Two(nn.Module):
    """Tokens and a mask, with an optional scale and a flag."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.hidden, self.last = (
            nn.Embedding(7, 4),
            nn.Linear(4, 6),
            nn.Linear(6, 2),
        )

    def forward(self, ids: Any, mask: Any = None, *, scale: Any = None) -> Any:
        x = self.hidden(self.embedding(ids)).relu()
        if mask is not None:
            x = x.masked_fill(~mask[..., None], 0.0)
        return self.last(x if scale is None else scale * x)


class Sum(nn.Module):
    """Two inputs that are both required."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = nn.Linear(3, 2), nn.Linear(4, 2)

    def forward(self, a: Any, b: Any) -> Any:
        return self.one(a) + self.other(b)


IDS = torch.arange(5 * N).reshape(N, 5) % 7
MASK = torch.arange(5) < 1 + torch.arange(N)[:, None] % 5
A, B = torch.linspace(-1, 1, 3 * N).reshape(N, 3), torch.linspace(2, -2, 4 * N).reshape(N, 4)


class Records(Dataset[Any]):
    def __init__(self, item: Callable[[int], Any]) -> None:
        self.item = item

    def __len__(self) -> int:
        return N

    def __getitem__(self, k: int) -> Any:
        return self.item(k)


class Stream(IterableDataset[Any]):
    def __init__(self, item: Callable[[int], Any]) -> None:
        self.item = item

    def __iter__(self) -> Iterator[Any]:
        return map(self.item, range(N))


def record(k: int) -> dict[str, Any]:
    return {"ids": IDS[k], "mask": MASK[k], "label": k}


NAMED = {"ids": IDS, "mask": MASK}


@pytest.mark.parametrize(
    "values",
    [
        NAMED,
        UserDict(NAMED),
        {**NAMED, "labels": torch.zeros(N), "scale": None},
        {"ids": IDS.numpy(), "mask": MASK.tolist()},
        (IDS, MASK),
        [(IDS[:4], MASK[:4]), (IDS[4:], MASK[4:])],
        Records(record),
        Stream(record),
        DataLoader(Records(record), batch_size=3),
        DataLoader(Stream(record), batch_size=4),
        DataLoader(Records(lambda k: (record(k), k)), batch_size=2),  # labels come second
        [{k: v[:6] for k, v in NAMED.items()}, {k: v[6:] for k, v in NAMED.items()}],
        ((IDS,), {"mask": MASK}),
        ([], {**NAMED, "labels": torch.zeros(N)}),
        [[(IDS[:4],), {"mask": MASK[:4]}], [(IDS[4:],), {"mask": MASK[4:]}]],
        DataLoader(Records(lambda k: ((IDS[k],), {"mask": MASK[k]})), batch_size=4),
        Records(lambda k: {"ids": IDS[k].tolist(), "mask": MASK[k].tolist(), "text": "..."}),
    ],
    ids=lambda values: type(values).__name__,
)
def test_tokens_and_their_mask(values: Any) -> None:
    view = as_view(Two().eval())
    if isinstance(values, list) and isinstance(values[0], tuple):
        values = [({"ids": ids, "mask": mask}, torch.zeros(len(ids))) for ids, mask in values]
    data = view.calibration(values, "X")  # type: ignore[attr-defined]
    assert isinstance(data, Samples)
    assert len(data) == N
    assert {name: array.dtype.kind for name, array in data.arrays.items()} == {
        "ids": "i",
        "mask": "b",
    }
    np.testing.assert_array_equal(data.arrays["ids"], IDS)
    np.testing.assert_array_equal(data.arrays["mask"], MASK)
    *_, end = view.signals(data, {})
    with torch.no_grad():
        wanted = view.model(IDS, MASK)  # type: ignore[attr-defined]
    np.testing.assert_allclose(end.values, wanted, rtol=1e-5, atol=1e-6)
    (seen,) = view.run(view.model, data)  # type: ignore[attr-defined]
    np.testing.assert_array_equal(seen, wanted.double())


@pytest.mark.parametrize(
    "values",
    [
        (A, B),
        {"b": B, "a": A},
        TensorDataset(A, B, torch.zeros(N)),
        DataLoader(TensorDataset(A, B), batch_size=4),
        [(A[:2], B[:2]), (A[2:], B[2:])],
        DataLoader(Records(lambda k: ((A[k], B[k]), 1)), batch_size=5),
    ],
)
def test_two_inputs_are_taken_where_two_are_required(values: Any) -> None:
    view = as_view(Sum())
    data = view.calibration(values, "X")  # type: ignore[attr-defined]
    assert isinstance(data, Samples)
    np.testing.assert_array_equal(data.arrays["a"], A.double())
    np.testing.assert_array_equal(data.arrays["b"], B.double())
    result = trim(Sum(), values, epsilon=0.1)
    assert result.discrepancy <= result.bound


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize(
    "pack", [lambda x: x, lambda x: (x,), lambda x: [x[:4], x[4:]], TensorDataset]
)
def test_one_input_without_a_name_is_an_array(dtype: Any, pack: Callable[[Any], Any]) -> None:
    X = A.to(dtype)
    data = as_view(nn.Sequential(nn.Linear(3, 2))).calibration(pack(X), "X")  # type: ignore[attr-defined]
    assert data.dtype == np.float64
    np.testing.assert_array_equal(data, X.double())


SHORT = {"ids": IDS[:2, :3], "mask": MASK[:2, :3]}


@pytest.mark.parametrize(
    "values",
    [
        [SHORT, NAMED],
        [((), SHORT), ((IDS,), {"mask": MASK})],
        DataLoader([SHORT, NAMED], batch_size=None),  # type: ignore[arg-type]
        Records(
            lambda k: {name: x[k - 2] if k > 1 else SHORT[name][k] for name, x in NAMED.items()}
        ),
    ],
    ids=["list", "calls", "loader", "data set"],
)
def test_batches_are_padded_to_the_longest(values: Any) -> None:
    data = as_view(Two().eval()).calibration(values, "X")  # type: ignore[attr-defined]
    for name, array in NAMED.items():
        first, others = np.split(data.arrays[name], [2])
        np.testing.assert_array_equal(first[:, :3], SHORT[name])
        assert not first[:, 3:].any()
        np.testing.assert_array_equal(others, array[: len(others)])


def test_labels_that_are_named_are_no_inputs() -> None:
    """The second of a pair holds what forward takes, or labels."""
    batches = [((IDS,), {"boxes": torch.zeros(N)})]
    data = as_view(Two()).calibration(batches, "X")  # type: ignore[attr-defined]
    np.testing.assert_array_equal(data, IDS)


def test_labels_of_a_loader_are_no_inputs() -> None:
    """The optional second argument is not what comes second in a batch."""
    data = as_view(Two()).calibration(TensorDataset(IDS, torch.zeros(N)), "X")  # type: ignore[attr-defined]
    assert data.dtype == np.int64
    np.testing.assert_array_equal(data, IDS)


def test_a_number_goes_along_with_every_batch() -> None:
    view = as_view(Two().eval())
    data = view.calibration({"ids": IDS, "scale": torch.tensor(2.0)}, "X")  # type: ignore[attr-defined]
    assert data.shared == {"scale": 2.0}
    assert data[3:5].shared == data.shared
    *_, end = view.signals(data, {})
    with torch.no_grad():
        wanted = view.model(IDS, scale=2.0)  # type: ignore[attr-defined]
    np.testing.assert_allclose(end.values, wanted, rtol=1e-5, atol=1e-6)
    assert [layer.activation for layer in view.prunable_layers()] == ["relu", "linear"]


def test_bools_given_plainly_stay_bools() -> None:
    class Gate(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(5, 2)

        def forward(self, x: Any) -> Any:
            return self.layer((~x).to(self.layer.weight.dtype))

    view = as_view(Gate())
    data = view.calibration(MASK, "X")  # type: ignore[attr-defined]
    signal = next(iter(view.signals(data, {})))
    np.testing.assert_array_equal(signal.values, ~MASK.numpy())


def test_a_mask_may_be_minus_infinity() -> None:
    class Attending(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x: Any, mask: Any) -> Any:
            return self.layer((x + mask).softmax(-1))

    mask = torch.zeros(N, 4).masked_fill(torch.arange(4) > 2, -torch.inf)
    result = trim(Attending(), {"x": B, "mask": mask}, epsilon=0.1)
    assert result.discrepancy <= result.bound


@pytest.mark.parametrize(
    ("model", "values", "words"),
    [
        (Two(), {"labels": IDS}, "X has none of the inputs that forward takes (ids, mask, scale)"),
        (Two(), {"ids": IDS, "mask": MASK[:4]}, "X has different numbers of samples: {'ids': 11"),
        (Two(), {"ids": 3}, "X must hold samples along the first axis of some input"),
        (Sum(), (A, B, A), "X has 3 inputs, and forward takes 2: a, b"),
        (Sum(), {"a": A, "b": B * torch.nan}, "X['b'] holds NaN or infinity"),
        (Sum(), {"a": A, "b": B + torch.inf}, "X['b'] holds NaN or infinity"),
        (Sum(), {"a": A, "b": ["text"] * N}, "X['b'] must hold real numbers"),
        (Sum(), {"a": A, "b": [B[0], A[0]]}, "X['b'] has tensors that do not fit each other"),
        (Sum(), {"a": A}, "X does not pass through the model"),
        (Sum(), [{"a": A, "b": B}, {"a": A}], "X has batches that do not fit each other"),
        (Two(), [{"ids": IDS, "scale": k} for k in (1, 2)], "X['scale'] is not the same number"),
        (Sum(), {"a": A, "b": B + 1j}, "X['b'] must hold real numbers"),
        (Sum(), ((A,), {"a": A, "b": B}), "X has a by position and by name"),
        (Sum(), ((A, B, A), {}), "X has 3 inputs, and forward takes 2: a, b"),
        (Sum(), ((A,), {"c": B}), "X has none of the inputs that forward takes (a, b), it has c"),
        (
            Two(),
            [{"ids": IDS}, {"ids": IDS[:, :3]}],
            "X has batches that do not fit each other: 'ids' has several lengths, and no",
        ),
        (
            Two(),
            [NAMED, {"ids": IDS[:, :3], "mask": MASK}],
            "X has batches that do not fit each other: 'ids' has several lengths, and no",
        ),
        (Sum(), [], "X is empty"),
    ],
)
def test_inputs_that_are_wrong_are_named(model: Any, values: Any, words: str) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        as_view(model).calibration(values, "X")  # type: ignore[attr-defined]
    assert str(caught.value).startswith(words)


def test_later_data_have_the_inputs_of_the_first() -> None:
    view: Any = as_view(Two())
    view.calibration(NAMED, "X")
    with pytest.raises(ValueError, match=r"^held_out must have the inputs of the first data"):
        view.calibration(IDS, "held_out")


@pytest.mark.parametrize("kind", ["csr_matrix", "csr_array", "coo_matrix", "dok_array"])
def test_sparse_data_of_scipy_are_refused_by_name(kind: str) -> None:
    sparse = getattr(pytest.importorskip("scipy.sparse"), kind)(np.eye(4))
    with pytest.raises(TypeError, match=r"^X must be a dense array, got a sparse"):
        trim(torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU()), sparse, epsilon=0.1)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"layers": nn.Linear}, ["hidden", "last"]),
        ({"layers": nn.Module, "skip": "re:la"}, ["hidden"]),
        ({"skip": ["hidden"]}, ["last"]),
    ],
    ids=str,
)
def test_layers_are_chosen_by_class(options: dict[str, Any], expected: list[str]) -> None:
    model, ids = Two(), np.arange(400).reshape(80, 5) % 7
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CalibrationWarning)
        result = trim(model, ids, epsilon=0.1, **options)
    assert [layer.name for layer in result.layers if layer.pruned] == expected


def test_classes_that_no_layer_is_of() -> None:
    with pytest.raises(ValueError, match=r"no prunable layer is a Conv1d, there are \['Linear'\]"):
        trim(Two(), IDS, epsilon=0.1, skip=[nn.Conv1d])


def test_what_a_tokenizer_returns_is_taken() -> None:
    transformers = import_transformers()
    config = transformers.BertConfig(
        vocab_size=40,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=12,
        max_position_embeddings=8,
    )
    model = transformers.BertModel(config).eval()
    values = {"input_ids": IDS, "attention_mask": MASK.long(), "token_type_ids": 0 * IDS}
    view = as_view(model)
    data = view.calibration(transformers.BatchEncoding(values), "X")  # type: ignore[attr-defined]
    assert {k: v.shape for k, v in data.arrays.items()} == dict.fromkeys(values, IDS.shape)
    batches = DataLoader(Records(lambda k: {key: v[k] for key, v in values.items()}), batch_size=4)
    for again in (values, batches, ((IDS,), {"attention_mask": MASK.long()})):
        other = as_view(model).calibration(again, "X")  # type: ignore[attr-defined]
        np.testing.assert_array_equal(other.arrays["attention_mask"], MASK)
    *_, end = view.signals(data, {})
    with torch.no_grad():
        wanted = model(**values).pooler_output
    np.testing.assert_allclose(end.values, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore::UserWarning")  # layers are tied, and not followed
def test_an_encoder_and_a_decoder_have_inputs_of_their_own() -> None:
    transformers = import_transformers()
    torch.manual_seed(0)
    config = transformers.T5Config(
        vocab_size=40,
        d_model=8,
        d_kv=4,
        d_ff=12,
        num_layers=1,
        num_heads=2,
        decoder_start_token_id=0,
    )
    X = {"input_ids": IDS, "attention_mask": MASK.long(), "decoder_input_ids": IDS[:, :3]}
    view = as_view(transformers.T5Model(config).eval())
    data = view.calibration(X, "X")  # type: ignore[attr-defined]
    assert view.outputs() == ["last_hidden_state", "encoder_last_hidden_state"]
    *_, first, _ = view.signals(data, {})
    assert first.values.shape == (N, 3, 8)
    given = {**X, "decoder_input_ids": None, "labels": IDS[:, :3]}
    view = as_view(transformers.T5ForConditionalGeneration(config).eval())
    view.calibration(given, "X")  # type: ignore[attr-defined]
    assert view.outputs() == ["logits", "encoder_last_hidden_state"]

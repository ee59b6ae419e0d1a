"""Positions of padding count in nothing: not in programs, errors, bounds or budgets."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import numpy as np
import pytest

from nettrim.models.masked_view import MaskedView
from nettrim.models.opened_model import OpenedModel
from support.networks import trim

torch = pytest.importorskip("torch")
nn = torch.nn

from support.libraries import import_transformers
from support.torch_modules import assert_same_state

PAD = 0
N, LENGTH = 50, 5


class Tagger(nn.Module):
    """Attention over the tokens that count, an output for each token and one for the sample."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding, self.hidden = nn.Embedding(40, 8), nn.Linear(8, 7)
        self.score, self.tag, self.pool = nn.Linear(7, 1), nn.Linear(7, 3), nn.Linear(7, 2)

    def forward(self, input_ids: Any, attention_mask: Any) -> Any:
        x = self.hidden(self.embedding(input_ids)).relu()
        hidden = attention_mask[..., None] == 0
        shares = self.score(x).masked_fill(hidden, -torch.inf).softmax(1)
        return {
            "tags": self.tag(x + (shares * x).sum(1, keepdim=True)),
            "pooled": self.pool(x[:, 0]),
        }


class Mean(nn.Module):
    """Of all positions, padding or not."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.hidden, self.last = nn.Linear(4, 6), nn.Linear(6, 2)

    def forward(self, x: Any) -> Any:
        return self.last(self.hidden(x).relu().mean(1))


IDS = np.random.default_rng(0).integers(1, 40, (N, LENGTH))
SHORT = {"input_ids": IDS, "attention_mask": np.ones_like(IDS)}
OTHERS = {**SHORT, "input_ids": IDS[:, ::-1]}


def padded(values: dict[str, Any], n: int, token: int = PAD, *, left: bool = False) -> Any:
    ids = np.full((N, n), token)
    pairs = [(ids, values["input_ids"]), (np.zeros_like(ids), values["attention_mask"])]
    parts = [np.hstack(pair[:: 1 if left else -1]) for pair in pairs]
    return dict(zip(values, parts, strict=True))


@pytest.mark.parametrize("goal", [{"epsilon": 0.1}, {"sparsity": 0.5}], ids=str)
@pytest.mark.parametrize("scheme", ["cascade", "parallel"])
def test_contents_of_padding_do_not_matter(goal: dict[str, float], scheme: str) -> None:
    model, options = Tagger(), {**goal, "scheme": scheme}
    first = trim(model, padded(SHORT, 3), held_out=padded(OTHERS, 1), **options)
    second = trim(model, padded(SHORT, 3, 7), held_out=padded(OTHERS, 1, 5), **options)
    assert_same_state(first.model, second.model)
    assert first.discrepancy == second.discrepancy
    assert first.held_out_discrepancy == second.held_out_discrepancy
    assert first.unseen == second.unseen


@pytest.mark.parametrize("n", [1, 4])
def test_padding_changes_nothing(n: int) -> None:
    """Up to the rounding of sums over a sample, which are of more terms."""
    for goal in ({"epsilon": 0.1}, {"sparsity": 0.5}):
        short, long = (trim(Tagger(), X, **goal) for X in (SHORT, padded(SHORT, n)))
        for one, other in zip(short.model.parameters(), long.model.parameters(), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)  # the gap of a program
        for one, other in zip(short.layers, long.layers, strict=True):
            assert one.output_norm == pytest.approx(other.output_norm, rel=1e-12)
            assert one.active_rows == other.active_rows
            assert one.nonzeros_after == pytest.approx(other.nonzeros_after, abs=1)
        assert long.discrepancy == pytest.approx(short.discrepancy, rel=1e-2)
        runtime = [result.outputs[0].runtime_discrepancy for result in (short, long)]
        assert runtime[0] == pytest.approx(runtime[1], rel=1e-2)


def test_the_same_rows_are_drawn() -> None:
    """Bit for bit: a layer that meets one token at a time sees the same numbers."""
    options = {"sparsity": 0.5, "max_patches": 100, "layers": ["hidden"], "share": "layer"}
    short, long = (trim(Tagger(), X, **options) for X in (SHORT, padded(SHORT, 4)))
    assert_same_state(short.model, long.model)
    whole = trim(Tagger(), SHORT, **{**options, "max_patches": 1000})
    assert not torch.equal(whole.model.hidden.weight, short.model.hidden.weight)


@pytest.mark.parametrize(
    "mask",
    ["attention_mask", None, lambda inputs: inputs["input_ids"] != PAD],
    ids=["name", "default", "function"],
)
def test_a_mask_is_an_input_or_made_of_them(mask: Any) -> None:
    X = padded(SHORT, 2)
    result, whole = (trim(Tagger(), X, epsilon=0.1, mask=choice) for choice in (mask, False))
    expected = trim(Tagger(), X, epsilon=0.1)
    assert_same_state(result.model, expected.model)
    assert result.layers[0].output_norm < whole.layers[0].output_norm
    hashes = [r.recipe["calibration"]["sha256"] for r in (result, expected, whole)]
    assert hashes[0] == hashes[1] != hashes[2]


def test_recipes_name_the_mask() -> None:
    X = padded(SHORT, 2)

    def words(inputs: Any) -> Any:
        return inputs["input_ids"] != PAD

    told = [
        trim(Tagger(), X, epsilon=0.1, mask=mask).recipe["arguments"]["mask"]
        for mask in (None, "attention_mask", False, words)
    ]
    assert told == [None, "attention_mask", False, f"{words.__qualname__}()"]


def test_a_checkpoint_knows_its_mask(tmp_path: Any) -> None:
    X, options = padded(SHORT, 2), {"epsilon": 0.1, "checkpoint": tmp_path}
    first = trim(Tagger(), X, **options)
    assert_same_state(trim(Tagger(), X, **options).model, first.model)
    with pytest.raises(ValueError, match="data X"):
        trim(Tagger(), X, **options, mask=False)


def test_padding_may_stand_in_front() -> None:
    X = padded(SHORT, 2, left=True)
    with pytest.warns(UserWarning, match="what stands at the positions that the mask leaves out"):
        # The pooled output reads the first position.
        result = trim(Tagger(), X, epsilon=0.1, layers=["hidden"])
    assert result.layers[0].output_norm == pytest.approx(
        trim(Tagger(), SHORT, epsilon=0.1).layers[0].output_norm
    )


def test_one_array_has_a_mask_too(rng: np.random.Generator) -> None:
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    X = rng.standard_normal((40, 5, 4))
    counts = np.arange(5) < 1 + np.arange(40)[:, None] % 5
    other = np.where(counts[..., None], X, 9.0)
    results = [trim(model, x, epsilon=0.1, mask=lambda _: counts) for x in (X, other)]
    assert_same_state(results[0].model, results[1].model)
    assert results[0].discrepancy <= results[0].bound < np.inf
    alone = trim(model, X[counts], epsilon=0.1)
    assert_same_state(results[0].model, alone.model)
    assert results[0].discrepancy == pytest.approx(alone.discrepancy, rel=1e-9)
    assert results[0].bound == pytest.approx(alone.bound, rel=1e-9)


def test_nothing_is_proved_where_padding_counts(rng: np.random.Generator) -> None:
    X, mask = rng.standard_normal((40, 5, 4)), np.ones((40, 5), bool)
    assert trim(Mean(), X, epsilon=0.1, mask=lambda _: mask).bound < np.inf
    mask[3, 2:] = False
    with pytest.warns(UserWarning, match="nothing is proved"):
        result = trim(Mean(), X, epsilon=0.1, mask=lambda _: mask)
    assert result.bound == np.inf


def test_features_are_not_taken_for_positions(rng: np.random.Generator) -> None:
    """Signals behind the mean have as many features as there are positions."""

    class Pooled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.hidden, self.last = nn.Linear(4, 5), nn.Linear(5, 5)

        def forward(self, x: Any, attention_mask: Any) -> Any:
            mask = attention_mask[..., None]
            return self.last((self.hidden(x) * mask).sum(1) / mask.sum(1))

    mask = (np.arange(5) < 1 + np.arange(40)[:, None] % 5).astype(int)
    X = {"x": rng.standard_normal((40, 5, 4)), "attention_mask": mask}
    opened = OpenedModel.on(Pooled(), X)
    assert isinstance(opened.view, MaskedView)
    shapes = [signal.values.shape for signal in opened.view.signals(opened.data, {})]
    assert shapes == [(mask.sum(), 4), (40, 5), (40, 5)]


def test_masks_of_scores_are_no_masks_of_positions() -> None:
    """Zeros stand for what counts there."""

    class Scores(Tagger):
        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            return super().forward(input_ids, attention_mask == 0)

    X = {"input_ids": IDS, "attention_mask": np.where(IDS > 30, -np.inf, 0.0)}
    X["attention_mask"][:, 0] = 0.0
    assert not isinstance(OpenedModel.on(Scores(), X).view, MaskedView)


@pytest.mark.parametrize(
    ("mask", "error", "words"),
    [
        ("words", ValueError, "mask: X has no input 'words', it has input_ids, attention_mask"),
        (True, TypeError, "mask must be the name of an input, a function or False, got True"),
        (lambda _: np.ones(N), ValueError, "mask must be of shape (n_samples, n_positions), with"),
        (lambda _: np.ones((3, 5)), ValueError, "mask must be of shape (n_samples, n_positions)"),
        (lambda x: x["input_ids"], ValueError, "mask must hold True and False, or ones and zeros"),
        (lambda x: x["input_ids"] > 99, ValueError, "mask leaves no position of X that counts"),
    ],
)
def test_masks_that_are_none(mask: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error) as caught:
        trim(Tagger(), SHORT, epsilon=0.1, mask=mask)
    assert str(caught.value).startswith(words)


def test_one_array_has_no_names(rng: np.random.Generator) -> None:
    with pytest.raises(ValueError, match="mask: X has no input 'x', it has one array"):
        trim(Mean(), rng.standard_normal((9, 5, 4)), epsilon=0.1, mask="x")


@pytest.mark.parametrize("goal", [{"epsilon": 0.1}, {"sparsity": 0.5}], ids=str)
def test_a_transformer_does_not_see_padding(goal: dict[str, float]) -> None:
    transformers = import_transformers()
    torch.manual_seed(0)
    model = transformers.BertModel(
        transformers.BertConfig(
            vocab_size=40,
            hidden_size=8,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=12,
            max_position_embeddings=16,
        )
    )
    before = copy.deepcopy(model.state_dict())
    values = [SHORT, padded(SHORT, 3), padded(SHORT, 3, 7)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        short, long, other = (trim(model, X, **goal) for X in values)
    assert_same_state(long.model, other.model)
    if "sparsity" in goal:
        for one, two in zip(short.model.parameters(), long.model.parameters(), strict=True):
            torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-4)
    # Least l1 norms agree to the tolerance of the programs, weights only to its root.
    norms = [[layer.l1_after for layer in result.layers] for result in (short, long)]
    np.testing.assert_allclose(*norms, rtol=1e-3)
    assert short.discrepancy == pytest.approx(long.discrepancy, rel=1e-2)
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


def test_an_encoder_and_a_decoder_have_masks_of_their_own() -> None:
    """Of the same length, too."""
    transformers = import_transformers()
    torch.manual_seed(0)
    config = transformers.T5Config(
        vocab_size=40, d_model=8, d_kv=4, d_ff=12, num_layers=1, num_heads=2
    )
    model = transformers.T5Model(config)
    mask = (np.arange(6) < 3 + np.arange(N)[:, None] % 4).astype(int)
    other = (np.arange(6) < 5).astype(int) * np.ones((N, 1), int)
    ids, decoded = np.random.default_rng(1).integers(1, 40, (2, N, 6))
    X = {"input_ids": ids, "attention_mask": mask, "decoder_input_ids": decoded}
    encoder, decoder = int(mask.sum()), int(other.sum())
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "model: what follows")
        both = OpenedModel.on(model, {**X, "decoder_attention_mask": other})
        first, alone = OpenedModel.on(model, X), OpenedModel.on(model, X, mask=False)
    for opened, rows in ((both, (encoder, decoder)), (first, (encoder, N)), (alone, (N, N))):
        lengths = {
            name: len(signal.values)
            for name, signal in zip(
                [*(layer.name for layer in opened.layers), *opened.outputs],
                opened.view.signals(opened.data, {}),
                strict=True,
            )
        }
        assert lengths["encoder.block.0.layer.1.DenseReluDense.wi"] == rows[0]
        assert lengths["decoder.block.0.layer.1.EncDecAttention.k"] == rows[0]  # of the encoder
        assert lengths["decoder.block.0.layer.1.EncDecAttention.q"] == rows[1]
        assert lengths["decoder.block.0.layer.2.DenseReluDense.wi"] == rows[1]
        assert (lengths["encoder_last_hidden_state"], lengths["last_hidden_state"]) == rows

"""Deep networks in reports: a row for each block, all layers where one looks for them."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest

from nettrim import Dense, LayerReport, Network, TrimResult
from nettrim.models.layer_view import LayerView
from nettrim.results.blocks import MOST_ROWS, BlockReport, sum_up
from support.networks import random_network, trim
from support.pages import read

OWN = ["attention.q", "attention.k", "attention.v", "attention.out", "mlp.up", "mlp.down"]


def report(name: str, **fields: object) -> LayerReport:
    known = {
        "name": name,
        "shape": (4, 5),
        "nonzeros_before": 20,
        "nonzeros_after": 7,
        "l1_before": 1.0,
        "l1_after": 1.0,
        "output_norm": 1.0,
        "discrepancy": 0.1,
        "bound": 0.2,
        "prior_bound": 0.3,
        "status": "optimal",
        **fields,
    }
    return LayerReport(**known)  # type: ignore[arg-type]


def names_of(names: list[str]) -> list[str]:
    return [row.name for row in sum_up([report(name) for name in names])]


def bert(n_blocks: int) -> list[str]:
    blocks = [f"encoder.layer.{k}.{own}" for k in range(n_blocks) for own in OWN]
    return ["embeddings.projection", *blocks, "pooler"]


class Named(Network):
    """A network whose layers are called like those of a transformer."""

    def prunable_layers(self) -> list[LayerView]:
        layers = super().prunable_layers()
        return [
            dataclasses.replace(layer, name=f"h.{k // 3}.linear{k % 3}")
            for k, layer in enumerate(layers)
        ]


@pytest.fixture(scope="module")
def deep() -> TrimResult[Network]:
    rng = np.random.default_rng(0)
    count = MOST_ROWS + 3
    layers = [Dense(np.linalg.qr(W)[0], None, "linear") for W in rng.standard_normal((count, 6, 6))]
    result = trim(Named(layers), rng.standard_normal((60, 6)), sparsity=0.1, share="layer")
    return dataclasses.replace(result, model=Named(result.model.layers))


def test_few_layers_have_a_row_each() -> None:
    assert names_of(bert(3)) == bert(3)


@pytest.mark.parametrize("n_blocks", [4, 12, 40])
def test_layers_of_a_block_are_one_row(n_blocks: int) -> None:
    blocks = [f"encoder.layer.{k}" for k in range(n_blocks)]
    assert names_of(bert(n_blocks)) == ["embeddings.projection", *blocks, "pooler"]


def test_names_of_onnx_have_slashes() -> None:
    names = [f"/model/layers.{k}/attn/{own}/MatMul" for k in range(10) for own in "qkv"]
    assert names_of(names) == [f"/model/layers.{k}" for k in range(10)]


def test_stages_are_told_apart_by_block_where_that_can_be_read() -> None:
    few = [f"layer{k}.{n}.conv{c}" for k in range(1, 5) for n in range(4) for c in (1, 2)]
    assert names_of(few) == [f"layer{k}.{n}" for k in range(1, 5) for n in range(4)]
    many = [f"layer{k}.{n}.conv{c}" for k in range(1, 5) for n in range(40) for c in (1, 2)]
    assert names_of(many) == [f"layer{k}" for k in range(1, 5)]


def test_layers_without_blocks_have_a_row_each() -> None:
    names = [f"dense{k}" for k in range(60)]
    assert names_of(names) == names


def test_a_block_sums_up_its_layers() -> None:
    layers = (
        report("h.0.a", seconds=1.5, gap=1e-6, discrepancy=0.3, held_out_discrepancy=0.1),
        report("h.0.b", seconds=2.0, gap=1e-5, bound=0.9, held_out_discrepancy=0.4),
    )
    block = BlockReport("h.0", layers)
    assert (block.nonzeros_before, block.nonzeros_after, block.seconds) == (40, 14, 3.5)
    assert (block.discrepancy, block.bound, block.held_out_discrepancy) == (0.3, 0.9, 0.4)
    assert (block.gap, block.status, block.converged) == (1e-5, "optimal", True)


def test_a_block_hides_nothing_that_went_wrong() -> None:
    wrong = report("h.0.b", status="max_iter", discrepancy=math.nan, seconds=None)
    block = BlockReport("h.0", (report("h.0.a"), wrong, report("h.0.c")))
    assert block.status == "2 optimal, 1 max_iter"
    assert not block.converged
    assert not block.is_measured
    assert math.isnan(block.discrepancy)
    assert block.seconds is None
    layers = tuple(dataclasses.replace(wrong, name=name) for name in bert(8))
    assert "max_iter!" in str(TrimResult(None, None, layers, "cascade", 5, math.nan, 0.1))


def test_the_table_shows_blocks(deep: TrimResult[Network]) -> None:
    lines = str(deep).splitlines()
    shown = [line.split()[0] for line in lines if line.startswith("h.")]
    assert shown == [f"h.{k}" for k in range(9)]
    assert "3 layers" in lines[2]
    assert "result.layers" in str(deep)
    assert len(deep.layers) == MOST_ROWS + 3
    kept = [int(line.split()[4]) for line in lines if line.startswith("h.")]
    assert sum(kept) == deep.nonzeros_after


def test_names_of_many_layers_are_not_all_told() -> None:
    layers = tuple(report(name, active_rows=1) for name in bert(40))
    caution = next(line for line in str(_result(layers)).splitlines() if "without meaning" in line)
    assert caution.endswith(f"and {len(layers) - MOST_ROWS} more")


def _result(layers: tuple[LayerReport, ...]) -> TrimResult[None]:
    return TrimResult(None, None, layers, "cascade", 5, 0.01, 0.1)


def test_the_page_shows_blocks_and_holds_all_layers(
    deep: TrimResult[Network], tmp_path: Path
) -> None:
    deep.report(tmp_path / "page.html")
    page = read((tmp_path / "page.html").read_text(encoding="utf-8"))
    for title in ("Weights", "Errors"):
        blocks = [cells[0].text for cells in page.rows(f"{title} by layer")]
        assert blocks == [*(f"h.{k}" for k in range(9)), "network"]
        every = [cells[0].text for cells in page.rows(f"{title} of all layers")]
        assert every == [*(layer.name for layer in deep.layers), "network"]
    cards = page.all("article")
    assert len(cards) == len(deep.layers)
    assert all("details" in card.parents for card in cards)
    assert [e.text for e in page.all("summary")] == [f"all {len(deep.layers)} layers"] * 3


def test_the_page_of_few_layers_hides_none(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    network = random_network(rng, 6, 5, 4)
    trim(network, rng.standard_normal((60, 6)), sparsity=0.1).report(tmp_path / "page.html")
    assert not read((tmp_path / "page.html").read_text(encoding="utf-8")).all("details")

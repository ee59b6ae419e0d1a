"""The report as a page: whole, alone, true to the result, and readable by everybody."""

from __future__ import annotations

import base64
import dataclasses
import itertools
import json
import math
import re
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import nettrim
from nettrim import Network, TrimResult
from nettrim.models.layer_view import LayerView
from nettrim.results.html.chart import LogScale, Span, draw_history, draw_spans
from nettrim.results.html.markup import Markup, element
from nettrim.results.html.page import TEMPLATE
from nettrim.results.html.pattern import CELLS, draw_pattern, measure_density
from nettrim.results.recipe import format_snippet
from support.networks import Array, random_network, trim
from support.pages import Page, numbers, read

NASTY = '<script>alert("1")</script>&amp;'


@pytest.fixture(scope="module")
def data() -> tuple[Network, Array, Array]:
    rng = np.random.default_rng(7)
    network = random_network(rng, 12, 10, 8, 6)
    return network, rng.standard_normal((100, 12)), rng.standard_normal((40, 12))


@pytest.fixture(scope="module")
def result(data: tuple[Network, Array, Array]) -> TrimResult[Network]:
    network, X, held_out = data
    return trim(network, X, epsilon=0.1, held_out=held_out)


@pytest.fixture(scope="module")
def stopped(data: tuple[Network, Array, Array]) -> TrimResult[Network]:
    network, X, _ = data
    with pytest.warns(nettrim.ConvergenceWarning):
        return trim(network, X, epsilon=0.1, scheme="parallel", max_iter=2, layers=[0, 2])


@pytest.fixture
def interrupted(
    data: tuple[Network, Array, Array], monkeypatch: pytest.MonkeyPatch
) -> TrimResult[Network]:
    solve, calls = nettrim.trimming.methods.to_error.solve_layer, itertools.count()

    def until_the_second(*arguments: Any, **options: Any) -> Any:
        if next(calls):
            raise KeyboardInterrupt
        return solve(*arguments, **options)

    monkeypatch.setattr("nettrim.trimming.methods.to_error.solve_layer", until_the_second)
    network, X, _ = data
    return trim(network, X, epsilon=0.1)


def unknown(result: TrimResult[Network]) -> TrimResult[Network]:
    """The same result had nothing been known of a step before the last layer."""
    last = dataclasses.replace(result.layers[-1], bound=math.inf, prior_bound=math.inf)
    return dataclasses.replace(result, layers=(*result.layers[:-1], last), bound=math.inf)


class Named(Network):
    """A network whose first layer has another name."""

    def __init__(self, network: Network, name: str) -> None:
        super().__init__(network.layers)
        self.name = name

    def prunable_layers(self) -> list[LayerView]:
        first, *others = super().prunable_layers()
        return [dataclasses.replace(first, name=self.name), *others]


def renamed(result: TrimResult[Network], name: str) -> TrimResult[Network]:
    first, *others = result.layers
    recipe = json.loads(json.dumps(result.recipe))
    recipe["arguments"]["layers"][0] = name
    return dataclasses.replace(
        result,
        model=Named(result.model, name),
        original=Named(result.original, name),
        layers=(dataclasses.replace(first, name=name), *others),
        recipe=recipe,
    )


def text_of(result: TrimResult[Any], folder: Path, *accuracy: Any) -> str:
    result.report(folder / "trim.html", *accuracy)
    return (folder / "trim.html").read_text(encoding="utf-8")


def warnings_in(page: Page) -> list[str]:
    """Texts of the notes above the headline."""
    tags = [e for e in page.elements if e.attributes.get("role") == "note"]
    headline = page.elements.index(page.all("dl")[0])
    assert all(page.elements.index(e) < headline for e in tags)
    return [e.text for e in tags]


# --- the document -------------------------------------------------------------------------------


def test_every_page_is_well_formed_and_alone(
    result: TrimResult[Network],
    stopped: TrimResult[Network],
    interrupted: TrimResult[Network],
    tmp_path: Path,
) -> None:
    for case in (result, stopped, interrupted, unknown(stopped), renamed(result, NASTY)):
        text = text_of(case, tmp_path)
        page = read(text)
        assert "http://" not in text
        assert "https://" not in text
        assert not re.search(r"url\(|@import", text)
        assert [e.attributes.get("type") for e in page.all("script")] == ["application/json"]
        assert page.all("link") + page.all("iframe") + page.all("object") == []
        sources = [e.attributes["src"] for e in page.elements if "src" in e.attributes]
        assert len(sources) == 2 * len(case.layers)
        assert all(str(source).startswith("data:image/png;base64,") for source in sources)


def test_nothing_is_left_of_a_page_that_failed(
    result: TrimResult[Network], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = text_of(result, tmp_path)
    monkeypatch.setattr(
        "nettrim.results.html.render_page", lambda *_: (_ for _ in ()).throw(OSError("full"))
    )
    with pytest.raises(OSError, match="full"):
        result.report(tmp_path / "trim.html")
    assert (tmp_path / "trim.html").read_text(encoding="utf-8") == before
    assert [path.name for path in tmp_path.iterdir()] == ["trim.html"]


@pytest.mark.parametrize("name", ["trim.pdf", "trim.html.gz", "trim.npz"])
def test_a_page_is_not_written_under_the_name_of_another_kind_of_file(
    result: TrimResult[Network], tmp_path: Path, name: str
) -> None:
    with pytest.raises(ValueError, match=r"path of a report must be \.html"):
        result.report(tmp_path / name)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["trim", "trim.HTM"])
def test_a_page_may_have_an_old_suffix_or_none(
    result: TrimResult[Network], tmp_path: Path, name: str
) -> None:
    result.report(tmp_path / name)
    assert (tmp_path / name).read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_names_are_escaped(result: TrimResult[Network], tmp_path: Path) -> None:
    page = read(text_of(renamed(result, NASTY), tmp_path))
    assert len(page.all("script")) == 1
    for table in ("Weights by layer", "Errors by layer"):
        assert page.rows(table)[0][0].text == NASTY
    assert page.all("h3")[0].text == NASTY
    assert NASTY in str(page.all("img")[0].attributes["alt"])
    assert json.loads(page.all("script")[0].text)["arguments"]["layers"][0] == NASTY


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1))
def test_elements_keep_any_text(text: str) -> None:
    page = Page()
    page.feed(element("p", text, title=text))
    page.close()
    assert [(e.tag, e.text, e.attributes) for e in page.elements] == [("p", text, {"title": text})]
    assert element("p", Markup("<br>"), hidden=None) == "<p><br></p>"


# --- what it says -------------------------------------------------------------------------------


def test_numbers_are_those_of_the_result(result: TrimResult[Network], tmp_path: Path) -> None:
    page = read(text_of(result, tmp_path))
    before = sum(layer.nonzeros_before for layer in result.layers)
    after = sum(layer.nonzeros_after for layer in result.layers)
    assert numbers(page, "Weights by layer") == [
        *([x.name, x.nonzeros_before, x.nonzeros_after] for x in result.layers),
        ["network", before, after],
    ]
    assert numbers(page, "Errors by layer") == [
        *(
            [x.name, x.epsilon, x.discrepancy, x.held_out_discrepancy, x.bound]
            for x in result.layers
        ),
        ["network", result.discrepancy, result.held_out_discrepancy, result.bound],
    ]
    assert page.all("h1")[0].text == f"{result.sparsity:.1%} of the weights are zero"
    assert f"{before:,} → {after:,}" in [e.text for e in page.all("dd", class_="figure")]
    gaps = [float(str(e.attributes["value"])) for e in page.all("data") if "dl" in e.parents]
    assert gaps == [layer.gap for layer in result.layers]
    assert warnings_in(page) == []


def test_words_are_those_of_the_printed_table(result: TrimResult[Network], tmp_path: Path) -> None:
    page = read(text_of(result, tmp_path))
    table, unseen = str(result).split("\n\n")
    printed = [line.split() for line in table.splitlines()[2:]]
    assert printed.pop(-2)[0] == "signals"
    assert [[cell.text for cell in row] for row in page.rows("Errors by layer")] == [
        *([line[0], *line[5:9]] for line in printed[:-1]),
        ["network", "", *printed[-1][4:7]],
    ]
    title, *sentences = unseen.splitlines()
    assert [f"- {item.text}" for item in page.all("li")] == sentences
    assert any(title.removesuffix(":") in paragraph.text for paragraph in page.all("p"))


def test_accuracy_is_shown_if_it_was_measured(result: TrimResult[Network], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    X, labels = rng.standard_normal((50, 12)), rng.integers(0, 6, 50)
    accuracy = result.accuracy(X, labels)
    for model, share in ((result.original, accuracy.before), (result.model, accuracy.after)):
        assert share == np.mean(model.predict(X).argmax(axis=1) == labels)
    figure = f"{accuracy.before:.2%} → {accuracy.after:.2%}"
    assert figure in text_of(result, tmp_path, accuracy)
    assert "Accuracy" not in text_of(result, tmp_path)
    assert str(accuracy) == (
        f"accuracy on 50 samples: {accuracy.before:.2%} before, {accuracy.after:.2%} after"
    )


@pytest.mark.parametrize(
    ("labels", "error", "words"),
    [
        (np.zeros(3), TypeError, "labels must be whole numbers, got dtype float64"),
        (np.zeros(3, dtype=int), ValueError, "labels must be one for each of the 5 samples"),
        (np.full(5, 6), ValueError, "labels must be numbers of outputs, 0 to 5, got 6 to 6"),
        (np.full(5, -1), ValueError, "labels must be numbers of outputs"),
    ],
)
def test_labels_are_checked(
    result: TrimResult[Network], labels: NDArray[Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=f"^{words}"):
        result.accuracy(np.ones((5, 12)), labels)


def test_unproved_answers_are_said_at_the_top(stopped: TrimResult[Network], tmp_path: Path) -> None:
    page = read(text_of(stopped, tmp_path))
    note, caution = warnings_in(page)
    assert caution.startswith("layers left as they were: ")
    assert caution.endswith(": dense1, dense3")
    assert note.startswith("Not solved to the tolerance: dense1 (max_iter, gap ")
    assert "dense2" not in note
    assert "dense3 (max_iter, gap " in note
    assert [e.text for e in page.all("span", class_="bad")] == ["max_iter", "max_iter"]
    assert "0 of 2 layers" in [e.text for e in page.all("dd", class_="figure")]
    allowed = [row[1].text for row in page.rows("Errors by layer")]
    assert allowed == ["10.0%", "\N{EN DASH}", "10.0%", ""]


def test_interrupted_runs_say_so(interrupted: TrimResult[Network], tmp_path: Path) -> None:
    page = read(text_of(interrupted, tmp_path))
    assert warnings_in(page) == [
        "Interrupted: layers not reached, and left as they were: dense2, dense3."
    ]
    assert "1 of 3 layers" in [e.text for e in page.all("dd", class_="figure")]


def test_infinite_bounds_are_not_known(result: TrimResult[Network], tmp_path: Path) -> None:
    case = unknown(result)
    page = read(text_of(case, tmp_path))
    assert [row[-1].text for row in page.rows("Errors by layer")][-2:] == ["not known"] * 2
    assert warnings_in(page)[0].startswith("No bound is known for the output")
    assert "inf" not in re.findall(r"[a-z]+", page.all("main")[0].text)
    lines = str(case).splitlines()
    assert lines[4].split()[-5] == "-"  # of the last layer; status, gap and time follow
    assert lines[6].split()[-3] == "-"
    assert lines[7].startswith("- not known")


def test_recipe_is_in_the_page(result: TrimResult[Network], tmp_path: Path) -> None:
    page = read(text_of(result, tmp_path))
    assert json.loads(page.all("script", id="recipe")[0].text) == result.recipe
    assert page.all("pre")[0].text == format_snippet(result.recipe)
    for part in ("model", "calibration", "held_out"):
        assert result.recipe[part]["sha256"] in page.all("main")[0].text


def test_resumed_layers_have_the_course_of_their_solve(
    data: tuple[Network, Array, Array], tmp_path: Path
) -> None:
    network, X, _ = data
    options = {"epsilon": 0.1, "layers": [0], "checkpoint": tmp_path / "kept"}
    first, again = trim(network, X, **options), trim(network, X, **options)
    assert first.layers[0].history == again.layers[0].history != ()
    assert first.layers == again.layers


@pytest.mark.parametrize("solver", ["newton", "admm"])
def test_history_ends_with_the_certificate(data: tuple[Network, Array, Array], solver: str) -> None:
    network, X, _ = data
    for layer in trim(network, X, epsilon=0.1, solver=solver).layers:
        seconds, gaps = zip(*layer.history, strict=True)
        assert list(seconds) == sorted(seconds)
        assert gaps[-1] == pytest.approx(layer.gap, rel=1e-6, abs=1e-12)
        assert seconds[-1] <= layer.seconds


# --- for everybody ------------------------------------------------------------------------------


def test_pictures_have_words_and_tables_have_heads(
    result: TrimResult[Network], tmp_path: Path
) -> None:
    page = read(text_of(result, tmp_path))
    assert all(e.attributes["alt"] for e in page.all("img"))
    for e in page.all("svg"):
        inner = "svg" in e.parents or e.attributes.get("aria-hidden") == "true"
        assert inner or (e.attributes["role"] == "img" and e.attributes["aria-label"])
    for row in page.rows("Errors by layer"):
        assert row[0].attributes["scope"] == "row"
    assert all(e.attributes["scope"] for e in page.all("th"))
    assert page.all("html")[0].attributes["lang"] == "en"
    headings = [int(e.tag[1]) for e in page.elements if re.fullmatch("h[1-6]", e.tag)]
    assert all(b - a <= 1 for a, b in itertools.pairwise(headings))


def luminance(colour: str) -> float:
    """Of WCAG 2, from "#rrggbb"."""
    parts = np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)]) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_colours_stand_out_in_both_themes() -> None:
    palettes = re.findall(r":root \{(.*?)\}", TEMPLATE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(palettes) == 2
    for palette in palettes:
        colours = dict(re.findall(r"--(\w+): (#\w{6})", palette))
        for ink in ("ink", "muted", "proved", "measured", "unseen"):
            for ground in ("page", "raised", "alarm"):
                bright, dark = sorted(luminance(colours[c]) for c in (ink, ground))[::-1]
                assert (bright + 0.05) / (dark + 0.05) >= 4.5, (ink, ground)


# --- pictures and charts --------------------------------------------------------------------------


def opacities(uri: str) -> NDArray[np.uint8]:
    """Decode what `draw_pattern` encodes: one image chunk, a palette of opacities."""
    content = base64.b64decode(uri.partition(",")[2])
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    chunks, at = {}, 8
    while at < len(content):
        (length,) = struct.unpack(">I", content[at : at + 4])
        name, body = content[at + 4 : at + 8], content[at + 8 : at + 8 + length]
        (check,) = struct.unpack(">I", content[at + 8 + length : at + 12 + length])
        assert check == zlib.crc32(name + body)
        chunks[name] = body
        at += 12 + length
    assert next(iter(chunks)) == b"IHDR"
    assert list(chunks)[-1] == b"IEND"
    width, height = struct.unpack(">II", chunks[b"IHDR"][:8])
    assert chunks[b"tRNS"] == bytes(range(256))
    rows = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, width + 1)
    assert not rows[:, 0].any()
    return rows[:, 1:]


def test_small_matrices_are_shown_weight_by_weight(rng: np.random.Generator) -> None:
    weights = rng.standard_normal((17, 160)) * (rng.random((17, 160)) < 0.3)
    shown = opacities(draw_pattern(weights))
    assert shown.shape == (17 * 19, 160 * 2)
    np.testing.assert_array_equal(shown[::19, ::2], np.where(weights != 0, 255, 0))
    np.testing.assert_array_equal(shown, shown[::19, ::2].repeat(19, axis=0).repeat(2, axis=1))


@pytest.mark.parametrize("shape", [(161, 5), (500, 1000), (160, 161), (1, 1)])
def test_cells_hold_the_share_that_is_kept(
    rng: np.random.Generator, shape: tuple[int, int]
) -> None:
    weights = (rng.random(shape) < 0.2).astype(float)
    shares = measure_density(weights)
    assert shares.shape == tuple(min(length, CELLS) for length in shape)
    assert shares.min() >= 0
    assert shares.max() <= 1
    sizes = density_of_cells(shape)
    assert (shares * sizes).sum() == pytest.approx(np.count_nonzero(weights))
    np.testing.assert_array_equal(measure_density(np.ones(shape)), 1.0)
    np.testing.assert_array_equal(measure_density(np.zeros(shape)), 0.0)


def density_of_cells(shape: tuple[int, int]) -> Array:
    """How many weights each cell stands for."""
    sides = [np.diff(np.arange(min(n, CELLS) + 1) * n // min(n, CELLS)) for n in shape]
    return np.multiply.outer(*sides).astype(float)


@given(st.lists(st.just(0.0) | st.just(math.inf) | st.floats(1e-12, 1e30), min_size=1))
def test_scale_keeps_order_and_stays_inside(values: list[float]) -> None:
    scale = LogScale.over(values)
    positions = [scale.at(value) for value in sorted(values)]
    assert positions == sorted(positions)
    assert 0 <= positions[0] <= positions[-1] <= 100
    ticks = [scale.at(tick) for tick in scale.ticks()]
    assert ticks == sorted(ticks)
    assert 0 <= ticks[0] <= ticks[-1] <= 100
    assert len(ticks) <= 6


def test_marks_stand_where_the_numbers_are() -> None:
    rows = [Span("a", 0.01, 0.1), Span("b", 0.0, math.inf), Span("c", 0.1, 1.0)]
    page = Page()
    page.feed(draw_spans(rows, "bound", "all"))
    dots = [float(str(e.attributes["cx"]).rstrip("%")) for e in page.all("circle", class_="dot")]
    bounds = [float(str(e.attributes["x1"]).rstrip("%")) for e in page.all("line", class_="bound")]
    assert dots[1] == 0
    assert dots[2] - dots[0] == pytest.approx(bounds[1] - bounds[0], abs=0.02)  # a decade each
    assert bounds[0] == dots[2]  # both 0.1
    assert "not known" in [e.text for e in page.all("text")]


def test_course_falls_to_the_tolerance() -> None:
    history = [(0.1 * k, 10.0**-k) for k in range(1, 5)] + [(0.5, -1e-2), (0.6, -1e-9)]
    page = Page()
    page.feed(draw_history(history, 1e-3, "gap"))
    dots, open_dots = page.all("circle", class_="dot"), page.all("circle", class_="open")
    heights = [float(str(e.attributes["cy"])) for e in dots]
    (limit,) = (float(str(e.attributes["y1"])) for e in page.all("line", class_="limit"))
    assert heights[:4] == sorted(heights[:4])
    assert heights[2] == pytest.approx(limit, abs=0.1)  # 1e-3
    assert heights[4] >= limit  # a gap below zero by less than the tolerance is closed
    assert len(open_dots) == 1  # one below zero by more is not feasible
    assert [dot.attributes["cx"] for dot in dots][-1] == "100.00%"


def test_long_courses_are_thinned_but_keep_their_end() -> None:
    history = [(float(k), 0.5 * 0.999**k) for k in range(5000)]
    page = Page()
    page.feed(draw_history(history, 1e-4, "gap"))
    dots = page.all("circle", class_="dot")
    assert len(dots) <= 151
    assert dots[0].attributes["cx"] == "0.00%"
    assert dots[-1].attributes["cx"] == "100.00%"

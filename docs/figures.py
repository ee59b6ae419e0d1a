"""Draw the figures of README and documentation to ``docs/_static``: ``python docs/figures.py``."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from nettrim import Network, PromiseReport, TrimResult

STATIC = Path(__file__).with_name("_static")


class Box(NamedTuple):
    """A package in the picture of the architecture: where it stands, what is in it."""

    name: str
    text: str
    left: int
    right: int


# From the top: what is in a floor uses floors below it alone. tests/test_docs.py holds the imports
# against this.
FLOORS: list[list[Box]] = [
    [Box("cli", "the command line", 0, 12)],
    [Box("demo", "a network of digits, trimmed before your eyes", 0, 12)],
    [
        Box("trimming", "trim: goals, methods, bounds", 0, 6),
        Box("parsimonious", "units leave in training", 6, 12),
    ],
    [Box("units", "few units, for all that read them", 0, 12)],
    [Box("budget", "layers of so many weights", 0, 6), Box("torch", "fine-tuning", 6, 12)],
    [
        Box("layer", "one layer, one program", 0, 6),
        Box("hull", "two signals, one product", 6, 12),
    ],
    [Box("results", "outcome, text, page, files", 0, 12)],
    [
        Box("models", "views, networks, adapters", 0, 6),
        Box("promise", "tests on unseen data", 6, 12),
    ],
    [Box("base", "arrays, arguments, errors, dispatch", 0, 12)],
]
CORE: list[list[Box]] = [
    [Box("bindings", "NumPy in, NumPy out", 0, 12)],
    [
        Box("layer", "newton, admm", 0, 4),
        Box("budget, units", "surgery", 4, 8),
        Box("branch_hull", "interior, admm", 8, 12),
    ],
    [Box("linalg", "factors, threads", 0, 12)],
]
WIDTH, HEIGHT, GAP, MARGIN, HEADING = 360, 40, 6, 6, 22  # a phone's width: nothing is scaled down
PYTHON, CPP, INK, FAINT = "#dbe7f3", "#f4dfd8", "#222222", "#555555"


def draw_architecture() -> None:
    """Draw the packages on their floors."""
    y, shapes = MARGIN, []
    for title, floors, colour in (("Python", FLOORS, PYTHON), ("C++17", CORE, CPP)):
        shapes.append(_text(MARGIN, y + 14, title, 12, FAINT, "start"))
        y += HEADING
        for floor in floors:
            shapes += [shape for box in floor for shape in _box(box, y, colour)]
            y += HEIGHT + GAP
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" width="{WIDTH}" '
        f'height="{y}" font-family="Helvetica, Arial, sans-serif">\n'
        "<title>The packages of nettrim; each uses those below it alone</title>\n"
        f'<rect width="{WIDTH}" height="{y}" fill="white"/>\n'
    )
    picture = head + "\n".join(shapes) + "\n</svg>\n"
    (STATIC / "architecture.svg").write_text(picture, encoding="utf-8")


def _box(box: Box, top: int, colour: str) -> list[str]:
    unit = (WIDTH - 2 * MARGIN + GAP) / 12
    left = MARGIN + box.left * unit
    width = (box.right - box.left) * unit - GAP
    middle, size = left + width / 2, f'width="{width:.1f}" height="{HEIGHT}"'
    return [
        f'<rect x="{left:.1f}" y="{top}" {size} rx="5" fill="{colour}"/>',
        _text(middle, top + 17, box.name, 13, INK, "middle", "bold"),
        _text(middle, top + 32, box.text, 11, INK, "middle"),
    ]


def _text(
    x: float, y: float, text: str, size: int, colour: str, anchor: str, weight: str = "normal"
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y}" font-size="{size}" font-weight="{weight}" fill="{colour}" '
        f'text-anchor="{anchor}">{escape(text)}</text>'
    )


def draw_digits() -> None:
    """Draw the weights of the quickstart, before and after."""
    import nettrim
    from nettrim.demo import load_digits

    digits = load_digits()
    result = nettrim.trim(digits.network, digits.X, epsilon=0.05, progress=False)
    result.plot(STATIC / "digits.png")


def draw_trust() -> None:
    """Draw what is proved, measured and promised of the digits: one picture each."""
    import nettrim
    from nettrim.demo import load_digits

    digits = load_digits()
    data = {"held_out": digits.X_test, "progress": False}
    _draw_bounds(nettrim.trim(digits.network, digits.X, epsilon=0.05, **data))
    trace = nettrim.trace_network(digits.network, digits.X, **data)
    trace.plot(STATIC / "trust_measured.png")
    promise = nettrim.trim(digits.network, digits.X, nettrim.Promise(flips=0.03), **data).promise
    _draw_tests(promise)


def _draw_bounds(result: TrimResult[Network]) -> None:
    """Draw the error of every layer, and where it cannot be."""
    from nettrim.results.plot import FRAME, NEGATIVE, POSITIVE, empty_figure, save_figure

    figure = empty_figure(6.4, 2.4)
    axes = figure.subplots()
    places = range(len(result.layers))
    errors, bounds = (
        [100 * getattr(la, n) for la in result.layers] for n in ("discrepancy", "bound")
    )
    axes.barh(places, errors, height=0.5, color=NEGATIVE, label="measured on calibration samples")
    axes.plot(bounds, places, "|", color=POSITIVE, markersize=22, label="proved bound")
    axes.set_yticks(places, [layer.name for layer in result.layers])
    axes.invert_yaxis()
    axes.set(xlabel="error (%)", xlim=(0, 1.6 * max(bounds)))
    axes.grid(axis="x", color=FRAME, linewidth=0.4)
    axes.legend(frameon=False, fontsize=9, loc="center right")
    save_figure(figure, STATIC / "trust_proved.png")


def _draw_tests(promise: PromiseReport) -> None:
    """Draw the p-values of the models that were tested."""
    from nettrim.results.plot import FRAME, INK, NEGATIVE, POSITIVE, empty_figure, save_figure

    figure = empty_figure(6.4, 3.0)
    axes = figure.subplots()
    kept = [100 * model.nonzeros / model.size for model in promise.models]
    values = [model.p_value for model in promise.models]
    axes.semilogy(kept, values, "-", color=FRAME)
    for model, x in zip(promise.models, kept, strict=True):
        axes.plot(x, model.p_value, "o", color=NEGATIVE if model.passed else POSITIVE)
    axes.axhline(1 - promise.confidence, color=INK, linestyle="--", linewidth=0.8)
    axes.annotate("5 %: above, a model fails", (max(kept), 0.06), ha="left", fontsize=9, color=INK)
    axes.set(xlabel="weights kept (%), tested from left to right", ylabel="p-value")
    axes.set_ylim(top=max(0.3, *values))  # there is room for the words
    axes.invert_xaxis()
    save_figure(figure, STATIC / "trust_promised.png")


if __name__ == "__main__":
    draw_architecture()
    draw_digits()
    draw_trust()

"""Random calls of what separates products, judged by weak duality."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import scipy.linalg
import scipy.sparse
from scipy.stats import binom

import nettrim
from support.random_entry import Arguments, Entry, Random, close, extended, maybe, norm, pick

STATUSES = {"optimal", "max_iter", "time_limit", "interrupted", "numerical"}
ROUNDING = 1e-7


def random_product(rng: Random) -> Arguments:
    """Return a product of two signals and the dictionaries of both, without noise."""
    n, K, N = int(rng.integers(1, 30)), int(rng.integers(1, 7)), int(rng.integers(1, 7))
    B, C = rng.standard_normal((n, K)), rng.standard_normal((n, N))
    kind = int(rng.integers(6))
    if kind == 0:
        B = np.eye(n)
    elif kind == 1:
        C[:, -1] = C[:, 0]
    elif kind == 2:
        B *= 10.0 ** rng.uniform(-20, 20)
    h, m = (rng.standard_normal(D.shape[1]) * (rng.random(D.shape[1]) < 0.6) for D in (B, C))
    h[0], m[0] = h[0] or 1.0, m[0] or -1.0
    return {"h": h, "m": m, "B": B, "C": C, "y": (B @ h) * (C @ m), "signs": B @ h}


def several_snapshots(rng: Random, product: Arguments) -> Arguments:
    """Return measurements of up to three scenes behind the same gains."""
    count, C = int(rng.integers(1, 4)), product["C"]
    each = [C * rng.uniform(0.5, 2, C.shape) for _ in range(count)] if rng.random() < 0.5 else C
    m = rng.standard_normal((C.shape[1], count))
    x = np.stack([np.asarray(each[j] if each is not C else C) @ m[:, j] for j in range(count)], 1)
    return {"y": (product["B"] @ product["h"])[:, None] * x, "C": each}


def spelled_out(
    arguments: Arguments, answer: nettrim.HullSolution
) -> tuple[Arguments, nettrim.HullSolution]:
    """Return the same program and answer as of one snapshot, with Kronecker's products."""
    rows, count = shape = np.shape(arguments["y"])

    def flat(values: Any) -> Any:
        values = extended(values)
        column = values[:, None] if values.ndim == 1 and len(values) == rows else values
        return np.broadcast_to(column, shape).T.ravel()

    C = arguments["C"]
    each = list(C) if isinstance(C, (list, tuple)) or np.ndim(C) == 3 else [C] * count
    same = {name: flat(arguments[name]) for name in ("y", "signs")}
    if arguments.get("slack") is not None:
        same["slack"] = flat(arguments["slack"])
    same["B"] = np.tile(_dense(arguments["B"]), (count, 1))
    same["C"] = scipy.linalg.block_diag(*[np.asarray(_dense(D), dtype=float) for D in each])
    parts = {name: getattr(answer, name).T.ravel() for name in ("m", "x", "xi", "p", "q")}
    return arguments | same, replace(answer, w=np.tile(answer.w, count), **parts)


class BranchHull(Entry):
    """`nettrim.branch_hull`."""

    function = staticmethod(nettrim.branch_hull)
    share: ClassVar[float] = 1.5
    options: ClassVar = {
        "which": ("w", "x"),
        "regularizer": ("l1", "l2", "tv"),
        "slack": (0.1, 10.0),
        "zero": ("drop", "quadrant", "equality"),
        "relaxation": ("hull", "tangents"),
        "solver": ("auto", "newton", "admm", "lp"),
        "tangent_ratio": (1.01, 2.0),
        "max_iter": (1, 5),
        "time_limit": (1e-9, 1.0),
    }
    unspoiled = frozenset({"n_threads"})

    def arguments(self, rng: Random) -> Arguments:
        product = random_product(rng)
        arguments = {name: product[name] for name in ("y", "B", "C", "signs")}
        arguments |= {"n_threads": 1, "time_limit": 5.0}
        solver = pick(rng, ["auto", "newton", "admm", "lp"])
        arguments |= maybe(rng, 0.6, solver=solver)
        arguments |= maybe(rng, 0.3, zero=pick(rng, ["drop", "quadrant", "equality"]))
        arguments |= maybe(rng, 0.2, tol=pick(rng, [1e-8, 1e-3]))
        if rng.random() < 0.1:
            arguments["B"] = scipy.sparse.csr_array(arguments["B"])
        kind = int(rng.integers(5))
        if kind == 0:
            arguments["slack"] = float(pick(rng, [0.1, 1.0, 100.0]))
        elif kind == 1:
            arguments |= {"regularizer": "l2"}
            if arguments.get("solver") == "lp":
                del arguments["solver"]
        elif kind == 2 and arguments.get("solver") != "newton":
            arguments["relaxation"] = "tangents"
        if rng.random() < 0.25 and not scipy.sparse.issparse(arguments["B"]):
            arguments |= several_snapshots(rng, product)
        return arguments

    def check(self, arguments: Arguments, answer: nettrim.HullSolution) -> bool:
        assert answer.status in STATUSES, answer.status
        assert str(answer)
        assert answer.explain(3)
        if np.ndim(arguments["y"]) == 2:
            arguments, answer = spelled_out(arguments, answer)
        told = (answer.h, answer.m, answer.w, answer.x, answer.xi, answer.objective)
        if not all(np.isfinite(part).all() for part in told):
            assert answer.status != "optimal", "optimal, but no numbers"
            return False
        _assert_objective(arguments, answer)
        _assert_proved(arguments, answer)
        if answer.status == "optimal":
            _assert_branches(arguments, answer)
            assert answer.gap <= float(arguments.get("tol", 1e-6)) * (1 + 1e-6), answer.gap
        return bool(answer.status == "optimal")


def _dense(dictionary: Any) -> Any:
    return extended(dictionary.toarray() if hasattr(dictionary, "toarray") else dictionary)


def _prices(arguments: Arguments) -> Any:
    slack, rows = arguments.get("slack"), np.shape(arguments["y"])
    return None if slack is None else np.broadcast_to(extended(slack), rows)


def _assert_objective(arguments: Arguments, answer: nettrim.HullSolution) -> None:
    h, m = extended(answer.h), extended(answer.m)
    if arguments.get("regularizer", "l1") == "l2":
        objective = float((h**2).sum() + (m**2).sum())
    else:
        objective = float(np.abs(h).sum() + np.abs(m).sum())
        prices = _prices(arguments)
        if prices is not None:
            objective += float((prices * np.abs(extended(answer.xi))).sum())
    assert close(answer.objective, objective, 1e-6), f"{answer.objective}, truly {objective}"
    if objective and np.isfinite(answer.gap):
        gap = (objective - answer.dual_bound) / objective
        assert abs(answer.gap - gap) <= 1e-6 * max(1, abs(gap)), f"gap {answer.gap}, truly {gap}"


def _assert_branches(arguments: Arguments, answer: nettrim.HullSolution) -> None:
    """Every measurement lies beyond its product, on the branch of its sign."""
    y = extended(arguments["y"])
    signs = np.sign(np.broadcast_to(extended(arguments["signs"]), y.shape))
    B, C = _dense(arguments["B"]), _dense(arguments["C"])
    w, x = B @ extended(answer.h), C @ extended(answer.m)
    for told, signal in ((answer.w, w), (answer.x, x)):
        assert norm(extended(told) - signal) <= ROUNDING * (norm(signal) + 1e-300)
    if answer.slack_of == "x":
        known, other, terms = w, x + extended(answer.xi), (B, answer.h)
    else:
        known, other, terms = x, w + extended(answer.xi), (C, answer.m)
    grain = ROUNDING * (np.abs(terms[0]) @ np.abs(extended(terms[1])))
    kept = signs != 0
    assert (signs * known >= -grain)[kept].all(), "a signal has the wrong signs"
    least = 0.99 if arguments.get("relaxation") == "tangents" else 1 - 1e-6
    if arguments.get("relaxation") == "tangents":
        ratio = float(arguments.get("tangent_ratio", 1.1))
        least = 1 / np.cosh(np.log(ratio) / 2) ** 2 - 1e-6
    measured = kept & (y != 0)
    products = (known * other)[measured]
    assert (products * np.sign(y[measured]) >= least * np.abs(y[measured]) - 1e-300).all(), (
        "a product is smaller than what was measured"
    )


def _assert_proved(arguments: Arguments, answer: nettrim.HullSolution) -> None:
    """The multipliers prove the bound, by themselves."""
    y = np.abs(extended(arguments["y"]))
    signs = np.sign(np.broadcast_to(extended(arguments["signs"]), y.shape))
    s = np.where(extended(arguments["y"]) == 0, 1, np.sign(extended(arguments["y"])))
    p, q = extended(answer.p), extended(answer.q)
    if not (np.isfinite(p).all() and np.isfinite(q).all()):
        assert answer.status != "optimal"
        return
    first, second = _dense(arguments["B"]), _dense(arguments["C"])
    if not all(1e-150 < norm(array) < 1e150 for array in (first, second, y)):
        return  # multipliers may be too small for doubles
    known, other = (p, q) if answer.slack_of == "x" else (q, p)
    if answer.slack_of == "w":
        first, second = second, first
    pulls = first.T @ (signs * known), second.T @ (s * signs * other)
    gain = 2 * np.sqrt(np.maximum(p * q, 0) * y).sum()
    if arguments.get("regularizer", "l1") == "l2":
        bound = float(gain - sum((pull**2).sum() for pull in pulls) / 4)
    else:
        worst = max(float(np.abs(pull).max()) for pull in pulls)
        prices = _prices(arguments)
        if prices is not None:
            worst = max(worst, float(np.abs(other / prices).max()))
        bound = float(gain / max(worst, 1.0))
    assert answer.dual_bound <= bound * (1 + ROUNDING) + ROUNDING * abs(answer.objective), (
        f"bound {answer.dual_bound:.12g}, multipliers prove {bound:.12g}"
    )


class CheckSigns(Entry):
    """`nettrim.check_signs`."""

    function = staticmethod(nettrim.check_signs)
    options: ClassVar = {"which": ("w", "x")}

    def arguments(self, rng: Random) -> Arguments:
        product = random_product(rng)
        arguments = {name: product[name] for name in ("y", "B", "C", "signs")}
        self.truth = arguments | {"h": product["h"], "m": product["m"]}
        return arguments

    def check(self, arguments: Arguments, answer: nettrim.SignCheck) -> bool:
        assert answer.signal in ("w", "x")
        assert 0 <= answer.margin <= 1 + 1e-9
        assert answer.feasible or len(answer.worst), "contradiction without measurements"
        untouched = all(arguments[name] is self.truth[name] for name in ("y", "B", "C", "signs"))
        if untouched and arguments.get("which", "w") == "w" and self._margin() > 1e-6:
            assert answer.feasible, "there are signals of these signs"
        return True

    def _margin(self) -> float:
        """Return the margin that the truth has."""
        margins = []
        for name, coefficients in (("B", "h"), ("C", "m")):
            D, c = extended(self.truth[name]), extended(self.truth[coefficients])
            sizes = np.sqrt((D**2).sum(axis=1)) * (np.abs(c).max() or 1)
            margins.append(float((np.abs(D @ c) / np.where(sizes > 0, sizes, 1)).min()))
        return min(margins)


class IsRecoverable(Entry):
    """`nettrim.is_recoverable`."""

    function = staticmethod(nettrim.is_recoverable)
    options: ClassVar = {"regularizer": ("l1", "l2")}

    def arguments(self, rng: Random) -> Arguments:
        product = random_product(rng)
        arguments = {name: product[name] for name in ("h", "m", "B", "C")}
        return arguments | maybe(rng, 0.5, regularizer=pick(rng, ["l1", "l2"]))

    def check(self, arguments: Arguments, answer: bool) -> bool:
        assert type(answer) is bool
        return True


class RecoveryOdds(Entry):
    """`nettrim.recovery_odds`."""

    function = staticmethod(nettrim.recovery_odds)
    share: ClassVar[float] = 0.5

    def arguments(self, rng: Random) -> Arguments:
        return {name: int(rng.integers(1, 50)) for name in ("L", "K", "N")}

    def check(self, arguments: Arguments, answer: float) -> bool:
        L, K, N = (int(arguments[name]) for name in ("L", "K", "N"))
        assert 0 <= answer <= 1
        if L < 10_000:
            terms = binom.pmf(np.arange(max(K + N - 2, 0), L), L - 1, 0.5)
            assert close(answer, terms.sum(), 1e-9, 1e-12)
        return True


class SeparateImage(Entry):
    """`nettrim.separate_image`."""

    function = staticmethod(nettrim.separate_image)
    share: ClassVar[float] = 0.5
    options: ClassVar = {
        "method": ("hull", "log", "early-stopped"),
        "modes": (1, 3, 36),
        "mu": (1.0, 200.0),
        "slack": (1.0, 20.0),
        "max_iter": (1, 50),
        "time_limit": (1e-9,),
    }
    unspoiled = frozenset({"n_threads"})

    def arguments(self, rng: Random) -> Arguments:
        height, width = int(rng.integers(2, 9)), int(rng.integers(2, 9))
        image = rng.random((height, width)) + 0.1
        image[: height // 2] *= 3
        arguments = {"image": image, "modes": int(rng.integers(1, 5)), "n_threads": 1}
        if rng.random() < 0.3:
            arguments |= {"method": pick(rng, ["log", "early-stopped"]), "max_iter": 20}
        return {**arguments, "time_limit": 5.0}

    def check(self, arguments: Arguments, answer: nettrim.ImageSeparation) -> bool:
        assert answer.status in STATUSES, answer.status
        shape = np.shape(arguments["image"])
        parts = (answer.reflectance, answer.illumination, answer.slack)
        assert all(part.shape == shape for part in parts)
        if not all(np.isfinite(part).all() for part in parts):
            assert answer.status == "numerical"
            return False
        if arguments.get("method", "hull") != "hull":
            return True
        image = extended(arguments["image"])
        w, x = extended(answer.reflectance), extended(answer.illumination)
        assert abs(float(w.mean()) - 1) <= 1e-6
        if answer.status == "optimal":
            beyond = w * (x + extended(answer.slack)) - image
            assert (beyond >= -1e-6 * image - 1e-9 * image.mean()).all()
            assert answer.gap <= float(arguments.get("tol", 1e-4)) * (1 + 1e-6)
            assert close(answer.objective, self._objective(arguments, answer), 1e-6)
        return bool(answer.status == "optimal")

    def _objective(self, arguments: Arguments, answer: nettrim.ImageSeparation) -> float:
        w = extended(answer.reflectance)
        variation = sum(float(np.abs(np.diff(w, axis=axis)).sum()) for axis in (0, 1))
        mu, slack = float(arguments.get("mu", 18.0)), float(arguments.get("slack", 100.0))
        paid = mu * extended(answer.illumination).sum() + slack * extended(answer.slack).sum()
        return variation + float(paid / extended(arguments["image"]).mean()) / np.sqrt(w.size)


ENTRIES = (BranchHull, CheckSigns, IsRecoverable, RecoveryOdds, SeparateImage)

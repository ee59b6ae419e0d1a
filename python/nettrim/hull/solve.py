"""BranchHull: validate, take the signs away, solve, and give the signals back with their proof."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..base.arguments import check_choice, check_number, refuse_unused
from ..base.errors import InfeasibleError
from ..base.limits import Limits
from . import compiled, linear, working_set
from .doubts import measure_misfit, warn_of_doubts
from .program import HullProgram, HullRow
from .signs import find_conflict
from .snapshots import signs_of_sensors, unflatten
from .solution import HullProgress, HullSolution

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["branch_hull"]

SOLVERS = ("auto", "newton", "admm", "working-set", "lp")
HULLS_ONLY = ("newton", "working-set")
RELAXATIONS = ("hull", "tangents")
TANGENT_RATIO = 1.1  # the optimum is within about a thousandth of that of the hulls
MAX_ROUNDS = 200  # of linear programs
BELOW_TANGENTS = 1e-7  # share of the root of a product that rounding may take
# Entries of a sparse matrix or an operator.
ARRAYS_UP_TO = {"admm": 0, "working-set": 0, "auto": 1_000_000}
SCALARS = ("objective", "dual_bound", "gap", "status", "iterations", "solver", "seconds")


def branch_hull(
    y: ArrayLike,
    B: Any,
    C: Any,
    *,
    signs: ArrayLike,
    which: str = "w",
    regularizer: str = "l1",
    slack: ArrayLike | None = None,
    zero: str = "drop",
    relaxation: str = "hull",
    tangent_ratio: float | None = None,
    solver: str = "auto",
    tol: float = 1e-6,
    max_iter: int | None = None,
    time_limit: float | None = None,
    n_threads: int | None = None,
    callback: Callable[[HullProgress], object] | None = None,
) -> HullSolution:
    r"""Recover two signals from their entrywise product, the signs of one of them being known.

    Given ``y = w * x`` with ``w = B @ h``, ``x = C @ m`` and the signs of ``w``, every measurement
    lies on a known branch of a hyperbola. With the branch replaced by its convex hull it solves

    .. math:: \min \Vert h\Vert_1 + \Vert m\Vert_1 + \sum_l slack_l|\xi_l| \quad\text{s.t.}\quad
              (x_l + \xi_l) w_l \text{ beyond } y_l \text{ on the branch of } signs_l

    or, with ``regularizer="l2"``, :math:`\min \Vert h\Vert_2^2 + \Vert m\Vert_2^2` without slack.

    Several snapshots share `w`: gains of sensors that look at one scene after the other,
    ``Y = w[:, None] * X``. There is one `h`, and every column of `y` has a column of `m`.

    Parameters
    ----------
    y : array_like of shape (n_measurements,) or (n_measurements, n_snapshots)
        The products.
    B, C : array_like, sparse matrix or LinearOperator, (n_measurements, K) and (n_measurements, N)
        Dictionaries of `w` and `x`. "working-set" and "admm" need only products with a sparse
        matrix or operator and with its adjoint; the others make it an array. Of several snapshots
        `C` may be a sequence with a dictionary for each, all of N columns.
    signs : array_like of the shape of y or (n_measurements,), or a single number
        Numbers with the signs of `w`; a measurement whose sign is 0, unknown, is left out.
    which : {"w", "x"}, default "w"
        The signal whose signs are known. Slack is of the other one. "x" goes with one snapshot.
    regularizer : {"l1", "l2"}, default "l1"
        "l1" for sparse coefficients (l1-BranchHull), "l2" for those of a subspace (BranchHull).
    slack : float or array_like of the shape of y or (n_measurements,), optional
        Price of the error that a measurement may have in the signal whose signs are not known; with
        "l1" only. Default: none may have any.
    zero : {"drop", "quadrant", "equality"}, default "drop"
        What ``y = 0`` says. "drop": only the known sign, for the other is not in the data;
        "quadrant": that the other signal has the sign too; "equality": that it is zero, which is so
        if the measurement has no noise.
    relaxation : {"hull", "tangents"}, default "hull"
        "tangents" replaces every hull by tangents at fixed slopes, which makes a linear program;
        with "l1" and no slack only. Its optimum is below that of the hulls, by at most a factor of
        ``cosh(log(tangent_ratio) / 2)``, and its products are at least ``|y|`` over the square of
        that (1.0023 at the default). The slopes are 1e-4 to 1e4: where the products of an optimum
        are smaller, since `w` and `x` differ by more than that, the status is "numerical".
    tangent_ratio : float, default 1.1
        Between the slopes of neighbouring tangents, over 1; with "tangents" only.
    solver : {"auto", "newton", "admm", "working-set", "lp"}, default "auto"
        "newton": interior points, in compiled code, for hulls; "working-set": newton with the few
        measurements that matter, for hulls of ten times as many measurements as coefficients and
        more, where operators have over a million entries or arrays are large; "admm": alternating
        directions, in compiled code, for dictionaries of many thousand columns, for other sparse
        matrices and operators of more than a million entries and for tangents; "auto": one of these
        three, and admm where the others end in rounding errors; "lp" (l1 only):
        linear programs by SciPy's HiGHS, of the tangents or, for hulls, with ever more tangents,
        every round of which is a lower bound.
    tol : float, default 1e-6
        "optimal" means a gap of at most `tol`.
    max_iter : int, optional
        Default: 200 of "newton", "working-set" (rounds) and "lp", 100,000 of "admm".
    time_limit : float, optional
        Seconds; default none.
    n_threads : int, optional
        At most; "lp" takes one. Default: every processor this process may use.
    callback : callable, optional
        Called with a `HullProgress` after every iteration; a true return stops the solve.

    Returns
    -------
    HullSolution

    Raises
    ------
    InfeasibleError
        If no signals have these signs; the message names measurements that contradict each other.
    ValueError
        If an argument has the wrong shape, holds NaN or infinity, is empty or out of range.
    TypeError
        If an argument is not made of real numbers.

    Warns
    -----
    RecoveryWarning
        If the optimum need not be the signals that were measured: without slack, where its products
        exceed the measured ones by more than 2 %; and where, of arrays, other coefficients near by
        have the same products.

    Notes
    -----
    No measurement tells ``(h, m)`` from ``(c h, m / c)``; the answer is the balanced one, with
    equal terms of the objective (`HullSolution.rescale` chooses another).

    The norms are of coefficients. With "l2", dictionaries of orthonormal columns make them those of
    the signals, and signals are recovered from far fewer measurements (the guide, "Gains from
    several snapshots"). The time of "newton" is linear in the number of snapshots.

    References
    ----------
    Aghasi, Ahmed and Hand, BranchHull: Convex bilinear inversion from the entrywise product of
    signals with known signs (arXiv 1702.04342). Aghasi, Ahmed, Hand and Joshi, A convex program for
    bilinear inversion of sparse vectors (NeurIPS 2018).

    Examples
    --------
    >>> import numpy as np, nettrim
    >>> rng = np.random.default_rng(0)
    >>> B, C = rng.standard_normal((60, 40)), rng.standard_normal((60, 40))
    >>> h, m = np.eye(40)[3] - np.eye(40)[7], np.eye(40)[1] + np.eye(40)[2]
    >>> s = nettrim.branch_hull((B @ h) * (C @ m), B, C, signs=B @ h)
    >>> s.status, np.flatnonzero(s.h).tolist(), np.flatnonzero(s.m).tolist()
    ('optimal', [3, 7], [1, 2])

    Gains of 30 sensors, from four scenes:

    >>> B, C = (np.linalg.qr(rng.standard_normal((30, n)))[0] for n in (3, 6))
    >>> w, X = B @ [1, 2, 3], C @ rng.standard_normal((6, 4))
    >>> s = nettrim.branch_hull(w[:, None] * X, B, C, signs=w, regularizer="l2")
    >>> s.m.shape, bool(np.allclose(s.w / s.w[0], w / w[0], rtol=1e-4))
    ((6, 4), True)
    """
    check_choice(solver, SOLVERS, "solver")
    check_choice(relaxation, RELAXATIONS, "relaxation")
    ratio = _check_ratio(tangent_ratio, relaxation)
    program = HullProgram.of(
        y,
        B,
        C,
        signs,
        which=which,
        regularizer=regularizer,
        slack=slack,
        zero=zero,
        arrays_up_to=ARRAYS_UP_TO.get(solver, np.inf),
    )
    tol = check_number(tol, "tol", above=0.0)
    most = MAX_ROUNDS if solver == "lp" else compiled.OWN_LIMIT
    limits = Limits.of(max_iter, time_limit, n_threads, callback, HullProgress, most)
    if ratio and (regularizer != "l1" or slack is not None or solver in HULLS_ONLY):
        raise ValueError(
            "relaxation='tangents' goes with regularizer='l1', no slack, and 'admm' or 'lp'"
        )
    if program.snapshots is not None and which == "w":
        signs_of_sensors(program.everywhere(program.t), program.snapshots.count)
    fields = _solve(program, solver, tol, limits, ratio)
    pointless = not np.isfinite(fields["objective"])
    if ratio and fields["status"] == "optimal" and not _keeps_to_hulls(fields, program, ratio):
        fields["status"], pointless = "numerical", True
    if fields["status"] in ("numerical", "max_iter") and pointless:
        found = find_conflict(fields.get("part") or program)
        if found is not None:
            raise InfeasibleError(found.message(which))
    if solver == "auto" and fields["solver"] in HULLS_ONLY and fields["status"] == "numerical":
        left = replace(limits, time_limit=max(limits.time_limit - fields["seconds"], 0.0))
        fields = _solve(program, "admm", tol, left, ratio)
    solution = _solution(fields, program, which)
    warn_of_doubts(solution, program, fields["h"], fields["m"])
    return solution


def _check_ratio(tangent_ratio: float | None, relaxation: str) -> float:
    """Return the ratio of slopes, 0 for hulls."""
    if relaxation == "hull":
        refuse_unused("belongs to relaxation='tangents'", tangent_ratio=tangent_ratio)
        return 0.0
    if tangent_ratio is None:
        return TANGENT_RATIO
    return check_number(tangent_ratio, "tangent_ratio", above=1.0)


def _solve(
    program: HullProgram, solver: str, tol: float, limits: Limits, ratio: float
) -> dict[str, Any]:
    """Return what an engine says of a program."""
    if solver == "lp":
        return linear.solve(program, tol, limits, ratio)
    structure = program.snapshots
    if structure is not None and structure.count > 1:
        if solver == "newton" or (solver == "auto" and not ratio and structure.suit_newton()):
            return compiled.solve_snapshots(program, structure, tol, limits)
        solver = "admm" if solver == "auto" else solver
    if solver == "working-set" or (solver == "auto" and not ratio and working_set.suits(program)):
        return working_set.solve(program, tol, limits)
    return compiled.solve(program, solver, tol, limits, ratio)


def _keeps_to_hulls(fields: dict[str, Any], program: HullProgram, ratio: float) -> bool:
    """Tell whether products are as close to their hulls as tangents between slopes promise."""
    u, v = (np.maximum(D @ fields[name], 0) for D, name in ((program.A, "h"), (program.D, "m")))
    root = np.sqrt(u) * np.sqrt(v)
    least = (1 - BELOW_TANGENTS) * np.sqrt(program.r) / np.cosh(np.log(ratio) / 2)
    return bool((root >= least)[program.kinds == HullRow.HULL].all())


def _solution(fields: Any, program: HullProgram, which: str) -> HullSolution:
    """Give every measurement its sign back, and those left out zero multipliers."""
    h, m = fields["h"], fields["m"]
    p, q = program.everywhere(fields["p"]), program.everywhere(fields["q"])
    xi = program.everywhere(program.row_signs * fields["xi"]) + 0.0  # no negative zeros
    w, x = program.B @ h, program.C @ m
    misfit = measure_misfit(program, (w * (x + xi))[program.kept])
    if which == "x":
        h, m, w, x, p, q = m, h, x, w, q, p
    if program.snapshots is not None:
        m, w = program.snapshots.split(m), w[: program.snapshots.n_sensors]
        x, xi, p, q = (unflatten(part, program.snapshots.count) for part in (x, xi, p, q))
    return HullSolution(
        h=h,
        m=m,
        w=w,
        x=x,
        xi=xi,
        p=p,
        q=q,
        misfit=misfit,
        regularizer=program.regularizer,
        slack_of="x" if which == "w" else "w",
        **{name: fields[name] for name in SCALARS},
    )

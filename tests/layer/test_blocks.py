"""A layer in blocks of outputs, and in groups: the same optimum, proved for the whole layer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

import nettrim
from nettrim.layer.blocks import common_penalty
from nettrim.layer.blocks.block import BlockStart, solve_blocks, split_outputs
from nettrim.layer.blocks.dispatcher import Dispatcher
from nettrim.layer.blocks.pareto import Point, next_penalty
from nettrim.layer.data import LayerData
from nettrim.layer.options import Form, LayerOptions
from nettrim.layer.reference import ReferenceProgram, certify
from support import problems
from support.conic import solve_conic

TOL = 1e-6  # the default of solve_layer


def layer():
    program = problems.thirty_neurons()
    return program.X, program.Y


def both(X, Y, width, **form):
    """Solve at once and in blocks; check the blocks' proof from their arrays alone."""
    whole = nettrim.solve_layer(X, Y, n_threads=1, **form)
    blocks = nettrim.solve_layer(X, Y, block_outputs=width, n_threads=1, **form)
    program_form = {k: v for k, v in form.items() if k != "tol"}
    proof = certify(ReferenceProgram.of(X, Y, **program_form), blocks.weights, blocks.dual)
    assert proof.objective == pytest.approx(blocks.objective, rel=1e-9, abs=1e-12)
    assert proof.dual_bound == pytest.approx(blocks.dual_bound, rel=1e-7, abs=1e-12)
    assert proof.residual == pytest.approx(blocks.residual, rel=1e-9, abs=1e-12)
    return whole, blocks


@pytest.mark.parametrize(("width", "gain"), [(7, 0.05), (7, 0.3), (7, 0.6), (1, 0.05), (11, 0.99)])
def test_the_optimum_does_not_depend_on_the_blocks(width, gain):
    X, Y = layer()
    whole, blocks = both(X, Y, width, epsilon=gain * np.linalg.norm(Y))
    assert (whole.status, blocks.status) == ("optimal", "optimal")
    assert blocks.objective == pytest.approx(whole.objective, rel=2e-6)
    assert blocks.residual <= blocks.epsilon * (1 + 1e-6)
    assert blocks.penalty == pytest.approx(whole.penalty, rel=1e-3)
    assert blocks.nonzeros == pytest.approx(whole.nonzeros, rel=0.005)


@pytest.mark.parametrize("activation", ["relu", "linear"])
def test_penalised_blocks_are_independent(activation):
    X, Y = layer()
    whole, blocks = both(X, Y, 7, penalty=3.0, activation=activation)
    assert blocks.status == "optimal"
    assert blocks.objective == pytest.approx(whole.objective, rel=2e-6)


def test_linear_layers():
    X, Y = layer()
    Y = X @ problems.thirty_neurons().weights
    whole, blocks = both(X, Y, 11, epsilon=0.2 * np.linalg.norm(Y), activation="linear")
    assert blocks.status == "optimal"
    assert blocks.objective == pytest.approx(whole.objective, rel=2e-6)


def test_no_block_can_have_its_share_of_a_floor():
    """Targets that inputs cannot reach, as behind trimmed layers, and more so in some blocks."""
    rng = np.random.default_rng(4)
    X, Y = layer()
    Y = problems.relu(Y + rng.standard_normal(Y.shape) * np.geomspace(0.01, 1, Y.shape[1]))
    least = nettrim.solve_layer(X, Y, penalty=1e-4 * np.linalg.norm(Y)).residual
    share = least * np.linalg.norm(Y[:, -3:]) / np.linalg.norm(Y)
    alone = nettrim.solve_layer(X, np.ascontiguousarray(Y[:, -3:]), epsilon=1.02 * share)
    assert alone.status == "infeasible"
    whole, blocks = both(X, Y, 3, epsilon=1.02 * least)
    assert (whole.status, blocks.status) == ("optimal", "optimal")
    assert blocks.objective == pytest.approx(whole.objective, rel=2e-6)


def test_dead_outputs_fill_a_block():
    X, Y = layer()
    Y = Y[:, :12].copy()
    Y[:, 4:8] = 0
    whole, blocks = both(X, Y, 4, epsilon=0.1 * np.linalg.norm(Y))
    assert blocks.status == "optimal"
    assert blocks.objective == pytest.approx(whole.objective, rel=2e-6)
    assert not blocks.weights[:, 4:8].any()


def test_dead_outputs_with_work_to_do():
    """Below a negative bound even an output that is never active needs weights."""
    X, Y = layer()
    Y = Y[:, :6].copy()
    Y[:, 2:4] = 0
    upper = np.where(np.arange(6) == 2, -0.1, 0.5) * np.ones(Y.shape)
    for epsilon in (0.1 * np.linalg.norm(Y), 2 * np.linalg.norm(Y)):
        whole, blocks = both(X, Y, 2, epsilon=epsilon, upper=upper)
        assert blocks.status == "optimal"
        # As much is allowed to the half-spaces, and they cost more than the ball.
        assert blocks.objective == pytest.approx(whole.objective, rel=1e-4)
        assert blocks.weights[:, 2].any()
        assert not blocks.weights[:, 3].any()
    whole, blocks = both(X, np.zeros_like(Y), 2, epsilon=1.0, upper=upper)
    assert blocks.objective == pytest.approx(whole.objective, rel=1e-4)
    assert blocks.residual == 0


def test_zero_is_the_answer_at_a_large_epsilon():
    X, Y = layer()
    _, blocks = both(X, Y, 7, epsilon=float(np.linalg.norm(Y)))
    assert blocks.status == "optimal"
    assert not blocks.weights.any()
    assert blocks.penalty == np.inf


def test_equality_needs_no_agreement():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 12))
    Y = problems.relu(X @ (rng.standard_normal((12, 5)) * (rng.random((12, 5)) < 0.3)))
    whole, blocks = both(X, Y, 2, epsilon=0.0)
    assert (whole.status, blocks.status) == ("optimal", "optimal")
    assert blocks.objective == pytest.approx(whole.objective, rel=2e-6)


def test_an_epsilon_out_of_reach():
    X, Y = layer()
    Y = Y + np.random.default_rng(0).random(Y.shape)
    answer = nettrim.solve_layer(X, Y, epsilon=1e-3 * np.linalg.norm(Y), block_outputs=7)
    proof = certify(ReferenceProgram.of(X, Y, epsilon=answer.epsilon), answer.weights, answer.dual)
    assert answer.status == "infeasible"
    assert answer.dual_bound > 1e6 * answer.objective
    assert proof.dual_bound == pytest.approx(answer.dual_bound, rel=1e-3)


@pytest.mark.parametrize("solver", ["newton", "admm"])
def test_an_epsilon_out_of_reach_beside_outputs_that_need_none(solver):
    """The proof is the other block's alone; a share of epsilon of this one would never be one."""
    X, Y = layer()
    Y = Y[:, :14].copy()
    Y[:, 7:] += np.random.default_rng(0).random((len(Y), 7))
    answer = nettrim.solve_layer(
        X, Y, epsilon=1e-3 * np.linalg.norm(Y), block_outputs=7, solver=solver
    )
    proof = certify(ReferenceProgram.of(X, Y, epsilon=answer.epsilon), answer.weights, answer.dual)
    assert answer.status == "infeasible"
    assert answer.dual_bound > 1e6 * answer.objective
    assert proof.dual_bound == pytest.approx(answer.dual_bound, rel=1e-3)


def test_a_block_of_active_outputs_that_are_zero():
    """It has no share of epsilon to guess a penalty from."""
    rng = np.random.default_rng(4)
    X, W = rng.standard_normal((10, 4)), rng.standard_normal((4, 2))
    active = rng.random((10, 2)) < 0.5
    Y = np.where(active & [False, True], X @ W, 0.0)
    form = {"active": active, "upper": X @ W, "epsilon": 0.9 * float(np.linalg.norm(Y))}
    whole = nettrim.solve_layer(X, Y, **form)
    blocks = nettrim.solve_layer(X, Y, block_outputs=1, **form)
    assert (whole.status, blocks.status) == ("optimal", "optimal")
    assert blocks.objective == pytest.approx(whole.objective, rel=2e-6)


def contradictory(n_samples, n_outputs):
    """Of the first outputs: x'u <= -1 and -x'u <= -1."""
    X, Y = (values[:n_samples] for values in layer())
    before = np.where(np.arange(Y.shape[1]) < n_outputs, 0, Y)
    X, Y = np.vstack([X, -X]), np.vstack([before, before])
    return X, Y, np.full(Y.shape, -1.0)


@pytest.fixture
def rounds(monkeypatch):
    """Results of all blocks, of every time they are asked."""
    results = []
    ask = Dispatcher.solve

    def kept(desk, *terms, **options):
        results.append(ask(desk, *terms, **options))
        return results[-1]

    monkeypatch.setattr(Dispatcher, "solve", kept)
    return results


def solve_contradictory(X, Y, upper):
    epsilon = 0.5 * np.linalg.norm(Y)
    answer = nettrim.solve_layer(X, Y, epsilon=epsilon, upper=upper, block_outputs=7)
    assert answer.status == "infeasible"
    assert answer.dual_bound > 1e6 * answer.objective
    program = ReferenceProgram.of(X, Y, epsilon=answer.epsilon, upper=upper)
    proof = certify(program, answer.weights, answer.dual)
    assert proof.dual_bound > 1e6 * answer.objective  # a ray is as long as rounding allows
    return answer


@pytest.mark.parametrize("n_samples", [100, 200, 600])
def test_half_spaces_that_contradict_each_other(n_samples, rounds):
    """In one block, which proves it in its first steps. What the others do proves nothing."""
    answer = solve_contradictory(*contradictory(n_samples, 7))
    assert not answer.dual[:, 7:].any()
    assert len(rounds) == 1
    assert all(result.solution.iterations == 1 for result in rounds[0][1:])


@pytest.mark.parametrize("n_outputs", [3, 17])
def test_half_spaces_that_contradict_each_other_beside_outputs_that_do_not(n_outputs, rounds):
    """Where a block has a share of epsilon, its first steps may prove less than a penalty does."""
    solve_contradictory(*contradictory(100, n_outputs))
    assert len(rounds) <= 2


def test_half_spaces_that_contradict_each_other_everywhere(rounds):
    """Every block proves in its first steps that it cannot have its share."""
    X, Y, upper = contradictory(100, 0)
    Y[100:] = 0
    solve_contradictory(X, Y, upper)
    assert len(rounds) <= 2


def test_penalised_blocks_that_contradict_themselves():
    X, Y, upper = contradictory(100, 7)
    answer = nettrim.solve_layer(X, Y, penalty=1.0, upper=upper, block_outputs=7)
    assert answer.status == "infeasible"
    assert answer.dual_bound > 1e6 * answer.objective


def test_a_mask_tells_what_is_active():
    rng = np.random.default_rng(3)
    X, Z = rng.standard_normal((80, 9)), rng.standard_normal((80, 6))
    active = rng.random(Z.shape) < 0.5
    form = {
        "epsilon": 0.95 * float(np.linalg.norm(Z[active])),
        "upper": np.abs(Z),
        "active": active,
    }
    whole = nettrim.solve_layer(X, Z, **form)
    blocks = nettrim.solve_layer(X, Z, block_outputs=2, **form)
    assert (whole.status, blocks.status) == ("optimal", "optimal")
    assert blocks.objective == pytest.approx(whole.objective, rel=2e-6)
    assert blocks.residual <= blocks.epsilon * (1 + TOL)
    assert (blocks.dual[~active] <= 0).all()


@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**32 - 1),
    upper=st.sampled_from(problems.UPPERS),
    activation=st.sampled_from(["relu", "relu", "linear"]),
    gain=st.sampled_from([0.02, 0.2, 0.7]),
    n_outputs=st.integers(2, 6),
    width=st.integers(1, 5),
)
def test_random_layers_in_blocks_of_any_width(seed, upper, activation, gain, n_outputs, width):
    rng = np.random.default_rng(seed)
    X = problems.with_ones(rng.standard_normal((30, 5)))
    program = problems.layer(X, rng.standard_normal((6, n_outputs)), activation).at(gain)
    if activation == "relu" and upper != "zero":
        room = 0.2 * np.abs(rng.standard_normal(program.Y.shape))
        base = program.Y if upper == "above" else X @ program.weights
        program = replace(program, upper=base + room)
    whole = program.solve()
    blocks = program.solve(block_outputs=width)
    assert (whole.status, blocks.status) == ("optimal", "optimal")
    assert blocks.objective == pytest.approx(whole.objective, rel=2 * TOL, abs=1e-12)
    assert program.residual(blocks.weights) <= program.epsilon * (1 + TOL)
    assert program.violation(blocks.weights) <= TOL * np.abs(program.Y).max()


# --- groups ---------------------------------------------------------------------------------------


def grouped(groups, activation="relu", seed=0, per_group=2):
    """Inputs and outputs of a grouped layer, also as one output over block-diagonal inputs."""
    rng = np.random.default_rng(seed)
    n, f, m = 24, 3, groups * per_group
    X = rng.standard_normal((n, groups * f))
    W = rng.standard_normal((f, m)) * np.geomspace(0.2, 2, m)
    parts = X.reshape(n, groups, f)
    Z = np.hstack([parts[:, k // per_group] @ W[:, [k]] for k in range(m)])
    rows = [parts[:, k // per_group] for k in range(m)]
    dense = sparse.block_diag(rows).toarray()
    one = problems.layer(dense, W.T.reshape(-1, 1), activation)
    return X, problems.relu(Z) if activation == "relu" else Z, one


@pytest.mark.parametrize("activation", ["relu", "linear"])
@pytest.mark.parametrize(("groups", "per_group"), [(3, 2), (5, 1), (1, 4)])
def test_groups_are_a_block_diagonal_layer(activation, groups, per_group):
    X, Y, one = grouped(groups, activation, per_group=per_group)
    for form in ({"epsilon": 0.2 * float(np.linalg.norm(Y))}, {"penalty": 0.7}):
        answer = nettrim.solve_layer(X, Y, groups=groups, activation=activation, **form)
        referee = solve_conic(replace(one, **form))
        dense = replace(one, **form).solve()
        assert answer.status == "optimal"
        assert answer.weights.shape == (3, groups * per_group)
        assert answer.objective == pytest.approx(referee.objective, rel=2e-6)
        assert answer.objective == pytest.approx(dense.objective, rel=2e-6)
        assert answer.dual_bound <= referee.objective * (1 + 1e-9)
        stacked = answer.weights.T.reshape(-1, 1)
        assert one.residual(stacked) == pytest.approx(answer.residual, rel=1e-9)
        assert one.violation(stacked) <= TOL * np.abs(Y).max()


def test_groups_with_bounds_and_a_mask():
    X, Y, one = grouped(3)
    rng = np.random.default_rng(1)
    active = Y > 0.1
    upper = problems.relu(Y) + 0.2 * rng.random(Y.shape)
    epsilon = 0.3 * float(np.linalg.norm(Y[active]))
    target = np.where(active, Y - 0.05, 0.0)  # negative entries may be active
    answer = nettrim.solve_layer(
        X, target, groups=3, active=active, upper=upper, epsilon=epsilon, block_outputs=1
    )
    column = [a.T.reshape(-1, 1) for a in (target, upper, active)]
    one = replace(one, Y=column[0], upper=column[1], mask=column[2], epsilon=epsilon)
    assert answer.status == "optimal"
    assert answer.objective == pytest.approx(solve_conic(one).objective, rel=2e-6)


def test_a_feature_that_is_always_zero():
    X, Y, _ = grouped(3)
    epsilon = 0.9 * float(np.linalg.norm(Y))  # much was due to that feature
    X.reshape(len(X), 3, 3)[:, :, 1] = 0
    everywhere = nettrim.solve_layer(X, Y, groups=3, epsilon=epsilon)
    assert everywhere.status == "optimal"
    assert not everywhere.weights[1].any()
    X, Y, _ = grouped(3)
    X[:, 4] = 0  # in the second group alone
    assert nettrim.solve_layer(X, Y, groups=3, epsilon=epsilon).status == "optimal"


def test_many_small_groups_on_two_threads():
    rng = np.random.default_rng(2)
    X = problems.relu(rng.standard_normal((400, 16 * 5)))
    W = rng.standard_normal((5, 16)) * np.geomspace(0.05, 1, 16)
    Y = problems.relu(np.einsum("ngf,fg->ng", X.reshape(400, 16, 5), W))
    one, two = (
        nettrim.solve_layer(X, Y, groups=16, epsilon=0.1 * np.linalg.norm(Y), n_threads=n)
        for n in (1, 2)
    )
    assert one.status == two.status == "optimal"
    assert np.array_equal(one.weights, two.weights)
    assert np.array_equal(one.dual, two.dual)


@pytest.mark.parametrize("groups", [2, 7])
def test_groups_must_divide(groups):
    X, Y, _ = grouped(3, per_group=1)
    with pytest.raises(ValueError, match=rf"^groups must divide .* got {groups} for 9 and 3"):
        nettrim.solve_layer(X, Y, groups=groups, epsilon=1.0)


def test_groups_must_be_a_positive_number():
    X, Y = layer()
    with pytest.raises(ValueError, match=r"^groups must be at least 1"):
        nettrim.solve_layer(X, Y, groups=0, epsilon=1.0)
    with pytest.raises(TypeError, match=r"^groups must be a whole number"):
        nettrim.solve_layer(X, Y, groups=1.5, epsilon=1.0)


# --- limits and listeners -------------------------------------------------------------------------


def test_the_listener_hears_of_the_whole_layer_once_a_round():
    X, Y = layer()
    epsilon, told = 0.3 * np.linalg.norm(Y), []
    answer = nettrim.solve_layer(X, Y, epsilon=epsilon, block_outputs=7, callback=told.append)
    assert 2 <= len(told) <= 8
    assert all(p.dual_bound <= answer.objective * (1 + TOL) for p in told)
    assert told[-1].gap == pytest.approx(answer.gap, abs=1e-12)
    assert told[-1].residual == pytest.approx(epsilon, rel=TOL)
    assert [p.iteration for p in told] == sorted(p.iteration for p in told)
    assert told[-1].iteration <= answer.iterations


@pytest.mark.parametrize("at", [1, 2])
def test_an_interrupt_returns_the_best_answer_so_far(at):
    X, Y = layer()
    epsilon, told = 0.3 * np.linalg.norm(Y), []

    def stop(progress):
        told.append(progress)
        return len(told) == at

    stopped = nettrim.solve_layer(X, Y, epsilon=epsilon, block_outputs=7, callback=stop)
    best = min(told, key=lambda p: max(p.residual / epsilon - 1, abs(p.gap)))
    assert stopped.status == "interrupted"
    assert stopped.objective == best.objective
    assert stopped.residual == best.residual
    program = ReferenceProgram.of(X, Y, epsilon=epsilon)
    proof = certify(program, stopped.weights, stopped.dual)
    assert proof.objective == pytest.approx(stopped.objective)
    assert proof.dual_bound == pytest.approx(stopped.dual_bound, rel=1e-6)
    optimum = nettrim.solve_layer(X, Y, epsilon=epsilon).objective
    assert 0.5 * optimum < stopped.dual_bound <= optimum * (1 + TOL)


def test_a_keyboard_interrupt_is_an_interrupt():
    X, Y = layer()

    def ctrl_c(progress):
        raise KeyboardInterrupt

    stopped = nettrim.solve_layer(
        X, Y, epsilon=0.1 * np.linalg.norm(Y), block_outputs=7, callback=ctrl_c
    )
    assert stopped.status == "interrupted"
    assert stopped.dual_bound > 0


def test_an_error_of_the_listener_is_raised():
    X, Y = layer()

    def fail(progress):
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        nettrim.solve_layer(X, Y, epsilon=1.0, block_outputs=7, callback=fail)


def test_limits_are_those_of_all_blocks_together():
    X, Y = layer()
    form = {"epsilon": 0.05 * np.linalg.norm(Y), "block_outputs": 7}
    few = nettrim.solve_layer(X, Y, max_iter=30, **form)
    assert few.status == "max_iter"
    assert few.iterations <= 32
    hurried = nettrim.solve_layer(X, Y, time_limit=1e-6, **form)
    assert hurried.status == "time_limit"
    assert hurried.weights.shape == (X.shape[1], Y.shape[1])
    for answer in (few, hurried):
        proof = certify(
            ReferenceProgram.of(X, Y, epsilon=form["epsilon"]), answer.weights, answer.dual
        )
        assert proof.dual_bound == pytest.approx(answer.dual_bound, rel=1e-6, abs=1e-9)


def test_a_warm_start_and_single_precision():
    X, Y = layer()
    form = {"epsilon": 0.1 * np.linalg.norm(Y), "block_outputs": 7}
    near = nettrim.solve_layer(X, Y, epsilon=0.101 * np.linalg.norm(Y))
    warm = nettrim.solve_layer(X, Y, warm_start=near, **form)
    cold = nettrim.solve_layer(X, Y, **form)
    assert warm.status == cold.status == "optimal"
    assert warm.iterations < cold.iterations
    single = nettrim.solve_layer(X, Y, dtype=np.float32, tol=1e-4, **form)
    assert single.status == "optimal"
    assert single.weights.dtype == single.dual.dtype == np.float32
    assert single.objective == pytest.approx(cold.objective, rel=2e-4)


# --- the search for the penalty -------------------------------------------------------------------


class Coarse:
    """Solves for the nearest penalty of a grid, so that epsilon is never met."""

    def __init__(self, data, ratio):
        self.data = data
        self.ratio = ratio

    def solve(self, orders, engine):
        return [self.solve_one(order, engine) for order in orders]

    def solve_one(self, order, engine):
        penalty = order.form.penalty
        if penalty is None:
            return solve_blocks(self.data, [order], engine)[0]
        nearest = self.ratio ** round(np.log(penalty) / np.log(self.ratio))
        [part] = solve_blocks(self.data, [order._replace(form=Form(penalty=nearest))], engine)
        dual = part.solution.dual * (penalty / nearest)
        return part._replace(solution=replace(part.solution, dual=dual))


def test_a_mixture_closes_the_proof_where_epsilon_is_never_met():
    X, Y = layer()
    data = LayerData.of(X, Y, "relu", None, None, np.dtype(float))
    epsilon, blocks = 0.3 * float(np.linalg.norm(Y)), split_outputs(data, 7)
    engine = LayerOptions("auto", TOL, 50_000, np.inf, 25, 1)
    starts = [BlockStart()] * len(blocks)
    answer = common_penalty.solve_in_blocks(
        Coarse(data, 1 + 5e-5), blocks, Form(epsilon=epsilon), engine, starts
    )
    proof = certify(ReferenceProgram.of(X, Y, epsilon=epsilon), answer.weights, answer.dual)
    assert answer.status == "optimal"
    assert proof.gap == pytest.approx(answer.gap, abs=1e-8)
    assert epsilon * (1 - 1e-8) <= proof.residual <= epsilon * (1 + TOL)
    assert answer.residual == pytest.approx(proof.residual, rel=1e-9)


@pytest.mark.parametrize("epsilon", [0.02, 0.5, 3.0, 6.9])
@pytest.mark.parametrize("first", [1e-4, 1.0, 60.0])
def test_the_penalty_is_found_in_a_few_steps(epsilon, first):
    """On orthonormal features every weight is soft-thresholded, so the curve is known."""
    y = np.geomspace(0.1, 5, 40)

    def point(penalty):
        misfit = np.minimum(penalty / 2, y)
        return Point(penalty, float(np.linalg.norm(misfit)), float((y - misfit).sum()), 0.0)

    points = [point(first)]
    while abs(points[-1].residual / epsilon - 1) > 1e-9:
        points.append(point(next_penalty(points, epsilon)))
        assert len(points) <= 14
    assert len({p.penalty for p in points}) == len(points)


def test_penalties_stay_between_those_that_were_too_small_and_too_large():
    points = [Point(1.0, 0.5, 10.0, 0.0), Point(2.0, 4.0, 1.0, 0.0)]
    for epsilon in np.linspace(0.51, 3.99, 30):
        assert 1.0 < next_penalty(points, float(epsilon)) < 2.0
    # Noise: the first point may lie on either side.
    doubtful = [points[0]._replace(noise=1.0), points[1]]
    assert next_penalty(doubtful, 0.3) < 1.0


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("gain", [0.003, 0.1, 0.4])
def test_what_is_told_of_the_weights_is_true_of_them(gain, dtype):
    """Also where the answer is a mixture of two, and where rounding is coarse."""
    X, Y = layer()
    X, Y = X.astype(dtype), Y.astype(dtype)
    epsilon = gain * float(np.linalg.norm(Y))
    s = nettrim.solve_layer(X, Y, epsilon=epsilon, block_outputs=7, tol=1e-4, dtype=dtype)
    signal = X.astype(np.float64) @ s.weights.astype(np.float64)
    rounding = 1e-12 * float(np.linalg.norm(Y))
    assert s.objective == pytest.approx(np.abs(s.weights).sum(dtype=np.float64), rel=1e-9)
    assert s.residual == pytest.approx(np.linalg.norm((signal - Y)[Y > 0]), abs=rounding)
    assert s.violation == pytest.approx(max(signal[Y <= 0].max(), 0.0), abs=rounding)


def test_a_proof_is_the_one_whose_multipliers_are_at_hand(monkeypatch):
    """Asked again for all multipliers, blocks may prove a little less than they did before."""
    ask = Dispatcher.solve

    def again(desk, *terms, all_multipliers=True, **options):
        parts = ask(desk, *terms, all_multipliers=all_multipliers, **options)
        less = 1 - 1e-7 * all_multipliers
        return [part._replace(linear=part.linear * less) for part in parts]

    def hurried(desk, *terms, **options):
        raise AssertionError("multipliers were asked for in a hurry")

    monkeypatch.setattr(common_penalty, "SOON", 0.0)  # no round is expected to be the last
    monkeypatch.setattr(Dispatcher, "solve", again)
    monkeypatch.setattr(Dispatcher, "step_here", hurried)
    X, Y = layer()
    for gain in (0.01, 0.1, 0.3, 0.6):
        epsilon = gain * np.linalg.norm(Y)
        s = nettrim.solve_layer(X, Y, epsilon=epsilon, block_outputs=7, tol=1e-4)
        assert s.status == "optimal"
        assert s.gap <= 1e-4


def test_penalties_beyond_single_precision(rng) -> None:
    """Multipliers are divided by penalties as doubles, and no warning is heard."""
    X = (1e21 * rng.standard_normal((12, 16))).astype(np.float32)
    Y = (X @ rng.standard_normal((16, 8))).astype(np.float32)
    s = nettrim.solve_layer(
        X,
        Y,
        epsilon=1e-3 * float(np.linalg.norm(Y.astype(float))),
        activation="linear",
        solver="newton",
        groups=2,
        dtype=np.float32,
        tol=1e-3,
        n_threads=1,
        time_limit=5.0,
    )
    assert np.isfinite(s.dual).all()

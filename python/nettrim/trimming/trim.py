"""Trim a whole network: one walk over a model view, one convex program for each layer.

What was asked for is checked and becomes a goal, the job (see `nettrim.trimming.job`) carries it
out by walks (see `nettrim.trimming.walk`), and what came of it is measured and bounded (see
`nettrim.trimming.assessment`).
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from ..models.masks import MaskChoice
from ..results.trim_result import TrimResult
from .choice import LayerChoice
from .goals import Goal, resolve_goal
from .job import Job
from .measure import Measure
from .reach import reach

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .goals import GoalOptions

Model = TypeVar("Model")


def trim(
    model: Model,
    X: Any,
    goal: Goal | None = None,
    *,
    epsilon: float | None = None,
    sparsity: float | None = None,
    scheme: Literal["cascade", "parallel"] = "cascade",
    layers: LayerChoice | None = None,
    skip: LayerChoice | None = None,
    outputs: Iterable[int | str] | None = None,
    mask: MaskChoice = None,
    held_out: Any = None,
    measure: Measure | None = None,
    n_threads: int | None = None,
    executor: Executor | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    max_patches: int = 20_000,
    seed: int = 0,
    progress: bool = True,
    **options: Unpack[GoalOptions],
) -> TrimResult[Model]:
    r"""Make a trained network sparse or smaller: to an error, with proof, to a sparsity or a size.

    Given `nettrim.Error`, or ``epsilon`` for short, each layer is a convex program. A layer with
    input :math:`X` and original output :math:`Y` gets the weights of smallest l1 norm (biases
    included, as a row of weights on a column of ones) that keep its response,

    .. math:: \min \lVert W\rVert_1 \quad\text{s.t.}\quad
              \lVert (XW - Y)_\Omega\rVert_F \le \epsilon_l, \quad (XW)_{\Omega^c} \le V ,

    where :math:`\Omega` is where :math:`Y > 0` (everywhere for a linear layer).

    * ``scheme="parallel"``: every layer sees the original signals, :math:`\epsilon_l` is
      ``epsilon`` times the norm of its output, :math:`V = 0`.
    * ``scheme="cascade"``: the first pruned layer as above. A later one sees the output
      :math:`\hat X` of the layers already trimmed, and what the original weights do with it is
      allowed to the new ones:
      :math:`\epsilon_l^2 = \gamma \lVert(\hat X W_l - Y)_\Omega\rVert_F^2` and
      :math:`V = \max(\hat X W_l, 0)` (``slack="positive"``) or :math:`V = \hat X W_l`
      (``"paper"``). Both keep the original weights feasible and the same bound; "positive" never
      costs l1 norm.

    Given `nettrim.Sparsity`, or ``sparsity`` or ``pattern`` for short, each layer keeps a number of
    weights, chosen and fitted for the least error of its outputs behind the ReLU
    (`nettrim.solve_layer_budget`): on the original signals in the parallel scheme, on the outputs
    of the layers already trimmed in the cascade. Biases stay and do not count. No one can prove
    that these weights are the best; the bound on the error of the network holds all the same.

    Given `nettrim.Units`, or ``size`` or ``operations`` for short, the network becomes one of
    smaller shapes: units, channels and heads go from all layers that write and read them, those
    first without which the layers that read them come closest to what they gave, and what is left
    is fitted anew (docs/guide/to_a_size.md).

    Parameters
    ----------
    model : Network
        Or any object with the three methods of docs/developers/add_an_adapter.md.
    X : array_like of shape (n_samples, ...)
        Calibration data: samples of what the network will see. No labels are needed. Models of
        PyTorch and ONNX also take a mapping from inputs to arrays, batches in a list, and a module
        what its users have: tensors, tuples of them, Datasets and DataLoaders.
    goal : nettrim.Error, nettrim.Sparsity, nettrim.Units or nettrim.Promise, optional
        What is wanted. ``epsilon=0.05`` is short for ``nettrim.Error(0.05)``, ``sparsity=0.9`` for
        ``nettrim.Sparsity(0.9)``, ``pattern="2:4"`` for ``nettrim.Sparsity(pattern="2:4")``,
        ``size=0.5`` for ``nettrim.Units(0.5)``, and ``flips=0.01`` for
        ``nettrim.Promise(flips=0.01)``, which takes ``held_out``.
    epsilon : float, optional
        Error allowed to a layer, relative to the Frobenius norm of its output: to each layer in the
        parallel scheme, to the first pruned one in the cascade.
    sparsity : float, optional
        Share of the weights of the pruned layers that is to be removed, to one weight.
    scheme : {"cascade", "parallel"}, default "cascade"
        Whether a layer sees the outputs of the layers already trimmed, or the original ones.
    layers : int, str, type or iterable of these, optional
        The layers to be pruned: positions (negative ones count from the end), names, regular
        expressions that names have to begin with (``"re:.*mlp"``, see ``re.match``), or classes of
        modules (``torch.nn.Linear``). Default all prunable layers, but for the
        output head of a language model.
    skip : like layers, optional
        Layers to be left as they are, of those.
    outputs : iterable of int or str, optional
        Positions or names of the outputs of the model that count: in the network's error, each
        relative to its own norm, and where layers share a budget. Default all of floats. Naming the
        others leaves one out.
    mask : str, callable or False, optional
        Which positions of samples count, like the tokens of padded texts that are no padding:
        others are in no program, error or bound. An input of bools, or ones and zeros, of shape
        (n_samples, n_positions), by its name; or a function from the inputs, a mapping of arrays by
        name (or X as one array), to such an array; it is applied to ``held_out`` as well. Default
        the inputs "attention_mask" and "decoder_attention_mask", where there are such of that kind;
        False lets all positions count.
        Layers that do not meet the samples position by position see them whole, as ever.
    held_out : like X, optional
        Samples the solver does not see, on which the discrepancy is measured as well; what they say
        of future samples is in ``result.unseen``.
    measure : callable, optional
        A function of a model that returns what you care about, as a number or as a mapping of names
        to numbers: an accuracy, a perplexity. It is called on the original before any work, where
        its errors end the run, and on the trimmed model at the end, where they are warned of. The
        numbers are in ``result.measured`` and in the reports. It must leave the model as it is.
    n_threads : int, optional
        Threads of every solve. Default: every processor this process may use.
    executor : concurrent.futures.Executor, optional
        Solve on its workers: threads, processes, loky, Dask (``client.get_executor()``), mpi4py, or
        `nettrim.execution.RayExecutor`. In the parallel scheme each worker takes a layer, if there
        are as many; otherwise, and in the cascade, the outputs of a layer are shared out
        (``executor`` of `nettrim.solve_layer`). Every answer is proved to the same ``tol``. To a
        given sparsity, see docs/guide/parallel_work.md#executors; the weights are the same.
    checkpoint : str or path-like, optional
        Folder in which finished layers are kept. The same call after a crash takes them from there
        and gives the same result, bit for bit; a call that differs in model, data or options is
        refused.
    max_patches : int, default 20,000
        A layer that meets every sample at many positions (a convolution, a sequence) is solved on
        at most so many of them, drawn at random; everything else is measured on all.
    seed : int, default 0
        Of that draw.
    progress : bool, default True
        Show progress on stderr: a bar if rich is installed, a line for each layer otherwise.
    **options
        Further options of the goal that ``epsilon``, ``sparsity`` or ``pattern`` is short for:
        ``network``, ``tol``, ``gamma``, ``slack``, ``kappa``, ``solver``, ``max_iter``,
        ``regularise``, ``reweighted`` of `nettrim.Error`; ``pattern``, ``share``, ``min_density``
        of `nettrim.Sparsity`; ``time_limit`` of both; ``size``, ``operations``, ``min_width``,
        ``multiple_of``, ``then`` of `nettrim.Units`; ``flips``, ``misses``, ``drop``, ``error``,
        ``quantile``, ``confidence``, ``labels``, ``path`` of `nettrim.Promise`. What the goal would
        not use is refused.

    Returns
    -------
    TrimResult
        The trimmed model, of the type of ``model`` and in the precision of its weights, and a
        report for each layer. Discrepancies and bounds hold for the model as returned.

    Raises
    ------
    TypeError, ValueError
        If an argument is not what it must be; the message names it.
    InfeasibleError
        If ``kappa`` asks for more than the last layer can do.

    Warns
    -----
    ConvergenceWarning
        If a layer stopped before its gap and feasibility met ``tol``, or before its weights were
        chosen with care. Its answer is flagged, and used unless it errs by more than twice what was
        allowed: then the layer stays as it was.
    CalibrationWarning
        Before a layer is solved for which there are fewer different active rows than it has inputs.
    HeldOutWarning
        If samples of ``held_out`` are in ``X`` as well, or what the models make of them says
        nothing of unseen ones.
    LargeErrorWarning
        Before a layer of the cascade is solved that may move by more than half of its output, and
        at the end if the network did.
    PromiseWarning
        If no model keeps the promise; the most careful one that was tested is returned. If none but
        the original does.
    RuntimeMismatchWarning
        If the framework computes something else than exact arithmetic does, by more than rounding.
    RuntimeWarning
        If a worker died and took its pool along: what is left is solved in this process. If
        ``measure`` failed on the trimmed model.

    Notes
    -----
    Ctrl-C ends the run and returns what is finished, with ``interrupted`` set; errors that were not
    measured by then are NaN. The logger ``nettrim`` hears of every finished layer at INFO and of
    every certificate at DEBUG.

    A layer of the cascade that nothing pruned in front can reach, like the keys and values beside
    the queries of the first attention, is posed as the first one is. Where layers in front can, and
    changed nothing all the same, :math:`\epsilon_l` would leave no room but rounding errors: it is
    never taken below ``min(tol, epsilon)`` times the norm of the layer's output. ``gap``,
    ``epsilon`` and ``violation`` speak of the float64 answer; if the model's weights are float32
    the answer is rounded, and everything measured or proved about the network takes that into
    account.

    Source: Net-Trim (NIPS 2017), parallel and cascade schemes, Theorems 1 and 2; ``kappa`` from its
    supplement.

    Examples
    --------
    >>> import numpy as np
    >>> import nettrim
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((200, 8))
    >>> net = nettrim.Network([
    ...     nettrim.Dense(rng.standard_normal((8, 6)), rng.standard_normal(6)),
    ...     nettrim.Dense(rng.standard_normal((6, 2)), activation="linear"),
    ... ])
    >>> result = nettrim.trim(net, X, epsilon=0.3, progress=False)
    >>> result.converged, result.discrepancy <= result.bound
    (True, True)
    >>> result.layers[0].nonzeros_after < result.layers[0].nonzeros_before
    True
    """
    goal = resolve_goal(goal, {"epsilon": epsilon, "sparsity": sparsity, **options})
    job = Job.of(
        model,
        X,
        goal,
        scheme=scheme,
        layers=layers,
        skip=skip,
        outputs=outputs,
        mask=mask,
        held_out=held_out,
        measure=measure,
        n_threads=n_threads,
        executor=executor,
        checkpoint=checkpoint,
        max_patches=max_patches,
        seed=seed,
        progress=progress,
    )
    return reach(goal, job)

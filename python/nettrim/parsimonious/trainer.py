"""Training that sheds units, in one call."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sized
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import nn

from ..base.arguments import check_integer, check_number
from ..base.errors import warn_user
from ..models.adapters.torch.data import iterate_batches
from .certificate import Certificate, leave_one_out
from .cost import ComplexityCost
from .gates import CollapseWarning, UnitGates
from .history import Epoch
from .identity import hash_batches, hash_model, untouched
from .losses import Loss, cross_entropy
from .onset import is_near
from .progress import make_reporter
from .result import ParsimoniousResult
from .training import Batches, Settings, Training

__all__ = ["ParsimoniousTrainer"]

Module = TypeVar("Module", bound=nn.Module)
CERTIFIED = 10_000  # training samples on which the finished units are tried


class ParsimoniousTrainer(Generic[Module]):
    r"""Trains a module and takes out, on the way, the units that are not worth their cost.

    The objective is the mean loss with Bernoulli gates on all units, plus ``weight_decay / 2``
    times the squared weights, plus ``unit_cost`` times the sum of all keep probabilities
    (`UnitGates`). Units leave mostly in the first third of the training, and what follows is the
    cheaper for it. How many stay hardly depends on how many there were, if ``unit_cost`` is a
    visible part of what they earn.

    Parameters
    ----------
    model : torch.nn.Module
        Trained in place, from scratch or on; its class and its code stay.
    unit_cost : float, mapping of str to float, or ComplexityCost
        How many nats of mean training loss a unit must be worth. 1e-3 leaves a LeNet-300-100 on
        MNIST some seventy hidden units. See `UnitGates`.
    section_cost : float, optional
        The same for a residual section; default: sections stay.
    inputs : bool, default False
        Gate the inputs as well. The finished model takes ``x[:, result.inputs]``.
    loss : callable, optional
        Takes outputs and targets, returns one value for each sample. Default the cross-entropy.
    optimizer : callable, optional
        Called like a class of `torch.optim`, with groups of parameters and ``lr=``. Default SGD
        with momentum 0.9. Its rate falls to zero on a cosine.
    lr : float, default 0.05
    weight_decay : float, default 1e-4
        Of weights, not of biases.
    update_every : int, default 1
        Steps of the weights for one of the keep probabilities. With 4, and as many more
        ``samples``, the estimates are as good and the training of small networks is faster.
    seed : int, default 0
        Of gates, of dropout and of loaders without a generator of their own.
    **gates
        ``estimator``, ``samples``, ``repeats``, ``start``, ``warm_up``, ``fall``, ``quiet``,
        ``snap`` of `UnitGates`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not what it must be.

    References
    ----------
    Guenter and Sideris, arXiv 2205.04650, 2406.04549 and 2411.09127; formulas:
    docs/mathematics/parsimonious.md.

    Examples
    --------
    >>> import torch
    >>> from nettrim.parsimonious import ParsimoniousTrainer
    >>> _ = torch.manual_seed(0)
    >>> x, y = torch.randn(512, 2), torch.arange(512) % 2
    >>> x[:, 0] += 4.0 * y
    >>> loader = list(zip(x.split(64), y.split(64)))
    >>> net = torch.nn.Sequential(torch.nn.Linear(2, 32), torch.nn.ReLU(), torch.nn.Linear(32, 2))
    >>> result = ParsimoniousTrainer(net, unit_cost=0.01).fit(loader, epochs=60, progress=False)
    >>> result.status, result.widths["0"] < 16, result.model is net
    ('decided', True, True)
    """

    def __init__(
        self,
        model: Module,
        unit_cost: float | Mapping[str, float] | ComplexityCost,
        *,
        section_cost: float | None = None,
        inputs: bool = False,
        loss: Loss | None = None,
        optimizer: Callable[..., torch.optim.Optimizer] | None = None,
        lr: float = 0.05,
        weight_decay: float = 1e-4,
        update_every: int = 1,
        seed: int = 0,
        **gates: Any,
    ) -> None:
        if not isinstance(model, nn.Module):
            raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
        self.model = model
        self.seed = check_integer(seed, "seed", least=0)
        self.settings = Settings(
            loss=cross_entropy if loss is None else loss,
            optimizer=sgd if optimizer is None else optimizer,
            lr=check_number(lr, "lr", above=0.0),
            weight_decay=check_number(weight_decay, "weight_decay", least=0.0),
            update_every=check_integer(update_every, "update_every"),
            gating={
                "unit_cost": unit_cost,
                "section_cost": section_cost,
                "inputs": inputs,
                "seed": self.seed,
                **gates,
            },
        )

    def fit(
        self,
        train_loader: Batches,
        epochs: int,
        *,
        fine_tune: int = 0,
        validation: Batches | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        callback: Callable[[Epoch], object] | None = None,
        progress: bool = True,
        certify: int = CERTIFIED,
    ) -> ParsimoniousResult[Module]:
        """Train, and return the smaller model with its history.

        Parameters
        ----------
        train_loader : iterable of pairs of tensors
            Inputs and targets, for example a `torch.utils.data.DataLoader`; walked once an epoch,
            always the same number of batches.
        epochs : int
            With gates.
        fine_tune : int, default 0
            Epochs behind them: gates are decided, and the weights that are left train on without,
            at a rate that falls from ``lr`` to zero once more. These are the cheap epochs; how many
            units stay is known after few of the others.
        validation : iterable of pairs of tensors, optional
            Judged after every epoch, with decided gates.
        checkpoint : str or path-like, optional
            File that is written after every epoch. If it is there already, the run goes on after
            the last one and ends with the same bits. It holds hashes of the model as it was at the
            beginning, of one walk of the loader from the seed, of the loss, the optimizer and the
            options, and of itself: a file of another run, or a damaged one, is refused. For the
            data's hash the loader is walked once more.
        callback : callable, optional
            Called with every `Epoch`; a true return ends the training.
        progress : bool, default True
            Show a bar on a terminal, lines elsewhere.
        certify : int, default 10,000
            Training samples on which every unit that is left is tried; 0: none.

        Returns
        -------
        ParsimoniousResult

        Raises
        ------
        TypeError, ValueError
            If an argument is not what it must be, the loss is NaN or infinite, or the checkpoint is
            of another run or damaged.

        Warns
        -----
        CollapseWarning
            If a layer was about to lose all its units: training ends there. If the loss ends within
            a tenth of the one it began with: the network has learned next to nothing.
        """
        epochs = check_integer(epochs, "epochs")
        fine_tune = check_integer(fine_tune, "fine_tune", least=0)
        certify = check_integer(certify, "certify", least=0)
        device = next((p.device for p in self.model.parameters()), torch.device("cpu"))
        batches, example = _looked_at(train_loader, device, self.seed)
        origin = {} if checkpoint is None else _origin(self.model, train_loader, self.seed)
        with _seeded(self.seed):
            lengths = epochs, fine_tune, batches
            run = Training.begin(self.model, self.settings, example, *lengths, origin)
            before = run.gates.widths, len(run.gates.sections), run.gates.size
            if checkpoint is not None:
                run.resume(Path(checkpoint), train_loader)
            status = self._train(run, train_loader, validation, checkpoint, callback, progress)
            undecided = run.undecided
            run.gates.finish(run.optimizer)
            proof = self._certificate(run.gates, train_loader, certify, status)
        if status is None and _learned_nothing(run, proof):
            status = "collapsed"
        self.model.eval()
        return ParsimoniousResult(
            model=self.model,
            status=status or ("undecided" if undecided else "decided"),
            history=tuple(run.history),
            widths_before=before[0],
            widths=run.gates.widths,
            sections_before=before[1],
            sections=len(run.gates.sections),
            size_before=before[2],
            size=run.gates.size,
            undecided=undecided,
            inputs=run.gates.inputs,
            certificate=proof,
        )

    def _train(
        self,
        run: Training,
        train_loader: Batches,
        validation: Batches | None,
        checkpoint: str | os.PathLike[str] | None,
        callback: Callable[[Epoch], object] | None,
        progress: bool,
    ) -> str | None:
        """Train to the end; return why it ended before, if it did."""
        with make_reporter(progress, run.total) as report:
            while len(run.history) < run.total and not run.gates.collapsed:
                try:
                    epoch = run.epoch(train_loader, validation)
                except KeyboardInterrupt:
                    return "interrupted"
                report(epoch)
                if checkpoint is not None:
                    run.save(Path(checkpoint), train_loader)
                if callback is not None and callback(epoch):
                    break
        return "collapsed" if run.gates.collapsed else None

    def _certificate(
        self, gates: UnitGates, loader: Batches, n_samples: int, status: str | None
    ) -> Certificate | None:
        if n_samples == 0 or status == "interrupted":
            return None
        try:
            return leave_one_out(gates, loader, n_samples=n_samples)
        except KeyboardInterrupt:  # the training is done, whatever of this is missing
            return None


def sgd(parameters: Any, lr: float) -> torch.optim.Optimizer:
    """Return stochastic gradient descent with momentum 0.9."""
    return torch.optim.SGD(parameters, lr=lr, momentum=0.9)


def _looked_at(loader: Batches, device: torch.device, seed: int) -> tuple[int, torch.Tensor]:
    """Return the number of batches and the inputs of the first."""
    with untouched(loader, seed):
        example, _ = next(iterate_batches(loader, "train_loader", device))
        count = len(loader) if isinstance(loader, Sized) else sum(1 for _ in loader)
    return count, example


def _origin(model: nn.Module, loader: Batches, seed: int) -> dict[str, str]:
    """Return what a checkpoint agrees with: the model before training, and a walk of the loader."""
    with untouched(loader, seed):
        data = hash_batches(loader)
    return {"model": hash_model(model), "train_loader (data or their order)": data}


def _learned_nothing(run: Training, proof: Certificate | None) -> bool:
    """Whether the loss ended near the one it began with; then it warns."""
    first = run.gates.onset.first
    if first is None:
        return False
    end, start = (run.history[-1].loss, first) if proof is None else (proof.loss, proof.start)
    if not is_near(end, start):
        return False
    warn_user(
        f"the loss ended at {end:.4g}, near the {start:.4g} it began with: the network has learned "
        "next to nothing. More epochs, another lr or a smaller unit_cost let it learn",
        CollapseWarning,
    )
    return True


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Draw from a seed for a while; afterwards the random state is as it was."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield

"""What `ParsimoniousTrainer` hands back: the smaller model, and how it came about."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from ..base.table import TableColumn, format_share, format_table
from .certificate import Certificate
from .cost import Size
from .history import Epoch, Widths
from .plot import plot_history

if TYPE_CHECKING:
    import torch

__all__ = ["ParsimoniousResult"]

Model = TypeVar("Model")

COLUMNS = [TableColumn("layer", "<"), *(TableColumn(name) for name in ("units", "left", "kept"))]


@dataclass(frozen=True, repr=False)
class ParsimoniousResult(Generic[Model]):
    """A trained model and what is known about it; ``print`` shows a table.

    Attributes
    ----------
    model : torch.nn.Module
        The one that was given, smaller, in evaluation mode. Of gated inputs it takes those in
        `inputs`: ``model(x[:, result.inputs])``.
    status : str
        "decided" if in the end every keep probability was near 0 or 1; "undecided" if some were
        not, and were rounded; "collapsed" if a layer was about to lose all its units, and training
        ended there, or if the loss ended near the one it began with; "interrupted" after Ctrl-C.
    history : tuple of Epoch
    widths_before, widths : dict of str to int
    sections_before, sections : int
        Gated residual sections.
    size_before, size : Size
    undecided : int
        How many keep probabilities were rounded.
    inputs : torch.Tensor or None
        Which inputs are left, if they were gated.
    certificate : Certificate or None
        What the loss rises by without each unit.
    """

    model: Model
    status: str
    history: tuple[Epoch, ...]
    widths_before: Widths
    widths: Widths
    sections_before: int
    sections: int
    size_before: Size
    size: Size
    undecided: int
    inputs: torch.Tensor | None
    certificate: Certificate | None

    @property
    def collapsed(self) -> bool:
        """Whether a layer was about to lose all its units, or next to nothing was learned."""
        return self.status == "collapsed"

    @property
    def flops_saved(self) -> float:
        """Share of the work of training that was saved: of weights' steps, not of gates'."""
        work = [self.size_before.flops, *(epoch.flops for epoch in self.history)][:-1]
        return 1 - sum(work) / (len(work) * self.size_before.flops) if work else 0.0

    @property
    def settled(self) -> int | None:
        """The epoch by whose end nine tenths of all removals were done; None without any."""
        before = sum(self.widths_before.values()) + self.sections_before
        after = sum(self.widths.values()) + self.sections
        for epoch in self.history:
            gone = before - sum(epoch.widths.values()) - epoch.sections
            if before > after and gone >= 0.9 * (before - after):
                return epoch.epoch
        return self.history[-1].epoch if self.history and before > after else None

    def plot(self, path: str | os.PathLike[str]) -> None:
        """Draw widths, size, loss and keep probabilities against the epochs.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        plot_history(path, self.history, self.size_before)

    def __str__(self) -> str:
        """Return the table."""
        weights = int(self.size_before.parameters), int(self.size.parameters)
        rows = [
            _row(name, before, self.widths.get(name, 0))
            for name, before in self.widths_before.items()
        ]
        if self.sections_before:
            rows.append(_row("sections", self.sections_before, self.sections))
        return "\n".join(
            [self._title(), format_table(COLUMNS, rows, _row("weights", *weights)), *self._notes()]
        )

    __repr__ = __str__

    def _title(self) -> str:
        mark = "" if self.status == "decided" else "! "
        times = self.size_before.flops / self.size.flops if self.size.flops else float("inf")
        return (
            f"{mark}{self.status} after {len(self.history)} epochs: {times:.1f} times less work, "
            f"{self.flops_saved:.0%} of the training's work saved"
        )

    def _notes(self) -> list[str]:
        notes = []
        if self.undecided:
            notes.append(
                f"! {self.undecided} keep probabilities were not near 0 or 1 and were rounded"
            )
        if self.history and self.history[-1].accuracy is not None:
            notes.append(f"validation accuracy {self.history[-1].accuracy:.2%}")
        if self.certificate is not None:
            notes.append(str(self.certificate))
        return notes


def _row(name: str, before: int, after: int) -> list[str]:
    return [name, f"{before:,}", f"{after:,}", format_share(after, before)]

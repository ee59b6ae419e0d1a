"""What is kept of a layer's solution, with its proof where there is one."""

from __future__ import annotations

from dataclasses import dataclass

from ..base.arrays import Array, relative_to

__all__ = ["Proof", "SolvedLayer"]


@dataclass(frozen=True)
class Proof:
    """The certificate of a layer program.

    Attributes
    ----------
    epsilon : float
        Radius of the ball in the program, absolute.
    residual, violation : float
        Feasibility, relative to the norm of the output and to its largest entry.
    gap : float
        Relative distance of the norm that was minimised to the proved lower bound: of the l1 norm,
        or of that at the costs of the last round.
    l1_gap : float
        The same of the l1 norm itself.
    iterations : int
    solver : str
    history : ndarray of shape (n_certificates, 2)
        Seconds and gap of each certificate.
    """

    epsilon: float
    residual: float
    violation: float
    gap: float
    l1_gap: float
    iterations: int
    solver: str
    history: Array


@dataclass(frozen=True)
class SolvedLayer:
    """What is kept of a layer's solution.

    Attributes
    ----------
    weights : ndarray of shape (n_features [+ 1], n_outputs)
        float64, the bias as last row.
    output_norm : float
        Of the original output, in the program.
    active_rows : int
        Different rows of the program on which an output is active, their median over all outputs.
    status : str
    seconds : float
    proof : Proof or None
        None for a layer that was given a number of weights.
    """

    weights: Array
    output_norm: float
    active_rows: int
    status: str
    seconds: float
    proof: Proof | None = None

    @property
    def radius(self) -> float | None:
        """The error allowed, relative to the norm of the output; None if none was prescribed."""
        return None if self.proof is None else relative_to(self.proof.epsilon, self.output_norm)

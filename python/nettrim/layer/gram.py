"""What a linear layer needs of its samples: sums of their products."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import scipy

from ..base.arguments import check_integer, check_matrix, show
from ..base.arrays import Array, as_plain_array, check_finite, check_squares

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    AnyArray = NDArray[Any]

__all__ = ["Gram", "Rows", "pose"]

SAMPLES_AT_ONCE = 4096
# Shares of a sum of squares: what is left below the first is rounding, what is missing beyond the
# second was never there.
ROUNDING, INCONSISTENT = 1e-13, 1e-8
DOUBLE = np.dtype(np.float64)


class Rows(NamedTuple):
    """As few samples as have the same sums.

    Attributes
    ----------
    X : ndarray of shape (n_rows, n_features)
    Y : ndarray of shape (n_rows, n_outputs)
    """

    X: Array
    Y: Array


@dataclass(eq=False)
class Gram:
    r"""Sums over samples that pose a linear layer: they take the place of `X` and `Y`.

    They are added up in float64, some thousand samples at a time, so that any number of them takes
    the memory of `XX` alone; sums of different samples, from different workers, are added with
    ``+``.

    Parameters
    ----------
    n_features : int
    n_outputs : int, optional
        Without, no outputs are recorded, and what is wanted of a layer is what its weights give:
        see `with_weights`.

    Attributes
    ----------
    XX : ndarray of shape (n_features, n_features)
        :math:`X^T X`.
    XY : ndarray of shape (n_features, n_outputs)
        :math:`X^T Y`; no columns where no outputs are recorded.
    YY : ndarray of shape (n_outputs,)
        Sum of the squares of every output.
    n_samples : int

    Raises
    ------
    ValueError, TypeError
        If an argument makes no sense; the message names it.

    Examples
    --------
    >>> import numpy as np, nettrim
    >>> rng = np.random.default_rng(0)
    >>> X, W = rng.standard_normal((1000, 20)), rng.standard_normal((20, 10))
    >>> gram = nettrim.Gram(20)
    >>> for batch in np.split(X, 10):
    ...     gram.update(batch)
    >>> s = nettrim.solve_layer_budget(gram, weights=W, sparsity=0.5)
    >>> s.nonzeros, s.error < 0.5
    (100, True)
    """

    n_features: int
    n_outputs: int | None = None

    def __post_init__(self) -> None:
        """Begin with no samples."""
        self.n_features = check_integer(self.n_features, "n_features")
        self.n_samples = 0
        if self.n_outputs is not None:
            self.n_outputs = check_integer(self.n_outputs, "n_outputs")
        width = self.n_outputs or 0
        self.XX: Array = np.zeros((self.n_features, self.n_features))
        self.XY: Array = np.zeros((self.n_features, width))
        self.YY: Array = np.zeros(width)

    @classmethod
    def of(
        cls, X: ArrayLike, Y: ArrayLike | None = None, *, row_weights: ArrayLike | None = None
    ) -> Gram:
        """Return the sums over some samples; see `update`.

        Examples
        --------
        >>> import numpy as np, nettrim
        >>> nettrim.Gram.of(np.ones((5, 2))).XX.tolist()
        [[5.0, 5.0], [5.0, 5.0]]
        """
        inputs = as_plain_array(X, "X")
        n_features = inputs.shape[1] if inputs.ndim == 2 else 1
        outputs = None if Y is None else as_plain_array(Y, "Y")
        n_outputs = None if outputs is None else outputs.shape[1] if outputs.ndim == 2 else 1
        gram = cls(n_features, n_outputs)
        gram.update(inputs, outputs, row_weights=row_weights)
        return gram

    def update(
        self,
        X: ArrayLike,
        Y: ArrayLike | None = None,
        *,
        row_weights: ArrayLike | None = None,
    ) -> None:
        """Add samples.

        Parameters
        ----------
        X : array_like of shape (n_samples, n_features)
            Of any floating type.
        Y : array_like of shape (n_samples, n_outputs), optional
            Given if and only if outputs are recorded.
        row_weights : array_like of shape (n_samples,), optional
            How much the square of a sample's error counts, at least 0; default 1.

        Raises
        ------
        ValueError, TypeError
            If an argument makes no sense; the message names it. Then nothing of it is added.

        Examples
        --------
        >>> import numpy as np, nettrim
        >>> gram = nettrim.Gram(2, 1)
        >>> gram.update(np.ones((3, 2)), np.ones((3, 1)), row_weights=[1, 0, 4])
        >>> gram.XY.ravel().tolist(), gram.n_samples
        ([5.0, 5.0], 3)
        """
        inputs = self._check_samples(X, "X", self.n_features)
        outputs = self._check_outputs(Y, len(inputs))
        roots = _check_roots(row_weights, len(inputs))
        added = Gram(self.n_features, self.n_outputs)
        for begin in range(0, len(inputs), SAMPLES_AT_ONCE):
            part = slice(begin, begin + SAMPLES_AT_ONCE)
            added._add(
                _piece(inputs, part, roots, "X"),
                None if outputs is None else _piece(outputs, part, roots, "Y"),
            )
        self._merge(added)

    def with_weights(self, weights: ArrayLike) -> Gram:
        """Return the same samples with the outputs that a layer of some weights has for them.

        Parameters
        ----------
        weights : array_like of shape (n_features, n_outputs)

        Examples
        --------
        >>> import numpy as np, nettrim
        >>> gram = nettrim.Gram.of(np.eye(2))
        >>> gram.with_weights([[1.0], [2.0]]).YY.tolist()
        [5.0]
        """
        W = np.asarray(check_matrix(weights, "weights", DOUBLE), dtype=np.float64)
        if len(W) != self.n_features:
            raise ValueError(
                f"weights must have {self.n_features} rows, one for each feature, got {len(W)}"
            )
        gram = Gram(self.n_features, W.shape[1])
        gram.n_samples, gram.XX = self.n_samples, self.XX
        gram.XY = self.XX @ W
        gram.YY = np.einsum("ij,ij->j", W, gram.XY).clip(0.0)
        return gram

    def __add__(self, other: Gram) -> Gram:
        """Return the sums over the samples of both."""
        if not isinstance(other, Gram):
            return NotImplemented
        if (self.n_features, self.n_outputs) != (other.n_features, other.n_outputs):
            raise ValueError(
                "sums of layers of different shapes cannot be added: "
                f"{self.n_features} x {self.n_outputs} and {other.n_features} x {other.n_outputs}"
            )
        total = Gram(self.n_features, self.n_outputs)
        total._merge(self)
        total._merge(other)
        return total

    def __repr__(self) -> str:
        """Tell the shape."""
        return f"<Gram of {self.n_samples} samples, {self.n_features} x {self.n_outputs}>"

    def rows(self) -> Rows:
        """Return as few samples as have the same sums: no more than features, and one.

        The last one has no inputs: its outputs are what no weights reach.

        Raises
        ------
        ValueError
            If there are no samples, or no outputs, or if the sums are of no samples at all.
        """
        if self.n_outputs is None:
            raise ValueError("Y is needed: this Gram has no outputs; record them, or give weights")
        if self.n_samples == 0:
            raise ValueError("X has no samples: update the Gram with some")
        length = np.sqrt(np.diag(self.XX))
        length[length == 0] = 1.0
        factor, order = _triangle(self.XX / length / length[:, None])
        rank = len(factor)
        X = np.zeros((rank + 1, self.n_features))
        X[:rank, order] = factor
        X *= length
        Y = np.zeros((rank + 1, len(self.YY)))
        if rank:
            asked = (self.XY / length[:, None])[order[:rank]]
            Y[:rank] = scipy.linalg.solve_triangular(factor[:, :rank], asked, trans="T")
        rest = self.YY - np.einsum("ij,ij->j", Y, Y)
        if (rest < -INCONSISTENT * self.YY).any():
            raise ValueError("X and Y: the sums of this Gram are not those of any samples")
        Y[rank] = np.sqrt(np.where(rest > ROUNDING * self.YY, rest, 0.0))
        return Rows(X, Y)

    def _check_samples(self, value: ArrayLike, name: str, width: int) -> AnyArray:
        array = as_plain_array(value, name)
        if array.ndim != 2 or array.shape[1] != width:
            raise ValueError(f"{name} must have shape (n_samples, {width}), got {array.shape}")
        return array

    def _check_outputs(self, Y: ArrayLike | None, n_samples: int) -> AnyArray | None:
        if (Y is None) != (self.n_outputs is None):
            wanted = "given, as n_outputs is" if Y is None else "left out, as n_outputs is"
            raise ValueError(f"Y must be {wanted}")
        if Y is None or self.n_outputs is None:
            return None
        outputs = self._check_samples(Y, "Y", self.n_outputs)
        if len(outputs) != n_samples:
            raise ValueError(
                f"X and Y must have the same number of rows, got {n_samples} and {len(outputs)}"
            )
        return outputs

    def _add(self, X: Array, Y: Array | None) -> None:
        self.n_samples += len(X)
        self.XX += X.T @ X
        if Y is not None:
            self.XY += X.T @ Y
            self.YY += np.einsum("ij,ij->j", Y, Y)

    def _merge(self, other: Gram) -> None:
        self.n_samples += other.n_samples
        self.XX = self.XX + other.XX  # not in place: other Grams may share it
        self.XY, self.YY = self.XY + other.XY, self.YY + other.YY


def _triangle(gram: Array) -> tuple[Array, NDArray[np.intp]]:
    """Return as many rows as a Gram matrix of unit size has rank, and the order of their columns.

    Without pivots where none of them is lost in the rounding of the sums: that is faster.
    """
    least = 16 * np.finfo(float).eps * len(gram)
    from scipy.linalg import lapack  # found also where Ctrl-C ended the first import of it

    factor, failed = lapack.dpotrf(gram, lower=0)
    if not failed and np.diag(factor).min() ** 2 > least:
        return factor, np.arange(len(gram))
    factor, pivots, rank, _ = lapack.dpstrf(gram, tol=least, lower=0)
    return np.triu(factor)[:rank], pivots - 1


def _check_roots(row_weights: ArrayLike | None, n_samples: int) -> Array | None:
    if row_weights is None:
        return None
    array = check_finite(row_weights, "row_weights", ndim=1)
    if len(array) != n_samples or (array < 0).any():
        raise ValueError(
            f"row_weights must be {n_samples} numbers of at least 0, one for each sample"
        )
    return np.sqrt(array, dtype=np.float64)[:, None]


def _piece(array: AnyArray, part: slice, roots: Array | None, name: str) -> Array:
    """Return some samples, checked, in float64, each over the root of its weight."""
    piece = check_squares(check_matrix(array[part], name, DOUBLE), name)
    return np.asarray(piece if roots is None else piece * roots[part], dtype=np.float64)


def pose(
    X: ArrayLike | Gram, Y: ArrayLike | None, activation: object
) -> tuple[ArrayLike, ArrayLike, Any]:
    """Return the samples of a layer, or those that stand for its sums, and what is behind it.

    Raises
    ------
    ValueError
        If these do not go together; the message names the argument.
    """
    if not isinstance(X, Gram):
        if Y is None:
            raise ValueError("Y is needed: the outputs to reproduce, one row for each of X")
        return X, Y, "relu" if activation is None else activation
    if Y is not None:
        raise ValueError("Y must be left out: the sums of a Gram hold it")
    if activation not in (None, "linear"):
        raise ValueError(
            "activation must be 'linear' for a Gram, which knows of no single sample, "
            f"got {show(activation)}"
        )
    return *X.rows(), "linear"

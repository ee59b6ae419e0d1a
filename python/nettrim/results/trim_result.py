"""The result of `nettrim.trim`: an outcome that shows, draws, writes and ships itself."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from numpy.typing import ArrayLike

from ..models.model_view import find_layers, view_both
from .accuracy import Accuracy, compare_accuracy
from .latency import Latency, compare_latency
from .outcome import Outcome
from .text import write_table

if TYPE_CHECKING:
    from .export import Export

__all__ = ["TrimResult"]

Model = TypeVar("Model")


@dataclass(frozen=True, repr=False)
class TrimResult(Outcome[Model]):
    """The trimmed model and what is known about it; ``print`` shows a table.

    Attributes
    ----------
    model : Network or whatever type was given
        The trimmed model.
    original : Network or whatever type was given
        The model that was given, untouched.
    layers : tuple of LayerReport
        One for each prunable layer.
    scheme : {"parallel", "cascade"}
    n_samples : int
        Number of calibration samples.
    discrepancy, bound : float
        Of the network's output, measured and proved, relative to the norm of the original output
        on the calibration samples; of several outputs the root of the mean square.
    held_out_discrepancy : float or None
        The same, measured on held-out samples.
    interrupted : bool
        True if Ctrl-C stopped the run: the layers solved until then are trimmed, the others are as
        they were, and errors not measured until then are NaN.
    outputs : tuple of OutputReport
        One for each output of the model that counts.
    untouched : tuple of Untouched
        Every weight of two or more dimensions that no layer in ``layers`` holds, and why.
    seconds : float
        What the run took, all in all.
    stages : dict of str to float
        Seconds of it that belong to no layer's solve: "sharing" a budget among layers, "tuning"
        their regularisation, "measuring" by a function of the user, and "signals": running the
        model, posing programs, measuring how far signals moved.
    recipe : dict
        Plain values: every argument with its default filled in, hashes of the model's weights and
        of the data, versions and the date; what it takes to get the result again.
    measured : dict of str to Measured
        What the function given as ``measure`` said of the original and of the trimmed model.
    widths : Widths or None
        Of a model made smaller (`nettrim.Units`): how many units each signal had and has left, and
        what that does to parameters and operations.
    unseen : Unseen or None
        What held-out samples say of future ones, if some were given and measured, and the model was
        not chosen by them.
    promise : PromiseReport or None
        What is promised of future samples (`nettrim.Promise`), and by which tests.
    """

    def plot(self, path: str | os.PathLike[str]) -> None:
        """Draw the weights of every layer before and after; of a smaller model, its widths.

        Parameters
        ----------
        path : str or path-like
            File to write; the suffix chooses the format (.png, .pdf, .svg).

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        from .plot import plot_weights, plot_widths

        if self.widths is not None:
            plot_widths(path, self.widths)
            return
        names = [layer.name for layer in self.layers]
        views = zip(("before", "after"), view_both(self.original, self.model), strict=True)
        plot_weights(path, {title: find_layers(view, names) for title, view in views})

    def accuracy(self, X: Any, labels: ArrayLike, *, threshold: float | None = None) -> Accuracy:
        """Measure how often the original and the trimmed model are right.

        Parameters
        ----------
        X : array_like of shape (n_samples, ...), or what `nettrim.trim` takes for the model
            Samples, preferably ones that neither training nor trimming has seen.
        labels : array_like of shape (n_samples,)
            The right answers. Of a classifier of scikit-learn, in its own names of classes; of any
            other model, numbers of the output that ought to be largest, from 0. Of a model with a
            single output 0 or 1: whether it ought to be above the threshold.
        threshold : float, optional
            Of a single output, which nothing but its values tells from a probability. Default .5 if
            all outputs of the original model lie between 0 and 1 (as they do behind a sigmoid), or
            else 0.

        Returns
        -------
        Accuracy
            A named tuple: ``before``, ``after``, ``n_samples``.

        Raises
        ------
        TypeError, ValueError
            If ``labels`` are not one for each sample, or none that the model knows; if the model is
            no classifier; or if a threshold would not be used.
        """
        return compare_accuracy(self.original, self.model, X, labels, threshold)

    def latency(self, X: Any, *, batch: int = 64, n_threads: int = 1) -> Latency:
        """Time the original and the trimmed model, as their framework runs them.

        PyTorch runs modules without gradients and compiled code, onnxruntime runs ONNX models,
        NumPy the others. Zeros save nothing there; units that are gone do.

        Parameters
        ----------
        X : array_like of shape (n_samples, ...), or what `nettrim.trim` takes for the model
        batch : int, default 64
            Samples at a time; those of `X`, again from the first if there are fewer.
        n_threads : int, default 1
            Of PyTorch and onnxruntime. NumPy has as many as its BLAS was told when it was loaded.

        Returns
        -------
        Latency
            A named tuple: ``before``, ``after`` (seconds), ``n_samples``, ``n_threads``.

        Raises
        ------
        TypeError, ValueError
            If an argument is not what it must be, or the model's view cannot run it.

        Examples
        --------
        >>> import nettrim
        >>> from nettrim.demo import load_digits
        >>> digits = load_digits()
        >>> result = nettrim.trim(digits.network, digits.X, size=0.5, progress=False)
        >>> latency = result.latency(digits.X, batch=16)
        >>> latency.before > 0, latency.after > 0
        (True, True)
        """
        return compare_latency(self.original, self.model, X, batch=batch, n_threads=n_threads)

    def report(self, path: str | os.PathLike[str], accuracy: Accuracy | None = None) -> None:
        """Write a page that shows what happened, to look at and to pass on.

        It is one HTML file that needs nothing else: headline figures, every layer's weights before
        and after, errors measured and proved, the way of every solve, and the recipe.

        Parameters
        ----------
        path : str or path-like
            File to write, whole or not at all: .html, .htm, or a name without a suffix.
        accuracy : Accuracy, optional
            What `accuracy` returned, to be shown as well.
        """
        from .html import write

        if not isinstance(accuracy, Accuracy | None):
            raise TypeError(
                f"accuracy must be what TrimResult.accuracy returned, got {type(accuracy).__name__}"
            )
        write(path, self, accuracy)

    def export(
        self,
        folder: str | os.PathLike[str],
        *,
        formats: Iterable[str] | None = None,
        input_shape: Sequence[int] | None = None,
    ) -> Export:
        """Write the trimmed model as files to ship.

        ``"dense"``
            ``model.npz``, ``model.onnx`` or ``model.pt`` (a ``state_dict``): with its zeros, for
            whatever loads the original.
        ``"safetensors"``
            ``model.safetensors``, of a module of PyTorch, if safetensors is installed
            (``nettrim[safetensors]``): the same tensors, by the same names.
        ``"sparse"``
            ``sparse.npz``: weights in CSR. `Network.load` reads it, or `nettrim.load_weights` for a
            model of another framework.
        ``"bitmask"``
            ``bitmask.npz``: the same with a bit for every weight, smaller unless nearly all are
            zero.
        ``"shrunk"``
            ``shrunk.npz``: `nettrim.shrink` of the network, with smaller shapes.
        ``"header"``
            ``network.h``: the shrunk network in C99 for small devices, in float, without library
            and heap. It defines ``static void nettrim_predict(const float *input, float *output)``
            for one sample.
        ``"recipe"``
            ``recipe.json``: how to get the result again, and hashes to know that one has.

        A perceptron of scikit-learn is written as the network it computes up to its logits. PyTorch
        and ONNX models have neither ``"shrunk"`` nor ``"header"``.

        Parameters
        ----------
        folder : str or path-like
            Created if it is missing. Files of the same names are replaced, each when the new one is
            complete.
        formats : iterable of str, optional
            Default all that the model has; the answer says which it has not.
        input_shape : sequence of int, optional
            Of a sample, for ``"header"``; default that of the calibration data.

        Returns
        -------
        Export
            ``print`` shows a table of the files and of what they save.

        Raises
        ------
        TypeError, ValueError
            If an argument is not what it must be, or the model has no file of a format asked for.

        Examples
        --------
        >>> import nettrim, numpy as np, tempfile
        >>> rng = np.random.default_rng(0)
        >>> net = nettrim.Network([nettrim.Dense(rng.standard_normal((20, 30)))])
        >>> X = rng.standard_normal((200, 20))
        >>> result = nettrim.trim(net, X, epsilon=0.5, progress=False)
        >>> folder = tempfile.mkdtemp()
        >>> shipped = result.export(folder, formats=["sparse", "header"])
        >>> [file.name for file in shipped.files], shipped.files[0].ratio > 1
        (['sparse.npz', 'network.h'], True)
        >>> again = nettrim.Network.load(f"{folder}/sparse.npz")
        >>> bool((again.layers[0].weights == result.model.layers[0].weights).all())
        True
        """
        from .export import write

        return write(self, folder, formats, input_shape)

    def __str__(self) -> str:
        """Return the table."""
        return write_table(self)

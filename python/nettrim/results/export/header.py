"""A network as a C header, for devices where nothing else fits.

The header is C99 without library or heap: constant tables of the weights that are not zero, scratch
of a fixed size, and ``nettrim_predict``, a list of calls of what it takes from ``kernels.h``.
"""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

import numpy as np

from ...base.dispatch import build_info
from ...models.network import Network
from ...models.network.shrink import shrink
from .c_program import Buffer, CProgram
from .calls import emit_layers
from .exported import ExportedFile, Models, export_file

__all__ = ["header", "write"]

NAME = "network.h"
WORD = re.compile(r"\bnettrim_[a-z_]+")
DEFINITION = re.compile(r"^(?:static \w+ |\} )(nettrim_\w+)", re.MULTILINE)


def write(models: Models, folder: Path) -> ExportedFile:
    """Write ``network.h``, of the shrunk network; its bytes are those of its compiled tables."""
    network = shrink(models.network("header"))
    program, text = _translated(network, models.sample_shape(network))
    export_file(folder, NAME, lambda path: path.write_text(text, encoding="ascii"))
    before = _float_bytes(models.original.network or network)
    return ExportedFile(NAME, "C99, its tables", before, program.tables.bytes)


def header(network: Network, input_shape: tuple[int, ...]) -> str:
    """Return a network as a C header.

    Parameters
    ----------
    network : Network
        Of layers that nettrim has, with windows of one or two axes.
    input_shape : tuple of int
        Of a sample.

    Returns
    -------
    str
        It defines ``static void nettrim_predict(const float *input, float *output)`` for one
        sample, the numbers ``NETTRIM_INPUTS`` and ``NETTRIM_OUTPUTS``, and what begins with
        ``nettrim_`` besides.

    Raises
    ------
    ValueError
        If the shape does not fit the network, a layer has no counterpart in C, or numbers are
        beyond float.

    Examples
    --------
    >>> from nettrim import Dense
    >>> text = header(Network([Dense([[1.0], [0.0], [2.0]], [0.5])]), (3,))
    >>> print(text[text.index("static const float nettrim_values1") :])
    static const float nettrim_values1[] = {
        1.0f, 2.0f,
    };
    static const float nettrim_bias1[] = {
        0.5f,
    };
    static float nettrim_scratch0[1];
    <BLANKLINE>
    static void nettrim_predict(const float *input, float *output)
    {
        nettrim_dense(input, nettrim_scratch0, 1, 3, 1, nettrim_counts1, nettrim_columns1, \
nettrim_values1, nettrim_bias1);
        nettrim_relu(nettrim_scratch0, 1);
        nettrim_copy(nettrim_scratch0, output, 1);
    }
    <BLANKLINE>
    #endif
    <BLANKLINE>
    """
    return _translated(network, input_shape)[1]


def _float_bytes(network: Network) -> int:
    """Return what all numbers of a network take as floats."""
    arrays = network.to_arrays().values()
    return sum(4 * array.size for array in arrays if array.dtype.kind == "f")


def _translated(network: Network, input_shape: tuple[int, ...]) -> tuple[CProgram, str]:
    """Return the parts of a header and the header."""
    try:
        network.predict(np.zeros((1, *input_shape)))
    except ValueError as error:
        raise ValueError(f"input_shape {input_shape} does not fit the network: {error}") from None
    program, start = CProgram(), Buffer("input", input_shape, scratch=False)
    end = emit_layers(network.layers, program, start)
    program.call("copy", end.name, "output", end.size)
    return program, _text(program, start.size, end.size)


def _text(program: CProgram, n_inputs: int, n_outputs: int) -> str:
    tables = program.tables
    scratch = [f"static float nettrim_scratch{k}[{n}];" for k, n in enumerate(program.scratch)]
    kernels = _kernels("\n".join([*tables.texts, *program.calls]))
    return _HEADER.format(
        version=build_info()["version"],
        n_inputs=n_inputs,
        n_outputs=n_outputs,
        table_bytes=tables.bytes,
        scratch_bytes=4 * sum(program.scratch),
        limits="#include <float.h>\n" * ("FLT_MAX" in kernels),
        index=tables.index_type,
        kernels=kernels,
        tables="\n".join([*tables.texts, *scratch]),
        calls="\n".join(program.calls),
    )


def _kernels(code: str) -> str:
    """Return the parts of ``kernels.h`` that code uses, and those that they use."""
    parts = files(__package__).joinpath("kernels.h").read_text(encoding="ascii").split("\n\n")
    defined = {found[1]: part.strip() for part in parts if (found := DEFINITION.search(part))}
    needed: set[str] = set()
    more = set(WORD.findall(code)) & defined.keys()
    while more > needed:
        needed = more
        uses = "\n".join(defined[name] for name in needed)
        more = needed | set(WORD.findall(uses)) & defined.keys()
    return "\n\n".join(part for name, part in defined.items() if name in needed)


_HEADER = """\
/* A network, written by nettrim {version}. For one sample:

       float input[NETTRIM_INPUTS], output[NETTRIM_OUTPUTS];
       nettrim_predict(input, output);

   The tables take {table_bytes} bytes and the scratch {scratch_bytes}. All calls share the scratch:
   one at a time. */

#ifndef NETTRIM_NETWORK_H
#define NETTRIM_NETWORK_H

#include <stdint.h>
{limits}
#define NETTRIM_INPUTS {n_inputs}
#define NETTRIM_OUTPUTS {n_outputs}

typedef {index} nettrim_index;

{kernels}

{tables}

static void nettrim_predict(const float *input, float *output)
{{
{calls}
}}

#endif
"""

"""Matrices and vectors: numpy arrays here, so that converting is copying."""

from __future__ import annotations

from typing import Any

import numpy as np

from wsss_fast.compat.pydensecrf import _arguments

#: What the models return.
MatrixXf = np.ndarray
VectorXf = np.ndarray


def matrixXf(arr: Any) -> np.ndarray:
    """A float32 copy of a matrix, such as ``klDivergence`` takes.

    >>> from wsss_fast.compat.pydensecrf.eigen import matrixXf
    >>> matrixXf([[1.0, 2.0]])
    array([[1., 2.]], dtype=float32)
    """
    return _arguments.floats("arr", arr, ("rows", "columns"), "a matrix")


def vectorXf(arr: Any) -> np.ndarray:
    """A float32 copy of a vector.

    >>> from wsss_fast.compat.pydensecrf.eigen import vectorXf
    >>> vectorXf([1.0, 2.0])
    array([1., 2.], dtype=float32)
    """
    return _arguments.floats("arr", arr, ("size",), "a vector")

"""Dense CRFs over points and over images, with the interface of ``pydensecrf.densecrf``."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import numpy as np
import torch
from torch import Tensor

import wsss_fast
from wsss_fast import _checks
from wsss_fast.compat.pydensecrf import _arguments, eigen
from wsss_fast.compat.pydensecrf._pairwise import Pairwise
from wsss_fast.ops.lattice import MAX_DIMS
from wsss_fast.ops.mean_field import softmax_

__all__ = [
    "CONST_KERNEL",
    "DIAG_KERNEL",
    "FULL_KERNEL",
    "NORMALIZE_AFTER",
    "NORMALIZE_BEFORE",
    "NORMALIZE_SYMMETRIC",
    "NO_NORMALIZATION",
    "ConstUnary",
    "DenseCRF",
    "DenseCRF2D",
    "KernelType",
    "LogisticUnary",
    "NormalizationType",
    "Unary",
    "eigen",
]


class KernelType(IntEnum):
    """Which parameters of a kernel could be learnt. Inference is the same for all three.

    >>> from wsss_fast.compat.pydensecrf import densecrf as dcrf
    >>> dcrf.KernelType.DIAG_KERNEL is dcrf.DIAG_KERNEL
    True
    """

    CONST_KERNEL = 0
    DIAG_KERNEL = 1
    FULL_KERNEL = 2


class NormalizationType(IntEnum):
    """On which sides of the filter a kernel is divided by its row sums.

    >>> from wsss_fast.compat.pydensecrf import densecrf as dcrf
    >>> d = dcrf.DenseCRF2D(8, 6, 2)
    >>> d.addPairwiseGaussian(sxy=3, compat=3, normalization=dcrf.NORMALIZE_BEFORE)
    """

    NO_NORMALIZATION = 0
    NORMALIZE_BEFORE = 1
    NORMALIZE_AFTER = 2
    NORMALIZE_SYMMETRIC = 3


CONST_KERNEL, DIAG_KERNEL, FULL_KERNEL = KernelType
NO_NORMALIZATION, NORMALIZE_BEFORE, NORMALIZE_AFTER, NORMALIZE_SYMMETRIC = NormalizationType

_NORMALIZATIONS = {
    NO_NORMALIZATION: "none",
    NORMALIZE_BEFORE: "before",
    NORMALIZE_AFTER: "after",
    NORMALIZE_SYMMETRIC: "symmetric",
}

# Marginals lie in [0, 1]; with what is at most this no filter can overflow.
_MOST_OF_Q = 1e6


def _given(u: Any) -> np.ndarray:
    return _arguments.finite("u", _arguments.floats("u", u, ("C", "N"), "labels x points"), or_inf=True)


def _total(values: Tensor) -> Tensor:
    """The sum of ``[C,N]``. A label at a time first: torch splits a full sum by its number of threads."""
    return values.sum(1).sum()


def _product(name: str, weights: Any, f: Any) -> np.ndarray:
    weights = _arguments.floats(name, weights, ("C", "D"), "labels x features")
    features = _arguments.floats("f", f, (weights.shape[1], "N"), f"features of {name} x points")
    with np.errstate(over="ignore", invalid="ignore"):
        product = _arguments.finite(name, weights) @ _arguments.finite("f", features)
    return _arguments.finite(f"{name} @ f", product)


class Unary:
    """Energies of labels at points: a :class:`ConstUnary` or a :class:`LogisticUnary`.

    >>> from wsss_fast.compat.pydensecrf import densecrf as dcrf
    >>> issubclass(dcrf.ConstUnary, dcrf.Unary), issubclass(dcrf.LogisticUnary, dcrf.Unary)
    (True, True)
    """

    _energy: np.ndarray

    def __init__(self) -> None:
        raise TypeError("Unary: expected to be made as a ConstUnary or a LogisticUnary")


class ConstUnary(Unary):
    """Given energies ``u`` [C,N], that is -log p; float32 or float64, copied, +inf for what is impossible.

    Raises ``TypeError`` for anything but an array of floats, ``ValueError`` for another rank, NaN and -inf.

    >>> import numpy as np
    >>> from wsss_fast.compat.pydensecrf import densecrf as dcrf
    >>> d = dcrf.DenseCRF(100, 3)
    >>> d.setUnary(dcrf.ConstUnary(np.zeros((3, 100))))
    >>> np.allclose(d.inference(1), 1 / 3)
    True
    """

    def __init__(self, u: Any) -> None:
        self._energy = _given(u)


class LogisticUnary(Unary):
    """The energies ``L @ f`` of weights ``L`` [C,D] and features ``f`` [D,N], finite floats.

    Raises ``TypeError`` and ``ValueError`` as :class:`ConstUnary` does.

    >>> import numpy as np
    >>> from wsss_fast.compat.pydensecrf import densecrf as dcrf
    >>> weights, features = np.ones((3, 5)), np.ones((5, 100))
    >>> d = dcrf.DenseCRF(100, 3)
    >>> d.setUnary(dcrf.LogisticUnary(weights, features))
    >>> d.inference(1).shape
    (3, 100)
    """

    def __init__(self, L: Any, f: Any) -> None:
        self._energy = _product("L", L, f)


class DenseCRF:
    """A fully connected CRF over points.

    Args:
        nvar: how many points, N.
        nlabels: how many labels, C.

    Without a unary all labels are equally likely. Terms and unaries may be added and replaced between
    inferences. Inputs are copied. A model can be pickled, and several threads may run inference on it.

    >>> import numpy as np
    >>> from wsss_fast.compat.pydensecrf.densecrf import DenseCRF
    >>> d = DenseCRF(100, 3)
    >>> d.setUnaryEnergy(-np.log(np.random.dirichlet([1, 1, 1], 100).T))
    >>> d.addPairwiseEnergy(np.linspace(0, 9, 100, dtype=np.float32).reshape(1, 100), compat=2)
    >>> Q = d.inference(5)
    >>> Q.shape, Q.dtype
    ((3, 100), dtype('float32'))
    """

    def __init__(self, nvar: int, nlabels: int) -> None:
        self._nvar = _checks.integer("nvar", nvar, 1, 2**31 - 1)
        self._nlabels = _checks.integer("nlabels", nlabels, 1, 2**31 - 1)
        self._plane = (1, self._nvar)  # height and width, from which crf knows what is near what
        self._unary: Tensor | None = None
        self._terms: list[Pairwise] = []

    def setUnary(self, u: Unary) -> None:
        """Sets the energies to those of a :class:`Unary`, in place of earlier ones.

        >>> import numpy as np
        >>> from wsss_fast.compat.pydensecrf.densecrf import ConstUnary, DenseCRF
        >>> d = DenseCRF(100, 3)
        >>> d.setUnary(ConstUnary(np.zeros((3, 100))))

        Raises:
            TypeError: no :class:`Unary`.
            ValueError: one of another size.
        """
        if not isinstance(u, Unary):
            raise TypeError(_checks.wrong("u", "a ConstUnary or a LogisticUnary", f"a {type(u).__name__}"))
        self._set("u", u._energy)

    def _set(self, name: str, energy: np.ndarray) -> None:
        if energy.shape != (self._nlabels, self._nvar):
            expected = f"[{self._nlabels},{self._nvar}] (labels x points)"
            raise ValueError(_checks.wrong(name, expected, energy))
        self._unary = torch.from_numpy(energy)

    def setUnaryEnergy(self, u: Any, f: Any = None) -> None:
        """Sets the energies, in place of earlier ones.

        Args:
            u: ``[C,N]``, -log p, float32 or float64. +inf is a label that is impossible.
            f: None; or features ``[D,N]``, with which the energies are ``u @ f`` for weights ``u`` [C,D].

        Raises:
            TypeError: no array of floats.
            ValueError: wrong size, NaN or -inf.
        """
        if f is None:
            self._set("u", _given(u))
        else:
            self._set("u @ f", _product("u", u, f))

    def addPairwiseEnergy(
        self,
        features: Any,
        compat: Any,
        kernel: int = DIAG_KERNEL,
        normalization: int = NORMALIZE_SYMMETRIC,
    ) -> None:
        """Adds a term in which points agree whose features are near each other.

        Args:
            features: ``[d,N]``, d = 1..16, finite float32 or float64, in units of the standard deviation.
            compat: a number w (Potts: agreeing neighbours lower the energy by up to w), or costs ``[C]`` or
                ``[C,C]``, which multiply the neighbours' marginals and are added to the energy. Of a matrix
                the symmetric part counts.
            kernel: a :class:`KernelType`; makes no difference.
            normalization: a :class:`NormalizationType`.

        Raises:
            TypeError: features or compat are no numbers.
            ValueError: wrong size, features or compat that are not finite, no such kernel or normalization.
        """
        points = _arguments.floats("features", features, ("d", self._nvar), "dimensions x points")
        if len(points) > MAX_DIMS:
            expected = f"[d,{self._nvar}] with d in [1, {MAX_DIMS}]"
            raise ValueError(_checks.wrong("features", expected, points))
        self._add(_arguments.finite("features", points), compat, kernel, normalization)

    def _add(self, features: np.ndarray, compat: Any, kernel: Any, normalization: Any) -> None:
        _arguments.member("kernel", kernel, KernelType)
        name = _NORMALIZATIONS[_arguments.member("normalization", normalization, NormalizationType)]
        self._terms.append(Pairwise(features, _arguments.compatibility(compat, self._nlabels), name))

    def inference(self, niter: int) -> np.ndarray:
        """Marginals Q ``[C,N]`` float32 after ``niter`` updates of all points at once, 0 or more.

        Raises:
            TypeError: niter is no integer.
            ValueError: niter < 0; a point at which every label is impossible; features thousands of
                standard deviations from the origin, where float32 cannot place them.
        """
        niter = _checks.integer("niter", niter, 0, 2**31 - 1)
        q = wsss_fast.crf(
            torch.zeros(3, *self._plane, dtype=torch.uint8, device="cpu"),  # no kernel reads it
            self._energy().unflatten(1, self._plane),
            iterations=niter,
            kernels=[term.kernel(self._plane) for term in self._terms],
            normalization=[term.normalization for term in self._terms],
        )
        return q.flatten(1).numpy()

    def startInference(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What :meth:`stepInference` takes: Q before the first update, and two empty arrays.

        >>> from wsss_fast.compat.pydensecrf.densecrf import DenseCRF2D
        >>> d = DenseCRF2D(8, 6, 2)
        >>> d.addPairwiseGaussian(sxy=3, compat=[[-3, 0], [0, -4]])
        >>> Q, tmp1, tmp2 = d.startInference()
        >>> before = d.klDivergence(Q)
        >>> for _ in range(5):
        ...     d.stepInference(Q, tmp1, tmp2)
        >>> d.klDivergence(Q) < before
        True
        """
        empty = np.empty((0, 0), dtype=np.float32)
        return self.inference(0), empty, empty.copy()

    def stepInference(self, Q: np.ndarray, tmp1: Any, tmp2: Any) -> None:
        """Updates Q in place.

        Args:
            Q: marginals ``[C,N]`` float32, in [0, 1] up to what is taken for rounding: at most 1e6.
            tmp1, tmp2: scratch space of the implementation this stands in for; not used.

        Raises:
            TypeError: Q is no float32 array.
            ValueError: Q has the wrong size, is read-only or not finite; weights so large that energies
                overflow.
        """
        expected = f"a writable [{self._nlabels},{self._nvar}] float32, as startInference gives it"
        if not isinstance(Q, np.ndarray):
            raise TypeError(_checks.wrong("Q", expected, f"a {type(Q).__name__}"))
        if Q.dtype != np.float32:
            raise TypeError(_checks.wrong("Q", expected, Q))
        if not Q.flags.writeable:
            raise ValueError(_checks.wrong("Q", expected, "a read-only array"))
        q = self._marginals(Q)
        energy = self._energy().clone()
        for term in self._terms:
            energy += term.energy(q)
        updated = softmax_(energy.neg_())  # torch's own depends on the number of threads
        if bool(updated.isnan().any()):
            raise ValueError(_checks.wrong("compat", "weights that keep energies finite", "an overflow"))
        Q[...] = updated.numpy()

    def klDivergence(self, Q: Any) -> float:
        """The divergence from Q to the model, up to a constant: the lower, the better Q fits.

        It is the sum over all points and labels of ``Q log Q + u Q`` and of Q times what each pairwise term
        adds to the energy; Q ``[C,N]`` of floats of at most 1e6. Sums are in double precision.

        Raises:
            TypeError: no array of floats.
            ValueError: wrong size or not finite.
        """
        q = self._marginals(Q)
        exact = q.double()
        total = _total(exact * exact.clamp_min(1e-20).log())
        # What has no probability costs nothing, even where it is impossible.
        total += _total(torch.where(q == 0, 0.0, self._energy().double() * exact))
        for term in self._terms:
            total += _total(exact * term.energy(q))
        return float(total)

    def _energy(self) -> Tensor:
        if self._unary is not None:
            return self._unary
        return torch.zeros(self._nlabels, self._nvar, dtype=torch.float32, device="cpu")

    def _marginals(self, value: Any) -> Tensor:
        size = (self._nlabels, self._nvar)
        q = _arguments.finite("Q", _arguments.floats("Q", value, size, "labels x points"))
        if not np.abs(q).max() <= _MOST_OF_Q:
            raise ValueError(_checks.wrong("Q", f"values of at most {_MOST_OF_Q:g}", float(np.abs(q).max())))
        return torch.from_numpy(q)


class DenseCRF2D(DenseCRF):
    """A fully connected CRF over the pixels of an image, row by row.

    Args:
        w: width of the image. Width comes first.
        h: height.
        nlabels: how many labels.

    >>> import numpy as np
    >>> from wsss_fast.compat.pydensecrf.densecrf import DenseCRF2D
    >>> from wsss_fast.compat.pydensecrf.utils import unary_from_labels
    >>> image = np.random.randint(0, 256, (48, 64, 3), dtype=np.uint8)
    >>> labels = np.random.randint(0, 5, (48, 64))
    >>> d = DenseCRF2D(64, 48, 5)
    >>> d.setUnaryEnergy(unary_from_labels(labels, 5, gt_prob=0.7, zero_unsure=False))
    >>> d.addPairwiseGaussian(sxy=3, compat=3)
    >>> d.addPairwiseBilateral(sxy=80, srgb=13, rgbim=image, compat=10)
    >>> np.argmax(d.inference(5), axis=0).reshape(48, 64).shape
    (48, 64)
    """

    def __init__(self, w: int, h: int, nlabels: int) -> None:
        self._w = _checks.integer("w", w, 1, 2**31 - 1)
        self._h = _checks.integer("h", h, 1, 2**31 - 1)
        if self._w * self._h >= 2**31:
            raise ValueError(_checks.wrong("w and h", "less than 2^31 pixels", f"{self._w} x {self._h}"))
        super().__init__(self._w * self._h, nlabels)
        self._plane = (self._h, self._w)

    def addPairwiseGaussian(
        self,
        sxy: Any,
        compat: Any,
        kernel: int = DIAG_KERNEL,
        normalization: int = NORMALIZE_SYMMETRIC,
    ) -> None:
        """Adds a term in which pixels agree that are near each other.

        Args:
            sxy: standard deviation in pixels, or ``(sx, sy)``.
            compat, kernel, normalization: as in :meth:`DenseCRF.addPairwiseEnergy`, whose errors it raises.
        """
        self._add(self._features(_arguments.scales("sxy", sxy, 2)), compat, kernel, normalization)

    def addPairwiseBilateral(
        self,
        sxy: Any,
        srgb: Any,
        rgbim: Any,
        compat: Any,
        kernel: int = DIAG_KERNEL,
        normalization: int = NORMALIZE_SYMMETRIC,
    ) -> None:
        """Adds a term in which pixels agree that are near each other and of similar colour.

        Args:
            sxy: standard deviation in pixels, or ``(sx, sy)``.
            srgb: standard deviation in values of the image, or one for each of its three channels.
            rgbim: ``[h,w,3]`` uint8. For other images see :func:`.utils.create_pairwise_bilateral`.
            compat, kernel, normalization: as in :meth:`DenseCRF.addPairwiseEnergy`, whose errors it raises.
        """
        expected = f"[{self._h},{self._w},3] uint8 (height, width, RGB)"
        image = _arguments.array("rgbim", rgbim, expected)
        if image.dtype != np.uint8:
            raise TypeError(_checks.wrong("rgbim", expected, image))
        if image.shape != (self._h, self._w, 3):
            raise ValueError(
                _checks.wrong("rgbim", expected, image)
                + "; for images that are not RGB use utils.create_pairwise_bilateral and addPairwiseEnergy"
            )
        positions, colours = _arguments.scales("sxy", sxy, 2), _arguments.scales("srgb", srgb, 3)
        self._add(self._features(positions, image / colours), compat, kernel, normalization)

    def _features(self, sxy: np.ndarray, colours: np.ndarray | None = None) -> np.ndarray:
        """Positions and colours [h,w,c] of the pixels in standard deviations, [2 + c,h*w]."""
        count = 2 if colours is None else 2 + colours.shape[2]
        features = np.empty((count, self._h, self._w), dtype=np.float32)
        features[0] = np.arange(self._w, dtype=np.float32) / sxy[0]
        features[1] = (np.arange(self._h, dtype=np.float32) / sxy[1])[:, np.newaxis]
        if colours is not None:
            features[2:] = np.moveaxis(colours, 2, 0)
        return features.reshape(count, -1)

"""The stand-in for pydensecrf.densecrf: published examples, run by it, by pydensecrf and by the reference."""

from __future__ import annotations

import importlib
import inspect
import pickle
import types
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from conftest import close

import wsss_fast
import wsss_fast.compat.pydensecrf.densecrf as dcrf
from wsss_fast.compat.pydensecrf import eigen, utils
from wsss_fast.reference.crf import PermutohedralLattice

Results = dict[str, np.ndarray]
SYMMETRIC = np.array([[-4.0, 1.0, 0.5], [1.0, -3.0, 0.0], [0.5, 0.0, -5.0]], dtype=np.float32)
LOPSIDED = np.array([[-4.0, 2.0, 0.5], [0.0, -3.0, 0.4], [0.5, -0.4, -5.0]], dtype=np.float32)
DIAGONAL = np.array([-1.0, -2.0, -4.0], dtype=np.float32)


class Reference:
    """Either model on the lattice of wsss_fast.reference, in float64."""

    def __init__(self, *size: int) -> None:
        *self.size, self.labels = (int(n) for n in size)
        self.unary = torch.zeros(self.labels, int(np.prod(self.size)), dtype=torch.float64)
        self.terms: list[tuple[Any, ...]] = []

    def setUnaryEnergy(self, u: np.ndarray) -> None:
        self.unary = torch.from_numpy(u).double()

    def addPairwiseEnergy(
        self, features: np.ndarray, compat: Any, kernel: int = 1, normalization: int = 3
    ) -> None:
        lattice = PermutohedralLattice(torch.from_numpy(features).double())
        norm = lattice.filter(torch.ones(1, lattice.points, dtype=torch.float64))
        norm = norm.pow(-0.5 if normalization == 3 else -1)
        before = norm if normalization in (1, 3) else torch.ones_like(norm)
        after = norm if normalization in (2, 3) else torch.ones_like(norm)
        matrix = torch.as_tensor(compat, dtype=torch.float64)
        if matrix.dim() < 2:
            matrix = torch.diag(matrix if matrix.dim() else -matrix.expand(self.labels))
        self.terms.append((lattice, before, after, (matrix + matrix.T) / 2))

    def addPairwiseGaussian(self, sxy: Any, compat: Any, kernel: int = 1, normalization: int = 3) -> None:
        width, height = self.size
        features = self._grid(width, height, sxy).reshape(2, -1)
        self.addPairwiseEnergy(features, compat, kernel, normalization)

    def addPairwiseBilateral(
        self, sxy: Any, srgb: Any, rgbim: np.ndarray, compat: Any, kernel: int = 1, normalization: int = 3
    ) -> None:
        width, height = self.size
        colours = (rgbim / np.broadcast_to(np.float32(srgb), 3)).transpose(2, 0, 1)
        features = np.concatenate([self._grid(width, height, sxy), colours]).astype(np.float32)
        self.addPairwiseEnergy(features.reshape(5, -1), compat, kernel, normalization)

    def _grid(self, width: int, height: int, sxy: Any) -> np.ndarray:
        sx, sy = np.broadcast_to(np.float32(sxy), 2)
        x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
        return np.stack([x / sx, y / sy])

    def _added(self, q: torch.Tensor) -> list[torch.Tensor]:
        return [m @ (lattice.filter(q * before) * after) for lattice, before, after, m in self.terms]

    def inference(self, niter: int) -> np.ndarray:
        q, *scratch = self.startInference()
        for _ in range(niter):
            self.stepInference(q, *scratch)
        return q

    def startInference(self) -> tuple[np.ndarray, None, None]:
        return torch.softmax(-self.unary, 0).numpy(), None, None

    def stepInference(self, Q: np.ndarray, tmp1: None, tmp2: None) -> None:
        Q[...] = torch.softmax(-sum(self._added(torch.from_numpy(Q)), self.unary), 0).numpy()

    def klDivergence(self, Q: np.ndarray) -> float:
        q = torch.from_numpy(Q)
        return float((q * (q.clamp_min(1e-20).log() + sum(self._added(q), self.unary))).sum())


@pytest.fixture(params=["reference", "pydensecrf"])
def other(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    """Another densecrf module, and the utils that go with it."""
    if request.param == "pydensecrf":
        return pytest.importorskip("pydensecrf.densecrf"), importlib.import_module("pydensecrf.utils")
    constants = {name: getattr(dcrf, name) for name in dcrf.__all__ if name.isupper()}
    return types.SimpleNamespace(DenseCRF=Reference, DenseCRF2D=Reference, **constants), utils


def picture(height: int, width: int) -> np.ndarray:
    """A few flat colours with grain, so that kernels find something to agree on."""
    rng = np.random.default_rng(1)
    coarse = rng.integers(0, 200, (height // 6 + 1, width // 7 + 1, 3))
    image = np.kron(coarse, np.ones((6, 7, 1), dtype=int))[:height, :width]
    return (image + rng.integers(0, 20, image.shape)).astype(np.uint8)


def energies(labels: int, points: int) -> np.ndarray:
    return np.random.default_rng(2).random((labels, points), dtype=np.float32) * 3


# --- published examples: what they do, each as a function of the modules -----------------------------------


def annotation_2d(dcrf: Any, utils: Any) -> Results:
    """inference.py with use_2d: an annotation with unknown pixels."""
    img, anno = picture(40, 56), np.random.default_rng(3).choice([0, 5, 77, 130], (40, 56))
    colors, labels = np.unique(anno, return_inverse=True)
    has_unknown = 0 in colors
    n_labels = len(set(labels.flat)) - int(has_unknown)
    d = dcrf.DenseCRF2D(img.shape[1], img.shape[0], n_labels)
    d.setUnaryEnergy(utils.unary_from_labels(labels, n_labels, gt_prob=0.7, zero_unsure=has_unknown))
    d.addPairwiseGaussian(
        sxy=(3, 3), compat=3, kernel=dcrf.DIAG_KERNEL, normalization=dcrf.NORMALIZE_SYMMETRIC
    )
    d.addPairwiseBilateral(
        sxy=(80, 80),
        srgb=(13, 13, 13),
        rgbim=img,
        compat=10,
        kernel=dcrf.DIAG_KERNEL,
        normalization=dcrf.NORMALIZE_SYMMETRIC,
    )
    Q = d.inference(5)
    MAP = colors[1:][np.argmax(Q, axis=0)].reshape(img.shape[:2])
    return {"Q": np.array(Q), "MAP": MAP}


def annotation_generic(dcrf: Any, utils: Any) -> Results:
    """inference.py without use_2d, and its steps with the KL divergence."""
    img, labels = picture(40, 56), np.random.default_rng(3).integers(0, 4, (40, 56))
    d = dcrf.DenseCRF(img.shape[1] * img.shape[0], 3)
    d.setUnaryEnergy(utils.unary_from_labels(labels, 3, gt_prob=0.7, zero_unsure=True))
    options = {"kernel": dcrf.DIAG_KERNEL, "normalization": dcrf.NORMALIZE_SYMMETRIC}
    feats = utils.create_pairwise_gaussian(sdims=(3, 3), shape=img.shape[:2])
    d.addPairwiseEnergy(feats, compat=3, **options)
    feats = utils.create_pairwise_bilateral(sdims=(80, 80), schan=(13, 13, 13), img=img, chdim=2)
    d.addPairwiseEnergy(feats, compat=10, **options)
    MAP = np.argmax(d.inference(5), axis=0)
    Q, tmp1, tmp2 = d.startInference()
    kl = []
    for _ in range(5):
        kl.append(d.klDivergence(Q))
        d.stepInference(Q, tmp1, tmp2)
    return {"Q": np.array(Q), "MAP": MAP, "kl": np.array(kl)}


def not_rgb(dcrf: Any, utils: Any) -> Results:
    """The notebook on images that are not RGB: one channel, a soft blob, many steps."""
    H, W, NLABELS = 40, 52, 2
    y, x = np.mgrid[0:H, 0:W]
    probs = np.exp(-((x - W / 2) ** 2 + (y - H / 2) ** 2) / (2 * (H * W / 16)))
    probs = 0.5 + 0.2 * ((probs - probs.min()) / (probs.max() - probs.min()) - 0.5)
    probs = np.tile(probs[np.newaxis, :, :], (2, 1, 1))
    probs[1, :, :] = 1 - probs[0, :, :]
    U = utils.unary_from_softmax(probs)
    d = dcrf.DenseCRF2D(W, H, NLABELS)
    d.setUnaryEnergy(U)
    map_unary = np.argmax(d.inference(10), axis=0).reshape((H, W))

    img = np.zeros((H, W, 1), np.uint8)
    img[H // 3 : 2 * H // 3, W // 4 : 3 * W // 4, :] = 1
    pairwise_energy = utils.create_pairwise_bilateral(sdims=(10, 10), schan=(0.01,), img=img, chdim=2)
    assert pairwise_energy.reshape((-1, H, W)).shape == (3, H, W)
    d = dcrf.DenseCRF2D(W, H, NLABELS)
    d.setUnaryEnergy(U)
    d.addPairwiseEnergy(pairwise_energy, compat=10)
    Q, tmp1, tmp2 = d.startInference()
    kl, maps = [], []
    for steps in (5, 20):
        for _ in range(steps):
            d.stepInference(Q, tmp1, tmp2)
        kl.append(d.klDivergence(Q) / (H * W))
        maps.append(np.argmax(Q, axis=0).reshape((H, W)))
    return {"unary": map_unary, "first": maps[0], "MAP": maps[1], "kl": np.array(kl), "Q": np.array(Q)}


def volume(dcrf: Any, utils: Any) -> Results:
    """Probabilities of a volume, with a full kernel."""
    shape = (12, 9, 10)
    probs = np.random.default_rng(4).random((5, *shape), dtype=np.float32)
    probs /= probs.sum(axis=0, keepdims=True)
    d = dcrf.DenseCRF(np.prod(shape), probs.shape[0])
    d.setUnaryEnergy(utils.unary_from_softmax(probs))
    feats = utils.create_pairwise_gaussian(sdims=(1.0, 1.0, 1.0), shape=shape)
    d.addPairwiseEnergy(feats, compat=3, kernel=dcrf.FULL_KERNEL, normalization=dcrf.NORMALIZE_SYMMETRIC)
    Q = d.inference(5)
    return {"Q": np.array(Q), "MAP": np.argmax(Q, axis=0).reshape((shape[0], shape[1], shape[2]))}


def readme(dcrf: Any, utils: Any) -> Results:
    """The README's shortest use: energies that are transposed and flattened, default arguments."""
    im = picture(32, 44)
    U = energies(5, 32 * 44).reshape(5, 32, 44).transpose(1, 2, 0)
    d = dcrf.DenseCRF2D(44, 32, 5)
    d.setUnaryEnergy(U.transpose(2, 0, 1).reshape((5, -1)))
    d.addPairwiseGaussian(sxy=3, compat=3)
    d.addPairwiseBilateral(sxy=80, srgb=13, rgbim=im, compat=10)
    Q = d.inference(5)
    return {"Q": np.array(Q), "proba": np.array(Q).reshape(5, 32, 44), "MAP": np.argmax(Q, axis=0)}


def features_of_any_kind(dcrf: Any, utils: Any) -> Results:
    """The README's points that are no image: 100 of them with 7 features."""
    feats = np.random.default_rng(5).normal(size=(7, 100)).astype(np.float32)
    d = dcrf.DenseCRF(100, 5)
    d.setUnaryEnergy(energies(5, 100))
    d.addPairwiseEnergy(feats, compat=4)
    return {"Q": np.array(d.inference(10))}


@pytest.mark.parametrize(
    "flow", [annotation_2d, annotation_generic, not_rgb, volume, readme, features_of_any_kind]
)
def test_published_examples(flow: Callable[[Any, Any], Results], other: tuple[Any, Any]) -> None:
    ours, theirs = flow(dcrf, utils), flow(*other)
    assert ours.keys() == theirs.keys()
    for key, found in ours.items():
        if found.dtype.kind == "f":
            assert found.dtype == (np.float64 if key == "kl" else np.float32)
            # Ten and more updates let the rounding of float32 grow to some 1e-5 where labels are near a tie.
            np.testing.assert_allclose(found, theirs[key], rtol=1e-4, atol=1e-4)
        else:
            assert (found == theirs[key]).mean() >= 0.999


# --- each argument -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("normalization", list(dcrf.NormalizationType))
@pytest.mark.parametrize("compat", [4, np.float32(4), DIAGONAL, SYMMETRIC, LOPSIDED])
def test_compat_and_normalization(compat: Any, normalization: int, other: tuple[Any, Any]) -> None:
    image, unary = picture(32, 44), energies(3, 32 * 44)
    if normalization == dcrf.NO_NORMALIZATION:
        compat = compat * np.float32(0.01)  # the filter's sums are large
    models = []
    for module in (dcrf, other[0]):
        d = module.DenseCRF2D(44, 32, 3)
        d.setUnaryEnergy(unary)
        d.addPairwiseGaussian((2, 5), compat, dcrf.DIAG_KERNEL, normalization)
        d.addPairwiseBilateral(
            (30, 60), (9, 13, 11), image, compat, kernel=dcrf.DIAG_KERNEL, normalization=normalization
        )
        models.append(d)
    ours, theirs = models
    q, expected = ours.inference(10), np.array(theirs.inference(10))
    assert np.abs(q - expected).mean() <= 1e-6
    np.testing.assert_allclose(q, expected, atol=1e-4)
    for steps in (0, 3):
        divergences = []
        for d in models:
            Q, tmp1, tmp2 = d.startInference()
            for _ in range(steps):
                d.stepInference(Q, tmp1, tmp2)
            divergences.append(d.klDivergence(Q))
        assert divergences[0] == pytest.approx(divergences[1], rel=1e-5)


@pytest.mark.parametrize("module", ["wsss_fast.compat.pydensecrf.densecrf", "pydensecrf.densecrf"])
def test_kernel_types_make_no_difference(module: str) -> None:
    dcrf = pytest.importorskip(module)
    results = []
    for kernel in (dcrf.CONST_KERNEL, dcrf.DIAG_KERNEL, dcrf.FULL_KERNEL):
        d = dcrf.DenseCRF2D(24, 18, 3)
        d.setUnaryEnergy(energies(3, 24 * 18))
        d.addPairwiseGaussian(sxy=3, compat=3, kernel=kernel)
        d.addPairwiseBilateral(sxy=30, srgb=13, rgbim=picture(18, 24), compat=5, kernel=kernel)
        results.append(np.array(d.inference(5)))
    assert (results[0] == results[1]).all()
    assert (results[0] == results[2]).all()


def public(thing: Any) -> set[str]:
    return {name for name in dir(thing) if not name.startswith("_")}


def test_interface_is_that_of_the_other() -> None:
    theirs = pytest.importorskip("pydensecrf.densecrf")
    for name in public(theirs) - {"Number"}:
        assert hasattr(dcrf, name), name
        if name.isupper():
            assert getattr(dcrf, name) == getattr(theirs, name)
    for name in ("DenseCRF", "DenseCRF2D"):
        assert public(getattr(theirs, name)) == public(getattr(dcrf, name))
    assert public(importlib.import_module("pydensecrf.eigen")) <= public(eigen)


def test_constants_and_argument_names() -> None:
    assert [dcrf.CONST_KERNEL, dcrf.DIAG_KERNEL, dcrf.FULL_KERNEL] == [0, 1, 2]
    assert [
        dcrf.NO_NORMALIZATION,
        dcrf.NORMALIZE_BEFORE,
        dcrf.NORMALIZE_AFTER,
        dcrf.NORMALIZE_SYMMETRIC,
    ] == [0, 1, 2, 3]
    names = {
        dcrf.DenseCRF: "nvar nlabels",
        dcrf.DenseCRF2D: "w h nlabels",
        dcrf.DenseCRF.setUnaryEnergy: "self u f",
        dcrf.DenseCRF.addPairwiseEnergy: "self features compat kernel normalization",
        dcrf.DenseCRF2D.addPairwiseGaussian: "self sxy compat kernel normalization",
        dcrf.DenseCRF2D.addPairwiseBilateral: "self sxy srgb rgbim compat kernel normalization",
        dcrf.DenseCRF.inference: "self niter",
        dcrf.DenseCRF.stepInference: "self Q tmp1 tmp2",
        dcrf.DenseCRF.klDivergence: "self Q",
    }
    for function, expected in names.items():
        parameters = inspect.signature(function).parameters
        assert " ".join(parameters) == expected
        defaults = {n: p.default for n, p in parameters.items() if n in ("kernel", "normalization")}
        assert set(defaults.values()) <= {dcrf.DIAG_KERNEL, dcrf.NORMALIZE_SYMMETRIC}


@pytest.mark.parametrize("name", ["crf_500x375_C4", "crf_64x48_C5_soft"])
def test_golden(name: str, golden: Callable[[str], tuple[dict[str, np.ndarray], dict[str, Any]]]) -> None:
    arrays, p = golden(name)
    height, width = arrays["image"].shape[:2]
    if "labels" in arrays:
        unary = utils.unary_from_labels(arrays["labels"], p["C"], p["gt_prob"], zero_unsure=False)
    else:
        unary = arrays["unary"].reshape(p["C"], -1)
    d = dcrf.DenseCRF2D(width, height, p["C"])
    d.setUnaryEnergy(unary)
    d.addPairwiseGaussian(sxy=p["gauss_sxy"], compat=p["gauss_compat"])
    d.addPairwiseBilateral(p["bilat_sxy"], p["bilat_srgb"], arrays["image"], p["bilat_compat"])
    Q = d.inference(p["t"])
    assert (np.argmax(Q, axis=0).reshape(height, width) == arrays["map"]).mean() >= 0.9999
    if "Q" in arrays:
        difference = np.abs(Q - arrays["Q"].reshape(p["C"], -1))
    else:
        difference = np.abs(Q[:, arrays["pixels"]] - arrays["Q_pixels"])
    assert difference.mean(dtype=np.float64) <= 1e-5


def model() -> dcrf.DenseCRF2D:
    d = dcrf.DenseCRF2D(22, 15, 3)
    d.setUnaryEnergy(energies(3, 330))
    d.addPairwiseGaussian(sxy=3, compat=3)
    d.addPairwiseBilateral(sxy=20, srgb=13, rgbim=picture(15, 22), compat=4)
    return d


def test_the_same_as_crf() -> None:
    expected = wsss_fast.crf(
        torch.from_numpy(picture(15, 22)).permute(2, 0, 1),
        torch.from_numpy(energies(3, 330)).reshape(3, 15, 22),
        iterations=7,
        gaussian=wsss_fast.Gaussian(3, 3),
        bilateral=wsss_fast.Bilateral(20, 13, 4),
    )
    assert (model().inference(7).reshape(3, 15, 22) == expected.numpy()).all()


def test_bilateral_terms_of_two_images(other: tuple[Any, Any]) -> None:
    images = picture(16, 22), np.ascontiguousarray(picture(16, 22)[::-1, :, ::-1])
    results = []
    for module in (dcrf, other[0]):
        d = module.DenseCRF2D(22, 16, 3)
        d.setUnaryEnergy(energies(3, 352))
        for image in images:
            d.addPairwiseBilateral(sxy=20, srgb=13, rgbim=image, compat=3)
        results.append(np.array(d.inference(5)))
    np.testing.assert_allclose(*results, atol=1e-4)


def test_results_are_arrays() -> None:
    Q = model().inference(3)
    assert type(Q) is np.ndarray
    assert Q.shape == (3, 330)
    assert Q.dtype == np.float32
    assert Q.flags.writeable
    assert memoryview(Q).format == "f"
    assert np.array(Q).base is None
    close(torch.from_numpy(Q.sum(axis=0)), torch.ones(330))


def test_steps_change_q_in_place_and_agree_with_inference() -> None:
    d = model()
    Q, tmp1, tmp2 = d.startInference()
    view = np.asarray(Q)
    np.testing.assert_allclose(Q, torch.softmax(-torch.from_numpy(energies(3, 330)), 0), rtol=1e-5)
    for steps in range(1, 6):
        assert d.stepInference(Q, tmp1, tmp2) is None
        assert view is Q
        np.testing.assert_allclose(Q, d.inference(steps), atol=1e-5)
    transposed = np.asfortranarray(d.inference(4))  # the layout of the other's wrappers
    d.stepInference(transposed, tmp1, tmp2)
    np.testing.assert_allclose(transposed, Q, atol=1e-5)


def test_divergence_of_any_marginals() -> None:
    d = model()
    Q = d.inference(4)
    kl = d.klDivergence(Q)
    assert isinstance(kl, float)
    assert d.klDivergence(np.asfortranarray(Q)) == kl
    assert d.klDivergence(eigen.matrixXf(Q.astype(np.float64))) == kl
    assert kl < d.klDivergence(np.full((3, 330), 1 / 3, dtype=np.float32))


def test_models_may_change_between_inferences() -> None:
    d = dcrf.DenseCRF2D(22, 15, 3)
    d.setUnaryEnergy(np.ones((3, 330), dtype=np.float32))
    d.addPairwiseGaussian(sxy=3, compat=3)
    first = d.inference(5)
    assert (d.inference(5) == first).all()
    d.stepInference(*d.startInference())
    d.setUnaryEnergy(energies(3, 330))
    d.addPairwiseBilateral(sxy=20, srgb=13, rgbim=picture(15, 22), compat=4)
    assert (d.inference(5) == model().inference(5)).all()
    results = []
    for changed in (d, model()):
        Q, tmp1, tmp2 = changed.startInference()
        changed.stepInference(Q, tmp1, tmp2)
        results.append(Q)
    assert (results[0] == results[1]).all()


def test_inputs_are_copied() -> None:
    unary, image, compat = energies(3, 330), picture(15, 22), DIAGONAL.copy()
    features = np.random.default_rng(6).normal(size=(3, 330)).astype(np.float32)
    d = dcrf.DenseCRF2D(22, 15, 3)
    d.setUnaryEnergy(unary)
    d.addPairwiseBilateral(sxy=20, srgb=13, rgbim=image, compat=compat)
    d.addPairwiseEnergy(features, compat)
    expected = d.inference(3)
    for given in (unary, image, compat, features):
        given[...] = 0
    assert (d.inference(3) == expected).all()
    d.inference(3)[...] = 0
    assert (d.inference(3) == expected).all()


def test_layout_and_width_of_floats_do_not_matter() -> None:
    unary, image = energies(3, 330), picture(15, 22)
    features = np.random.default_rng(6).normal(size=(3, 330)).astype(np.float32)
    results = []
    for change in (
        lambda a: a,
        np.asfortranarray,
        lambda a: np.repeat(a, 2, axis=0)[::2],
        lambda a: a[::-1].copy()[::-1],
        lambda a: a if a.dtype == np.uint8 else a.astype(np.float64),
        lambda a: torch.from_numpy(a),
    ):
        d = dcrf.DenseCRF2D(22, 15, 3)
        d.setUnaryEnergy(change(unary))
        d.addPairwiseBilateral(sxy=np.array([20, 20]), srgb=[13, 13, 13], rgbim=change(image), compat=3)
        d.addPairwiseEnergy(change(features), change(SYMMETRIC))
        results.append(d.inference(3))
    for q in results[1:]:
        assert (q == results[0]).all()


def test_without_a_unary_labels_are_equally_likely(other: tuple[Any, Any]) -> None:
    results = []
    for module in (dcrf, other[0]):
        d = module.DenseCRF2D(22, 16, 3)
        d.addPairwiseBilateral(sxy=20, srgb=13, rgbim=picture(16, 22), compat=LOPSIDED)
        results.append(np.array(d.inference(3)))
    np.testing.assert_allclose(*results, atol=1e-5)
    d = dcrf.DenseCRF(4, 5)
    Q, tmp1, tmp2 = d.startInference()
    assert (np.float32(0.2) == Q).all()
    assert d.klDivergence(Q) == pytest.approx(4 * np.log(0.2))
    d.stepInference(Q, tmp1, tmp2)
    assert (np.float32(0.2) == Q).all()


def test_unaries(other: tuple[Any, Any]) -> None:
    rng = np.random.default_rng(7)
    weights, features = (rng.normal(size=s).astype(np.float32) for s in ((3, 6), (6, 330)))
    d = dcrf.DenseCRF(330, 3)
    results = []
    for set_unary in (
        lambda: d.setUnary(dcrf.LogisticUnary(weights, features)),
        lambda: d.setUnary(dcrf.ConstUnary(weights @ features)),
        lambda: d.setUnaryEnergy(weights, features),
        lambda: d.setUnaryEnergy(weights @ features),
    ):
        set_unary()
        results.append(d.inference(0))
    for q in results:
        assert (q == results[0]).all()
    theirs = other[0].DenseCRF(330, 3)
    if hasattr(other[0], "LogisticUnary"):
        theirs.setUnary(other[0].LogisticUnary(weights, features))
    else:
        theirs.setUnaryEnergy(weights @ features)
    np.testing.assert_allclose(results[0], np.array(theirs.inference(0)), atol=1e-5)


def test_impossible_labels() -> None:
    unary = energies(3, 330)
    unary[1, ::2] = np.inf
    unary[0, 5] = np.inf
    far = np.where(np.isinf(unary), np.float32(1e6), unary)
    models = []
    for u in (unary, far):
        d = model()
        d.setUnaryEnergy(u)
        models.append(d)
    q = models[0].inference(5)
    assert (q[np.isinf(unary)] == 0).all()
    np.testing.assert_allclose(q, models[1].inference(5), atol=1e-6)
    Q, tmp1, tmp2 = models[0].startInference()
    models[0].stepInference(Q, tmp1, tmp2)
    np.testing.assert_allclose(Q, models[0].inference(1), atol=1e-6)
    assert models[0].klDivergence(Q) == pytest.approx(models[1].klDivergence(Q))


@pytest.mark.parametrize(("w", "h", "labels"), [(1, 1, 1), (1, 1, 3), (1, 9, 2), (13, 1, 1), (5, 3, 201)])
def test_small_and_odd_sizes(w: int, h: int, labels: int) -> None:
    unary, image = energies(labels, w * h), picture(h, w)
    results = []
    for module in (dcrf.DenseCRF2D, Reference):
        d = module(w, h, labels)
        d.setUnaryEnergy(unary)
        d.addPairwiseGaussian(sxy=2, compat=np.full(labels, -2, dtype=np.float32))
        d.addPairwiseBilateral(sxy=5, srgb=9, rgbim=image, compat=-2 * np.eye(labels, dtype=np.float32))
        results.append(np.array(d.inference(4)))
    assert results[0].shape == (labels, w * h)
    np.testing.assert_allclose(*results, atol=1e-4)


def test_no_iterations_and_no_terms_give_the_softmax() -> None:
    expected = torch.softmax(-torch.from_numpy(energies(3, 330)), 0).numpy()
    np.testing.assert_allclose(model().inference(0), expected, rtol=1e-5)
    d = dcrf.DenseCRF(330, 3)
    d.setUnaryEnergy(energies(3, 330))
    np.testing.assert_allclose(d.inference(np.int64(4)), expected, rtol=1e-5)


def test_a_pickled_model_is_the_same() -> None:
    d = model()
    d.stepInference(*d.startInference())
    again = pickle.loads(pickle.dumps(d))
    assert (again.inference(3) == d.inference(3)).all()
    assert again.klDivergence(d.inference(3)) == d.klDivergence(d.inference(3))


def test_threads(threads: Callable[[int], None]) -> None:
    d = model()
    expected = d.inference(5)
    threads(2)
    assert (d.inference(5) == expected).all()
    with ThreadPoolExecutor(4) as pool:
        for q in pool.map(d.inference, [5] * 8):
            assert (q == expected).all()


def test_terms_that_are_refused_are_not_added() -> None:
    d = model()
    expected = d.inference(3)
    for compat, options in (([1, 2], {}), (3, {"kernel": 9}), (3, {"normalization": -1})):
        with pytest.raises(ValueError, match="expected"):
            d.addPairwiseGaussian(3, compat, **options)
    with pytest.raises(ValueError, match="u: expected"):
        d.setUnaryEnergy(energies(3, 329))
    assert (d.inference(3) == expected).all()


U, IMAGE, FEATURES = energies(3, 330), picture(15, 22), np.zeros((2, 330), dtype=np.float32)


def with_value(array: np.ndarray, value: float) -> np.ndarray:
    array = array.copy()
    array[1, 2] = value
    return array


BAD = [
    (lambda d: dcrf.DenseCRF(0, 2), ValueError, ["nvar", "[1, ", "got 0"]),
    (lambda d: dcrf.DenseCRF(2.0, 2), TypeError, ["nvar", "integer", "2.0"]),
    (lambda d: dcrf.DenseCRF(2, -1), ValueError, ["nlabels", "-1"]),
    (lambda d: dcrf.DenseCRF2D(2, 0, 3), ValueError, ["h:", "0"]),
    (lambda d: dcrf.DenseCRF2D("2", 2, 3), TypeError, ["w:", "integer", "'2'"]),
    (lambda d: d.setUnaryEnergy(None), TypeError, ["u:", "float32", "None"]),
    (lambda d: d.setUnaryEnergy("abc"), TypeError, ["u:", "float32", "'abc'"]),
    (lambda d: d.setUnaryEnergy([[1.0], [1.0, 2.0]]), TypeError, ["u:", "float32", "a list"]),
    (lambda d: d.setUnaryEnergy(U.astype(int)), TypeError, ["u:", "float32", "[3,330] int64"]),
    (lambda d: d.setUnaryEnergy(U.astype(complex)), TypeError, ["u:", "float32", "[3,330] complex128"]),
    (lambda d: d.setUnaryEnergy(U[:2]), ValueError, ["u:", "[3,330]", "[2,330] float32"]),
    (lambda d: d.setUnaryEnergy(U.T), ValueError, ["u:", "[3,330]", "[330,3]"]),
    (lambda d: d.setUnaryEnergy(U.reshape(3, 15, 22)), ValueError, ["u:", "[C,N]", "[3,15,22]"]),
    (lambda d: d.setUnaryEnergy(with_value(U, np.nan)), ValueError, ["u:", "finite", "nan"]),
    (lambda d: d.setUnaryEnergy(with_value(U, -np.inf)), ValueError, ["u:", "finite values or +inf", "-inf"]),
    (lambda d: d.setUnaryEnergy(U, U), ValueError, ["f:", "[330,N]", "features of u", "[3,330]"]),
    (lambda d: d.setUnaryEnergy(with_value(U, np.inf), U.T), ValueError, ["u:", "finite", "inf"]),
    (lambda d: d.setUnary(U), TypeError, ["u:", "ConstUnary", "a ndarray"]),
    (lambda d: d.setUnary(dcrf.ConstUnary(U[:, 1:])), ValueError, ["u:", "[3,330]", "[3,329]"]),
    (lambda d: dcrf.LogisticUnary(U, U), ValueError, ["f:", "features of L", "[3,330]"]),
    (lambda d: d.addPairwiseEnergy(None, 3), TypeError, ["features", "[d,330]", "None"]),
    (lambda d: d.addPairwiseEnergy(FEATURES.T, 3), ValueError, ["features", "[d,330]", "[330,2]"]),
    (lambda d: d.addPairwiseEnergy(FEATURES[:0], 3), ValueError, ["features", "[d,330]", "[0,330]"]),
    (lambda d: d.addPairwiseEnergy(FEATURES[0], 3), ValueError, ["features", "[d,330]", "[330]"]),
    (
        lambda d: d.addPairwiseEnergy(np.zeros((17, 330), np.float32), 3),
        ValueError,
        ["features", "[1, 16]", "[17,330]"],
    ),
    (lambda d: d.addPairwiseEnergy(with_value(FEATURES, np.inf), 3), ValueError, ["features", "inf"]),
    (lambda d: d.addPairwiseGaussian(0, 3), ValueError, ["sxy", "> 0", "0"]),
    (lambda d: d.addPairwiseGaussian((3, -1), 3), ValueError, ["sxy", "2 of them", "(3, -1)"]),
    (lambda d: d.addPairwiseGaussian((1, 2, 3), 3), ValueError, ["sxy", "2 of them", "[3]"]),
    (lambda d: d.addPairwiseGaussian("3", 3), TypeError, ["sxy", "'3'"]),
    (lambda d: d.addPairwiseGaussian(np.nan, 3), ValueError, ["sxy", "nan"]),
    (lambda d: d.addPairwiseGaussian(3, None), TypeError, ["compat", "[3,3]", "None"]),
    (lambda d: d.addPairwiseGaussian(3, [1, 2]), ValueError, ["compat", "[3,3]", "[2]"]),
    (lambda d: d.addPairwiseGaussian(3, np.eye(4)), ValueError, ["compat", "[3,3]", "[4,4]"]),
    (lambda d: d.addPairwiseGaussian(3, np.zeros((3, 3, 3))), ValueError, ["compat", "[3,3,3]"]),
    (lambda d: d.addPairwiseGaussian(3, np.inf), ValueError, ["compat", "finite", "inf"]),
    (lambda d: d.addPairwiseGaussian(3, 3, 7), ValueError, ["kernel", "DIAG_KERNEL", "7"]),
    (
        lambda d: d.addPairwiseGaussian(3, 3, normalization="after"),
        ValueError,
        ["normalization", "NORMALIZE_AFTER", "'after'"],
    ),
    (lambda d: d.addPairwiseBilateral(3, (5, 5), IMAGE, 3), ValueError, ["srgb", "3 of them", "[2]"]),
    (lambda d: d.addPairwiseBilateral(3, 5, None, 3), TypeError, ["rgbim", "uint8", "None"]),
    (
        lambda d: d.addPairwiseBilateral(3, 5, IMAGE.astype(np.float32), 3),
        TypeError,
        ["rgbim", "[15,22,3] uint8", "[15,22,3] float32"],
    ),
    (
        lambda d: d.addPairwiseBilateral(3, 5, IMAGE.transpose(1, 0, 2), 3),
        ValueError,
        ["rgbim", "[15,22,3]", "[22,15,3]"],
    ),
    (
        lambda d: d.addPairwiseBilateral(3, 5, IMAGE[..., :1], 3),
        ValueError,
        ["rgbim", "[15,22,1]", "create_pairwise_bilateral"],
    ),
    (lambda d: d.inference(-1), ValueError, ["niter", "-1"]),
    (lambda d: d.inference(2.5), TypeError, ["niter", "2.5"]),
    (lambda d: d.stepInference([U], None, None), TypeError, ["Q:", "startInference", "a list"]),
    (lambda d: d.stepInference(U.astype(float), None, None), TypeError, ["Q:", "float64"]),
    (lambda d: d.stepInference(U[:, 1:], None, None), ValueError, ["Q:", "[3,330]", "[3,329]"]),
    (lambda d: d.stepInference(with_value(U, np.nan), None, None), ValueError, ["Q:", "finite", "nan"]),
    (lambda d: d.stepInference(np.broadcast_to(U[:1], (3, 330)), None, None), ValueError, ["read-only"]),
    (lambda d: d.klDivergence(U.T), ValueError, ["Q:", "[3,330]", "[330,3]"]),
    (lambda d: d.klDivergence(None), TypeError, ["Q:", "None"]),
    (lambda d: d.klDivergence(with_value(U, np.inf)), ValueError, ["Q:", "finite", "inf"]),
]


@pytest.mark.parametrize(("call", "error", "words"), BAD)
def test_bad_input(call: Callable[[Any], Any], error: type[Exception], words: list[str]) -> None:
    d = dcrf.DenseCRF2D(22, 15, 3)
    with pytest.raises(error) as caught:
        call(d)
    for word in words:
        assert word in str(caught.value)


def test_what_only_inference_can_refuse() -> None:
    impossible = energies(3, 330)
    impossible[:, 7] = np.inf
    d = dcrf.DenseCRF(330, 3)
    d.setUnaryEnergy(impossible)
    for run in (lambda: d.inference(2), d.startInference):
        with pytest.raises(ValueError, match=r"unary.*at least one class.*x 7"):
            run()
    d = dcrf.DenseCRF2D(22, 15, 3)
    d.addPairwiseGaussian(sxy=1e-9, compat=3)
    with pytest.raises(ValueError, match=r"features.*deviations"):
        d.inference(1)

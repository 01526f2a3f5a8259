"""tta_merge against plain torch and against averages written out; its memory; nn.TTA against by hand."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from conftest import close
from devices import autocast, cpu_only, not_on_host, on_device, traced
from torch import Tensor, nn

from wsss_fast import check_values, tta_merge
from wsss_fast.nn import TTA
from wsss_fast.reference.tta import tta_merge as reference

pytestmark = pytest.mark.usefixtures("device")

ACTIVATION = ("softmax", "sigmoid", "none")

# N, C, input sizes, size
SHAPES = [
    (1, 3, [(5, 7)], (11, 6)),
    (2, 2, [(5, 7), (5, 7), (9, 3), (9, 3)], (13, 10)),
    (2, 1, [(4, 6), (8, 3)], (5, 9)),
    (1, 4, [(1, 1), (2, 3)], (1, 1)),
    (2, 2, [(1, 6), (6, 1)], (9, 1)),
    (1, 2, [(8, 8)], (1, 17)),
    (1, 21, [(40, 50), (12, 9)], (8, 7)),  # reduction
    (1, 201, [(12, 17), (6, 8)], (24, 301)),  # several strips in a row
    (1, 5, [(33, 1100)], (33, 1100)),  # no change of size
    (1, 201, [(6, 400), (6, 1600)], (5, 777)),  # strips that end inside a row, and inside a group
    (3, 2, [(5, 40), (7, 33)], (10, 33)),  # few classes: rows go in strips, the last one short
    (2, 3, [(64, 96), (16, 17)], (32, 48)),  # half, and 2.8 times
    (1, 2, [(90, 130), (90, 131)], (41, 57)),  # a third and less: each column has its own samples
    (1, 4, [(9, 1), (2, 31)], (23, 1)),
    (1, 1, [(37, 53), (37, 53)], (50, 71)),
    (0, 3, [(4, 4)], (8, 8)),
]


def random_logits(n: int, c: int, sizes: list[tuple[int, int]], dtype=torch.float32) -> list[Tensor]:
    return [4 * torch.randn(n, c, h, w, dtype=dtype) for h, w in sizes]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("activation", ACTIVATION)
@pytest.mark.parametrize(("n", "c", "sizes", "size"), SHAPES)
def test_matches_reference(n, c, sizes, size, activation, dtype):
    logits = random_logits(n, c, sizes, dtype)
    options: dict[str, Any] = dict(flipped=[i % 2 == 1 for i in range(len(sizes))], activation=activation)
    ours = tta_merge(logits, size, **options)
    expected = reference(logits, size, **options)
    assert ours.shape == (n, c, *size)
    close(ours, expected)
    labels = tta_merge(logits, size, **options, output="labels")
    # Ours are the argmax of our own mean exactly, and the reference's but where it is all but a tie.
    assert torch.equal(labels, ours.argmax(1).to(torch.uint8))
    top = expected.topk(min(2, c), 1).values
    clear = (top[:, 0] - top[:, -1] > 1e-5) | (c == 1)
    assert torch.equal(labels[clear], expected.argmax(1).to(torch.uint8)[clear])


def brute_force(logits: list[Tensor], size, flipped, activation: str) -> Tensor:
    """Pixel by pixel in Python floats, from the definition, for one image: [C,H,W]."""
    mean = torch.zeros(logits[0].shape[0], *size, dtype=torch.float64)
    for z, flip in zip(logits, flipped, strict=True):
        c, h, w = z.shape
        plane = z.tolist()
        for y in range(size[0]):
            for x in range(size[1]):
                sy = min(max((y + 0.5) * h / size[0] - 0.5, 0.0), h - 1.0)
                sx = min(max((x + 0.5) * w / size[1] - 0.5, 0.0), w - 1.0)
                weights: dict[tuple[int, int], float] = {}
                for v in range(h):
                    for u in range(w):
                        weight = max(0.0, 1 - abs(sy - v)) * max(0.0, 1 - abs(sx - u))
                        weights[v, w - 1 - u if flip else u] = weight
                value = [sum(t * plane[k][v][u] for (v, u), t in weights.items()) for k in range(c)]
                if activation == "softmax":
                    exponentials = [math.exp(t) for t in value]
                    value = [e / sum(exponentials) for e in exponentials]
                elif activation == "sigmoid":
                    value = [1 / (1 + math.exp(-t)) for t in value]
                mean[:, y, x] += torch.tensor(value, dtype=torch.float64) / len(logits)
    return mean


@pytest.mark.parametrize("activation", ACTIVATION)
def test_matches_brute_force(activation):
    logits = [torch.randn(3, h, w, dtype=torch.float64) for h, w in [(3, 5), (3, 5), (6, 2), (9, 11)]]
    flipped = [False, True, True, False]
    ours = tta_merge(logits, (6, 7), flipped=flipped, activation=activation)
    close(ours, brute_force(logits, (6, 7), flipped, activation))


@pytest.mark.parametrize("classes", [1, 2, 7, 21])
@pytest.mark.parametrize("width", [1, 2, 3, 7, 8, 15, 16, 17, 31, 33, 50, 64, 65])
def test_any_width_with_any_other(width, classes):
    """Widths beside and between the vector lengths, each resampled from each, turned round and not."""
    for source in (1, 2, 5, 16, 17, 33, 64, 100, 130):
        logits = random_logits(1, classes, [(3, source), (3, source)])
        options: dict[str, Any] = dict(flipped=[False, True])
        close(tta_merge(logits, (4, width), **options), reference(logits, (4, width), **options))


def test_unbatched_is_batched_with_one():
    logits = [torch.randn(4, 5, 6), torch.randn(4, 8, 3)]
    batched = [z.unsqueeze(0) for z in logits]
    for output in ("mean", "labels"):
        single = tta_merge(logits, (9, 9), flipped=[False, True], output=output)
        assert torch.equal(single, tta_merge(batched, (9, 9), flipped=[False, True], output=output)[0])


def test_non_contiguous_input():
    logits = [torch.randn(2, 6, 5, 3).permute(0, 3, 2, 1), torch.randn(4, 6, 8, 9)[::2, ::2]]
    assert not any(z.is_contiguous() for z in logits)
    plain = [z.contiguous() for z in logits]
    flipped = [True, False]
    assert torch.equal(tta_merge(logits, (9, 7), flipped=flipped), tta_merge(plain, (9, 7), flipped=flipped))


def test_flip_round_trip():
    """A mirrored prediction, turned back, adds nothing new: to the bit."""
    z = 4 * torch.randn(1, 5, 14, 36)
    for size in [(20, 61), (14, 36), (7, 18), (5, 9)]:
        for activation in ACTIVATION:
            alone = tta_merge([z], size, flipped=[False], activation=activation)
            both = tta_merge([z, z.flip(-1)], size, flipped=[False, True], activation=activation)
            assert torch.equal(alone, both)


def test_probabilities_sum_to_one():
    mean = tta_merge(random_logits(2, 21, [(5, 7), (9, 3)]), (13, 10), flipped=[False, True])
    close(mean.sum(1), torch.ones(2, 13, 10))


def test_permuting_classes_permutes_the_result():
    logits = random_logits(1, 9, [(5, 6), (9, 11)], torch.float64)
    order = torch.randperm(9)
    whole = tta_merge(logits, (12, 13), flipped=[True, False])
    close(tta_merge([z[:, order] for z in logits], (12, 13), flipped=[True, False]), whole[:, order])


def test_extreme_logits_stay_exact():
    z = torch.tensor([1e4, -1e4, 0.0, 1e30, -1e30]).view(1, 5, 1, 1)
    close(tta_merge([z], (2, 2), flipped=[False]), reference([z], (2, 2), flipped=[False]))
    sigmoid = dict(flipped=[False], activation="sigmoid")
    close(tta_merge([z], (2, 2), **sigmoid), reference([z], (2, 2), **sigmoid))


def test_exponential_is_accurate():
    """Relative error of single-precision probabilities over the whole range of the exponential."""
    gap = torch.linspace(0, 86, 4096)
    z = torch.stack([torch.zeros_like(gap), -gap]).view(1, 2, 1, -1)
    ours = tta_merge([z], (1, 4096), flipped=[False])[0, 1, 0].double()
    expected = z.double().softmax(1)[0, 1, 0]
    # Those of a GPU are off by 2^-23 for each unit of the exponent.
    assert ((ours - expected).abs() / expected).max() < (1e-5 if ours.is_cuda else 5e-7)


@pytest.mark.parametrize("classes", [5, 30, 203])
@pytest.mark.parametrize("activation", ACTIVATION)
def test_ties_give_the_lowest_class(activation, classes):
    """Classes whose exponentials are calculated together, and those left over, tie exactly."""
    z = torch.randn(1, 1, 6, 50).repeat(1, classes, 1, 1)
    z[:, :3] -= 1
    labels = tta_merge(
        [z, z.flip(-1)], (13, 77), flipped=[False, True], activation=activation, output="labels"
    )
    assert labels.eq(3).all()


@pytest.mark.parametrize(
    ("classes", "dtype"),
    [(256, torch.uint8), (257, torch.int16), (32768, torch.int16), (32769, torch.int32)],
)
def test_label_dtype_is_the_smallest_that_holds_the_classes(classes, dtype):
    z = torch.zeros(1, classes, 1, 2)
    z[0, classes - 1, 0, 1] = 1
    labels = tta_merge([z], (1, 2), flipped=[False], output="labels")
    assert labels.dtype == dtype
    assert labels.tolist() == [[[0, classes - 1]]]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("activation", ACTIVATION)
# (2, 2) and (3, 4) leave most input pixels unused, (3, 4) some that are named with a weight of 0.
@pytest.mark.parametrize("size", [(40, 40), (9, 11), (2, 2), (3, 4)])
@pytest.mark.parametrize("output", ["mean", "labels"])
def test_values_that_are_not_finite(value, activation, size, output):
    for row in (4, 5):
        logits = random_logits(2, 3, [(5, 6), (9, 11)])
        logits[1][1, 2, row, 3] = value
        with (
            check_values(True),
            pytest.raises(ValueError, match=rf"logits\[1\]: expected finite .*\[1, 2, {row}, 3\]"),
        ):
            tta_merge(logits, size, flipped=[True, False], activation=activation, output=output)


def test_values_whose_sum_could_overflow():
    z = torch.full((1, 2, 4, 4), 3e38)
    with (
        check_values(True),
        pytest.raises(ValueError, match=r"logits\[0\]: expected values small enough .* got 3e\+38"),
    ):
        tta_merge([z, z], (8, 8), flipped=[False, False], activation="none")
    # At the limit itself, blends may round across it: the call raises or gives finite values.
    limit = torch.finfo(torch.float32).max / 3
    for factor in (1 - 1e-6, 1 - 3e-7, 1 - 1e-7, 1.0):
        z = torch.full((1, 2, 4, 4), limit * factor)
        try:
            with check_values(True):
                mean = tta_merge([z, z], (7, 9), flipped=[False, True], activation="none")
            assert torch.isfinite(mean).all()
        except ValueError as error:
            assert "small enough" in str(error)  # noqa: PT017  either outcome is right here


@pytest.mark.parametrize("classes", [1, 2, 21, pytest.param(201, marks=not_on_host)])
@pytest.mark.parametrize("output", ["mean", "labels"])
def test_threads_and_runs_agree_to_the_bit(threads, output, classes):
    logits = random_logits(2, classes, [(24, 32), (24, 32), (47, 63)])
    results = []
    for n in (1, 2, 4, 4):
        threads(n)
        results.append(tta_merge(logits, (45, 700), flipped=[False, True, False], output=output))
    assert all(torch.equal(results[0], r) for r in results[1:])


MEMORY = """
import ctypes, torch, wsss_fast
from wsss_fast.reference.tta import tta_merge as reference

def status(key):
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))

def growth(call):
    '''Peak of the resident memory during the call, above what is resident before it.'''
    try:
        ctypes.CDLL(None).malloc_trim(0)  # free memory that is still resident would hide growth
    except AttributeError:
        pass  # not glibc
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the peak is now what is resident now
    before = status("VmRSS")
    result = call()
    return status("VmHWM") - before, result

torch.set_num_threads(2)
logits = [torch.randn(1, 201, n, n) for n in (64, 128, 256) for _ in range(2)]
flipped = [False, True] * 3
tiny = [z[..., :4, :4] for z in logits]
wsss_fast.tta_merge(tiny, (8, 8), flipped=flipped, output="labels")  # threads, lazy imports
reference(tiny, (8, 8), flipped=flipped, output="labels")
ours, labels = growth(lambda: wsss_fast.tta_merge(logits, (512, 512), flipped=flipped, output="labels"))
few = [z[:, :21] for z in logits]
theirs, _ = growth(lambda: reference(few, (512, 512), flipped=flipped, output="labels"))
assert labels.shape == (1, 512, 512) and labels.dtype == torch.uint8
print(ours, theirs)
"""


@cpu_only(reason="about the CPU's memory")
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc/self/clear_refs")
def test_labels_need_next_to_no_memory():
    """201 classes at 512 x 512 are 211 MB as floats; labels must not pass through them."""
    run = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    ours, theirs = map(int, run.stdout.split())
    # That the meter works: plain torch holds a stack of six [1,21,512,512] predictions.
    assert theirs > 6 * 21 * 512 * 512 * 4
    assert ours < 3_000_000, f"peak resident memory grew by {ours / 1e6:.1f} MB"


# ---- torch.library ------------------------------------------------------------------------------------


@traced
@pytest.mark.parametrize("output", ["mean", "labels"])
def test_opcheck(output):
    logits = random_logits(2, 3, [(4, 5), (7, 6)])
    torch.library.opcheck(torch.ops.wsss_fast.tta_merge, (logits, [8, 9], [False, True], "softmax", output))


@traced
@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("output", ["mean", "labels"])
def test_compile_fullgraph(output, dynamic):
    def call(logits):
        return tta_merge(logits, (8, 9), flipped=[False, True], output=output)

    logits = random_logits(2, 3, [(4, 5), (7, 6)])
    assert torch.equal(torch.compile(call, fullgraph=True, dynamic=dynamic)(logits), call(logits))


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_autocast_computes_in_float32(half):
    logits = [torch.randn(1, 2, 5, 6).to(half)]
    with autocast():
        result = tta_merge(logits, (9, 9), flipped=[True])
    assert result.dtype == torch.float32
    assert torch.equal(result, tta_merge([z.float() for z in logits], (9, 9), flipped=[True]))


def test_gradients_are_refused_not_lost():
    z = torch.randn(2, 5, 6, requires_grad=True)
    with pytest.raises(ValueError, match=r"logits\[0\]: expected a tensor that does not require grad"):
        tta_merge([z], (9, 9), flipped=[False])
    with torch.no_grad():
        result = tta_merge([z], (9, 9), flipped=[False])
    assert not result.requires_grad
    assert torch.equal(result, tta_merge([z.detach()], (9, 9), flipped=[False]))


# ---- bad input ----------------------------------------------------------------------------------------

Z = torch.zeros(2, 3, 4, 5)
BAD: list[tuple[dict[str, Any], type[Exception], list[str]]] = [
    (dict(logits=Z), TypeError, ["logits: expected a list of tensors", "got [2,3,4,5] float32"]),
    (dict(logits=()), ValueError, ["logits: expected a list of at least one", "an empty list"]),
    (dict(logits=[None]), TypeError, ["logits[0]: expected a tensor [N,C,h,w] or [C,h,w]", "NoneType"]),
    (dict(logits=[Z[0, 0]]), ValueError, ["logits[0]", "[N,C,h,w] or [C,h,w]", "got [4,5] float32"]),
    (dict(logits=[Z[:, :0]]), ValueError, ["logits[0]: expected at least one class", "got [2,0,4,5]"]),
    (dict(logits=[Z[..., :0, :]]), ValueError, ["logits[0]", "at least 1 x 1", "got [2,3,0,5]"]),
    (dict(logits=[Z, Z[:, :2]]), ValueError, ["logits[1]: expected [2,3,h,w]", "got [2,2,4,5]"]),
    (dict(logits=[Z, Z.double()]), TypeError, ["logits[1]: expected float32", "got float64"]),
    (dict(logits=[Z.to("meta")]), ValueError, ["logits[0]: expected a CPU", "on meta"]),
    (dict(size=(0, 7)), ValueError, ["size[0]: expected an integer in [1, 2147483647]", "got 0"]),
    (dict(size=[7, 8, 9]), ValueError, ["size: expected (H, W)", "3 values"]),
    (dict(size=None), TypeError, ["size: expected (H, W)", "got None"]),
    (dict(flipped=False), TypeError, ["flipped: expected a list of 1 booleans", "got False"]),
    (dict(flipped=[]), ValueError, ["flipped: expected a list of 1", "0 values"]),
    (dict(flipped=["no"]), TypeError, ["flipped[0]: expected True or False", "got no"]),
    (dict(activation="relu"), ValueError, ["activation: expected one of", "got 'relu'"]),
    (dict(activation=None), TypeError, ["activation: expected one of", "got None"]),
    (dict(output="argmax"), ValueError, ["output: expected one of", "got 'argmax'"]),
]


@pytest.mark.parametrize(("change", "kind", "parts"), BAD, ids=[str(list(b[0])) + b[2][-1] for b in BAD])
def test_bad_input(change, kind, parts):
    arguments = on_device({"logits": [Z], "size": (7, 8), "flipped": [False], **change})
    with pytest.raises(kind) as error:
        tta_merge(arguments.pop("logits"), arguments.pop("size"), **arguments)
    assert type(error.value) is kind
    for part in parts:
        assert part in str(error.value)


@cpu_only(reason="CUDA kernels read it")
def test_half_precision_is_for_cuda():
    expected = r"logits\[0\]: expected .* float32 or float64, got \[2,3,4,5\] bfloat16"
    with pytest.raises(TypeError, match=expected):
        tta_merge([Z.bfloat16()], (7, 8), flipped=[False])


# ---- nn.TTA -------------------------------------------------------------------------------------------


class Network(nn.Module):
    """Logits of five classes at a stride of four; remembers what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 5, 3, 2, 1))
        self.seen: list[tuple[int, ...]] = []

    def forward(self, image: Tensor, gain: float = 1.0) -> Tensor:
        self.seen.append(tuple(image.shape))
        return gain * self.layers(image)


def by_hand(model: nn.Module, image: Tensor, sizes: list[tuple[int, int]], activation: str) -> Tensor:
    predictions = []
    with torch.no_grad():
        for size in sizes:
            scaled = F.interpolate(image, size, mode="bilinear", align_corners=False)
            for flip in (False, True):
                z = model(scaled.flip(-1)).flip(-1) if flip else model(scaled)
                z = z.float() if z.dtype in (torch.float16, torch.bfloat16) else z
                z = F.interpolate(z, image.shape[-2:], mode="bilinear", align_corners=False)
                predictions.append({"softmax": z.softmax(1), "sigmoid": z.sigmoid(), "none": z}[activation])
    return sum(predictions) / len(predictions)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("activation", ACTIVATION)
def test_module_is_the_average_by_hand(activation, dtype):
    model = Network().to(dtype).eval()
    image = torch.rand(2, 3, 40, 60, dtype=dtype)
    ours = TTA(model, activation=activation)(image)
    assert model.seen == [(2, 3, h, w) for h, w in [(20, 30), (40, 60), (80, 120)] for _ in range(2)]
    expected = by_hand(model, image, [(20, 30), (40, 60), (80, 120)], activation)
    assert ours.dtype == dtype
    assert not ours.requires_grad
    close(ours, expected)
    labels = TTA(model, activation=activation, output="labels")(image)
    assert torch.equal(labels, ours.argmax(1).to(torch.uint8))


def test_module_rounds_sizes_to_the_stride():
    model = Network().eval()
    TTA(model, (0.1, 0.5, 1.0), hflip=False, stride=16)(torch.rand(1, 3, 40, 63))
    # 4 and 6.3 -> at least one stride; 20 and 31.5 -> nearest; 40 (halves up) and 63 -> nearest
    assert model.seen == [(1, 3, 16, 16), (1, 3, 16, 32), (1, 3, 48, 64)]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_module_keeps_half_precision_and_merges_in_float32(dtype):
    model = Network().to(dtype).eval()
    image = torch.rand(1, 3, 32, 48, dtype=dtype)
    result = TTA(model)(image)
    assert result.dtype == dtype
    expected = by_hand(model, image, [(16, 24), (32, 48), (64, 96)], "softmax")
    # The logits are the same numbers; what remains is one rounding of the mean.
    assert (result.float() - expected).abs().max() <= 2**-9


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_module_under_autocast_gives_float32(dtype):
    model = Network().eval()
    image = torch.rand(1, 3, 32, 48)
    with torch.autocast(torch.get_default_device().type, dtype=dtype):
        result = TTA(model)(image)
    assert result.dtype == torch.float32
    expected = by_hand(model, image, [(16, 24), (32, 48), (64, 96)], "softmax")
    assert (result - expected).abs().max() < 0.02


class Keyed(nn.Module):
    def __init__(self, key: str) -> None:
        super().__init__()
        self.key = key

    def forward(self, pixel_values: Tensor, gain: float, *, shift: float) -> dict[str, Tensor]:
        return {"aux": pixel_values, self.key: gain * pixel_values + shift}


@pytest.mark.parametrize("key", ["out", "logits"])
def test_module_takes_mappings_and_passes_arguments_on(key):
    image = torch.rand(1, 3, 8, 8)
    tta = TTA(Keyed(key), (1,), activation="none")
    close(tta(image, 3.0, shift=2.0), 3 * image + 2)
    close(tta(pixel_values=image, gain=3.0, shift=2.0), 3 * image + 2)
    with pytest.raises(
        TypeError, match=r"image: expected a tensor .* as the first argument, got no argument"
    ):
        tta()


def test_module_merges_what_the_network_says_of_rounded_sizes():
    model = Network().eval()
    image = torch.rand(2, 3, 41, 63)
    sizes = [(16, 32), (48, 64), (80, 128)]  # of (20.5, 31.5), (41, 63), (82, 126)
    close(TTA(model, stride=16)(image), by_hand(model, image, sizes, "softmax"))


@pytest.mark.parametrize(
    "wrap", [nn.DataParallel, pytest.param(lambda m: torch.compile(m, backend="eager"), marks=traced)]
)
def test_module_around_a_wrapped_network(wrap):
    model = Network().eval()
    image = torch.rand(2, 3, 20, 28)
    assert torch.equal(TTA(wrap(model))(image), TTA(model)(image))


@traced
@pytest.mark.filterwarnings("ignore:.*is_autocast_enabled")
def test_module_inside_compile():
    model = nn.Conv2d(3, 5, 3, stride=4, padding=1).eval()
    compiled = torch.compile(TTA(model), backend="eager", fullgraph=True, dynamic=True)
    for size in ((33, 50), (40, 41)):
        image = torch.rand(2, 3, *size)
        close(compiled(image), TTA(model)(image))


def test_module_works_in_inference_mode():
    model = Network().eval()
    image = torch.rand(1, 3, 20, 28)
    expected = TTA(model)(image)
    with torch.inference_mode():
        assert torch.equal(TTA(model)(image), expected)


def test_module_does_not_touch_the_network():
    model = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 1)).eval()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    tta = TTA(model)
    tta(torch.rand(2, 3, 8, 8))
    assert not model.training
    assert not tta.training
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert all(p.requires_grad for p in model.parameters())


def test_module_leaves_the_mode_alone():
    """In training mode the network runs as it does alone: with the statistics of the batch, kept."""
    model = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 1)).train()
    model[1].eval()
    image = torch.rand(2, 3, 8, 8)
    result = TTA(model, (1,), hflip=False)(image)
    assert model.training
    assert model[0].training
    assert not model[1].training
    assert model[0].num_batches_tracked == 1
    close(result, model(image).softmax(1))


def test_module_bears_a_network_that_writes_into_its_input():
    class Shifts(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            return image.sub_(0.5) * 3

    image = torch.rand(1, 3, 10, 14)
    before = image.clone()
    result = TTA(Shifts(), (1, 2, 1))(image)
    assert torch.equal(image, before)
    close(result, TTA(nn.Identity(), (1, 2, 1))(3 * (image - 0.5)))


class Answers(nn.Module):
    def __init__(self, answer: Any) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, image: Tensor) -> Any:
        return self.answer


BAD_MODULE: list[tuple[Any, type[Exception], list[str]]] = [
    (lambda: TTA(lambda x: x), TypeError, ["model: expected a torch.nn.Module", "function"]),
    (lambda: TTA(Network(), 2), TypeError, ["scales: expected a list", "got 2"]),
    (lambda: TTA(Network(), []), ValueError, ["scales: expected at least one", "an empty list"]),
    (lambda: TTA(Network(), (1, 0)), ValueError, ["scales[1]: expected a finite number > 0", "got 0"]),
    (lambda: TTA(Network(), (math.nan,)), ValueError, ["scales[0]", "got nan"]),
    (lambda: TTA(Network(), hflip=1), TypeError, ["hflip: expected True or False", "got 1"]),
    (lambda: TTA(Network(), stride=0), ValueError, ["stride: expected an integer in [1,", "got 0"]),
    (lambda: TTA(Network(), activation="tanh"), ValueError, ["activation: expected one of", "'tanh'"]),
    (lambda: TTA(Network(), output="map"), ValueError, ["output: expected one of", "'map'"]),
    (lambda: TTA(Network())([1]), TypeError, ["image: expected a tensor [N,3,H,W]", "got a list"]),
    (lambda: TTA(Network())(torch.rand(3, 8, 8)), ValueError, ["image: expected [N,3,H,W]", "[3,8,8]"]),
    (lambda: TTA(Network())(torch.ones(1, 3, 8, 8).byte()), TypeError, ["image", "floating", "uint8"]),
    (lambda: TTA(Answers({"a": 1}))(checked()), TypeError, ["model's answer", "a mapping with ['a']"]),
    (lambda: TTA(Answers((checked(),)))(checked()), TypeError, ["model's answer", "a tuple"]),
    (lambda: TTA(Answers(checked()[0]))(checked()), ValueError, ["model's answer", "got [3,8,8] float32"]),
    (lambda: TTA(Answers(checked() / 0))(checked()), ValueError, ["logits[0]: expected finite values"]),
]


def checked() -> Tensor:
    return torch.rand(1, 3, 8, 8)


@pytest.mark.parametrize(("act", "kind", "parts"), BAD_MODULE, ids=[b[2][0] + b[2][-1] for b in BAD_MODULE])
def test_bad_use_of_the_module(act, kind, parts):
    with check_values(True), pytest.raises(kind) as error:
        act()
    for part in parts:
        assert part in str(error.value)

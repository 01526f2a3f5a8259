"""What running CUDA kernels on the host notices: it tells right kernels from those wrong in a known way.

The kernels are those of ``csrc/testing/shim_kernels.cu``.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from wsss_fast import _C
from wsss_fast._info import cuda_kernels

if cuda_kernels() != "host":
    pytest.skip("needs a build with WSSS_FAST_CUDA=HOST", allow_module_level=True)

shim = _C.shim

# The n-th launch is shuffled by the seed + n.
ORDERS = [("forward", 0), ("reversed", 0), ("shuffled", 0), ("shuffled", 1)]
COUNT = 256  # blocks have 64 threads


@pytest.fixture(autouse=True)
def _in_turn() -> Iterator[None]:
    yield
    shim.set_order("in turn", 0)


@pytest.fixture(params=ORDERS, ids=lambda order: f"{order[0]}-{order[1]}")
def order(request: pytest.FixtureRequest) -> None:
    shim.set_order(*request.param)


def numbers(count: int = COUNT) -> Tensor:
    return torch.randint(-1000, 1000, (count,), dtype=torch.int32)


def unset(*shape: int, dtype: torch.dtype = torch.int32) -> Tensor:
    return torch.full(shape, -1, dtype=dtype)


def reverse(values: Tensor, *, barrier: bool) -> Tensor:
    out = unset(COUNT)
    shim.reverse(values.data_ptr(), out.data_ptr(), COUNT, barrier)
    return out


def tree_sum(values: Tensor, *, barrier: bool) -> Tensor:
    out = unset(COUNT // 64)
    shim.tree_sum(values.data_ptr(), out.data_ptr(), COUNT, barrier)
    return out


def grid_sum(values: Tensor, *, barrier: bool) -> Tensor:
    between, out = unset(COUNT), unset(COUNT)
    shim.grid_sum(values.data_ptr(), between.data_ptr(), out.data_ptr(), COUNT, barrier)
    return out


def cluster_sum(values: Tensor, *, barrier: bool) -> Tensor:
    between, out = unset(COUNT), unset(COUNT)
    shim.cluster_sum(values.data_ptr(), between.data_ptr(), out.data_ptr(), COUNT, 2, barrier)
    return out


def right_reverse(values: Tensor) -> Tensor:
    return values.view(-1, 64).flip(1).reshape(-1)


def right_tree_sum(values: Tensor) -> Tensor:
    return values.view(-1, 64).sum(1, dtype=torch.int32)


def right_grid_sum(values: Tensor) -> Tensor:
    return values.view(-1, 64).sum(0, dtype=torch.int32).repeat(COUNT // 64)


def right_cluster_sum(values: Tensor) -> Tensor:
    return values.view(-1, 2, 64).sum(1, dtype=torch.int32).repeat_interleave(2, 0).reshape(-1)


WITH_BARRIERS = [
    pytest.param(reverse, right_reverse, id="reverse"),
    pytest.param(tree_sum, right_tree_sum, id="tree-sum"),
    pytest.param(grid_sum, right_grid_sum, id="grid"),
    pytest.param(cluster_sum, right_cluster_sum, id="cluster"),
]


@pytest.mark.usefixtures("order")
@pytest.mark.parametrize(("kernel", "right"), WITH_BARRIERS)
def test_kernels_with_barriers_are_right_in_every_order(kernel, right) -> None:
    values = numbers()
    torch.testing.assert_close(kernel(values, barrier=True), right(values), rtol=0, atol=0)


@pytest.mark.parametrize(("kernel", "right"), WITH_BARRIERS)
def test_a_missing_barrier_is_wrong_in_some_order(kernel, right) -> None:
    values = numbers()
    wrong = []
    for order in ORDERS:
        shim.set_order(*order)
        wrong.append(not torch.equal(kernel(values, barrier=False), right(values)))
    assert any(wrong)


def test_launches_take_the_orders_in_turn() -> None:
    # Without its barrier this kernel is right where the last threads come first, and only there.
    values = numbers()
    shim.set_order("in turn", 0)
    right = [torch.equal(tree_sum(values, barrier=False), right_tree_sum(values)) for _ in range(6)]
    assert right == [False, True, False, False, True, False]


@pytest.mark.usefixtures("order")
def test_shuffles() -> None:
    values = torch.rand(COUNT)
    out = torch.empty(4, COUNT)
    shim.shuffles(values.data_ptr(), out.data_ptr(), COUNT)
    warps = values.view(-1, 32)
    sums = warps.double().sum(1).float().repeat_interleave(32)
    torch.testing.assert_close(out[0], sums)
    torch.testing.assert_close(out[1], sums)
    groups = values.view(-1, 8)
    torch.testing.assert_close(out[2], groups.cumsum(1).reshape(-1))
    assert torch.equal(out[3], groups[:, 3].repeat_interleave(8))


@pytest.mark.usefixtures("order")
def test_votes() -> None:
    values = numbers(96)
    values[32:64] = values[32:64].abs() + 1
    values[64:96] = -values[64:96].abs()
    values = torch.cat([values, values[:32]])  # whole blocks
    ballots, some, every = (unset(128) for _ in range(3))
    shim.votes(values.data_ptr(), ballots.data_ptr(), some.data_ptr(), every.data_ptr(), 128)
    warps = values.view(-1, 32) > 0
    expected = (warps.long() << torch.arange(32)).sum(1).repeat_interleave(32)
    assert torch.equal(ballots.long() & 0xFFFFFFFF, expected)
    assert torch.equal(some.bool(), warps.any(1).repeat_interleave(32))
    assert torch.equal(every.bool(), warps.all(1).repeat_interleave(32))
    assert every.any()
    assert not some.all()


@pytest.mark.usefixtures("order")
def test_atomics() -> None:
    count = 200  # part of a block has nothing to do
    values = numbers(count)
    out = torch.tensor([0, 2**31 - 1, -(2**31), 0, -1, 0, 0, -1, 0], dtype=torch.int32)
    shim.atomics(values.data_ptr(), out.data_ptr(), count)
    assert out[0] == values.sum()
    assert out[1] == values.min()
    assert out[2] == values.max()
    any_bit, every_bit = 0, -1
    for value in values.tolist():
        any_bit |= value
        every_bit &= value
    assert out[3] == any_bit
    assert out[4] == every_bit
    assert out[5] == 1  # one thread found the place free
    assert out[7] in values
    assert out[6] + out[8] == values.sum()


def test_what_a_kernel_leaves_unwritten_is_seen() -> None:
    out = torch.zeros(COUNT, dtype=torch.int32)
    shim.write(out.data_ptr(), COUNT, COUNT - 1)
    assert torch.equal(out[:-1], torch.arange(COUNT - 1, dtype=torch.int32))
    assert out[-1] == -1
    assert out.view(torch.float32)[-1].isnan()


def run_alone(code: str) -> str:
    """What a process prints that AddressSanitizer ends."""
    code = f"import torch\nfrom wsss_fast import _C\nshim = _C.shim\n{code}\nprint('went on')"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode != 0
    assert "went on" not in result.stdout
    return result.stderr


def test_a_write_past_a_tensor_is_stopped() -> None:
    report = run_alone("out = torch.zeros(256, dtype=torch.int32)\nshim.write(out.data_ptr(), 256, 257)")
    assert "AddressSanitizer: heap-buffer-overflow" in report
    assert "shim_kernels.cu" in report  # the stack goes to the kernel's line


CARVE = """
block = torch.zeros(shim.carve_bytes(256), dtype=torch.uint8)
shim.write_carved(block.data_ptr(), 256, 256)
shim.write_carved(block.data_ptr(), 250, 250)
shim.write_carved(block.data_ptr(), 256, 256)  # what was a gap is an array again
print(block.view(torch.int32)[:256].sum().item(), flush=True)
"""


def test_a_write_past_one_of_several_arrays_in_a_block_is_stopped() -> None:
    report = run_alone(CARVE + "shim.write_carved(block.data_ptr(), 256, 257)")
    assert "AddressSanitizer: use-after-poison" in report
    assert "shim_kernels.cu" in report


def test_a_block_can_be_cut_again() -> None:
    code = f"import torch\nfrom wsss_fast import _C\nshim = _C.shim\n{CARVE}"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == str(255 * 128)


def test_a_write_past_shared_memory_is_stopped() -> None:
    report = run_alone("out = torch.zeros(1, dtype=torch.int32)\nshim.write_past_shared(out.data_ptr())")
    assert "AddressSanitizer: heap-buffer-overflow" in report


def test_a_kernel_that_overflows_its_stack_is_stopped() -> None:
    report = run_alone("out = torch.zeros(1, dtype=torch.int32)\nshim.overflow_stack(out.data_ptr())")
    assert "AddressSanitizer" in report


@pytest.mark.usefixtures("order")
@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("return_before_barrier", r"returned, but others wait|another that it waits for has returned"),
        ("return_before_lanes", r"returned, but thread \d+ .* waits for it|has returned"),
        ("barrier_and_lanes", r"came to .*, but thread \d+ of block 0 waits for it at __sync"),
        ("barrier_and_grid", r"came to .*, but others wait for it at another barrier"),
        ("masks", r"__syncwarp\(mask 0x0000ffff\).* __syncwarp\(mask 0xffffffff\)|0xffffffff.*0x0000ffff"),
        ("kinds", r"__shfl_sync.*__any_sync|__any_sync.*__shfl_sync"),
        ("not_in_mask", r"came to __syncwarp\(mask 0xfffffffe\) without its own bit"),
        ("beyond_block", r"names lanes that the block does not have"),
        ("circle", r"nobody can go on"),
        ("grid_not_together", r"came to grid_barrier, for which the launch's Shape"),
    ],
)
def test_threads_that_do_not_meet_are_an_error(how: str, message: str) -> None:
    out = unset(1)
    with pytest.raises(RuntimeError, match=message):
        shim.diverge(getattr(shim.Divergence, how), out.data_ptr())
    # And what comes after an error is right.
    values = numbers()
    assert torch.equal(reverse(values, barrier=True), right_reverse(values))


@pytest.mark.parametrize("bits", [64, 5])
def test_the_sort_is_right_and_stable(bits: int) -> None:
    count = 1000
    keys = torch.randint(0, 100, (count,)) | torch.randint(0, 2, (count,)) << 62
    other_keys, other_numbers = unset(count, dtype=torch.int64), unset(count)
    numbers = torch.arange(count, dtype=torch.int32)
    mask = -1 if bits == 64 else 2**bits - 1
    expected, order = torch.sort(keys & mask, stable=True)
    scratch = torch.zeros(shim.sort_scratch_bytes(count, bits), dtype=torch.uint8)
    arrays = [array.data_ptr() for array in (keys, other_keys, numbers, other_numbers)]
    in_other = shim.sort(*arrays, count, bits, scratch.data_ptr(), scratch.numel())
    sorted_keys, sorted_numbers = (other_keys, other_numbers) if in_other else (keys, numbers)
    assert torch.equal(sorted_keys & mask, expected)
    assert torch.equal(sorted_numbers.long(), order)


def test_the_running_sum_is_right() -> None:
    values = numbers(1000)
    expected = values.cumsum(0, dtype=torch.int32)
    scratch = torch.zeros(shim.sum_scratch_bytes(1000), dtype=torch.uint8)
    shim.running_sum(values.data_ptr(), 1000, scratch.data_ptr(), scratch.numel())
    assert torch.equal(values, expected)

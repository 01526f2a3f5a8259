"""Every op from many threads and many kinds of processes: no hang, no crash, and the same bits each time."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

import pytest
import torch
from hard_use.every_op import CASES
from hard_use.fresh_process import FORKS, check_script, run_script
from torch.utils.data import DataLoader, Dataset

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
needs_proc = pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="counts threads in /proc")

# What computes with torch too. Torch's own threads (OpenMP) hang in a forked child of a process that has used
# them, unless it sets their number to 1, as a DataLoader's worker does.
WITH_TORCH = {
    "crf_log_probs",
    "crf_gradient",
    "unaries",
    "pydensecrf",
    "dense_crf_layer",
    "dense_crf_loss",
    "affinity_displacement_loss",
    "tta_layer",
}


def answers(names: Sequence[str] = tuple(CASES)) -> dict[str, str]:
    return {name: sha256(CASES[name]()).hexdigest() for name in names}


@pytest.fixture(scope="module")
def expected() -> dict[str, str]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    result = answers()
    torch.set_num_threads(before)
    return result


@pytest.mark.parametrize("count", [1, 2, 16])
def test_eight_threads_call_the_same_op_at_once(threads, expected, count):
    threads(count)
    assert answers() == expected
    together = threading.Barrier(8)

    def run(_: int) -> dict[str, str]:
        found = {}
        for name in CASES:
            together.wait(60)
            found.update(answers([name]))
        return found

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(run, range(8))) == [expected] * 8


@pytest.mark.parametrize("count", [1, 2, 16])
def test_eight_threads_call_different_ops_at_once(threads, expected, count):
    threads(count)
    names = list(CASES)

    def run(thread: int) -> dict[str, str]:
        first = thread * len(names) // 8
        return answers(names[first:] + names[:first])

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(run, range(8))) == [expected] * 8


class EveryOp(Dataset[str]):
    def __len__(self) -> int:
        return len(CASES)

    def __getitem__(self, index: int) -> str:
        return list(CASES)[index]


class Collate:
    """Ops where batches are put together: in the workers, or in the process that iterates."""

    def __call__(self, names: list[str]) -> dict[str, str]:
        return answers(names)


def through_a_loader(workers: int, method: str | None) -> dict[str, str]:
    loader = DataLoader(
        EveryOp(),
        batch_size=4,
        num_workers=workers,
        collate_fn=Collate(),
        multiprocessing_context=method,
        timeout=100 if workers else 0,
    )
    return {name: answer for batch in loader for name, answer in batch.items()}


@pytest.mark.parametrize("method", [None, "fork", "forkserver", "spawn"])
def test_in_collate_of_a_data_loader(threads, expected, method):
    """Started after use in the parent, at four threads."""
    if method == "fork" and not hasattr(os, "fork"):
        pytest.skip("needs os.fork")
    threads(4)
    assert answers() == expected
    assert through_a_loader(0 if method is None else 2, method) == expected


# What every script below starts with.
SCRIPT = """
import os, signal, sys, threading, time, torch
from hard_use.every_op import CASES
from hard_use.test_threads_of_every_op import WITH_TORCH, answers
"""

FORK = (
    SCRIPT
    + """
torch.set_num_threads(4)
expected = answers()

def right():
    native = [name for name in CASES if name not in WITH_TORCH]
    ok = answers(native) == {name: expected[name] for name in native}
    torch.set_num_threads(1)
    ok &= answers() == expected
    torch.set_num_threads(4)
    return ok
"""
    + FORKS
)


@needs_fork
def test_forked_children_and_grandchildren():
    check_script(
        FORK
        + """
waits = [fork(depth=1) for _ in range(2)]
assert answers() == expected  # in the parent meanwhile
assert [wait() for wait in waits] == [0, 0]
assert answers() == expected
"""
    )


@needs_fork
def test_fork_while_other_threads_are_inside_calls():
    check_script(
        FORK
        + """
done = threading.Event()
wrong = []

def work(first):
    names = list(CASES)
    while not done.is_set():
        if answers(names[first:] + names[:first]) != expected:
            wrong.append(1)

threads = [threading.Thread(target=work, args=(k,)) for k in (0, 8, 16)]
for t in threads:
    t.start()
statuses = [fork(depth=0)() for _ in range(6)]
done.set()
for t in threads:
    t.join()
assert statuses == [0] * 6, statuses
assert not wrong
"""
    )


@needs_fork
@pytest.mark.parametrize("count", [1, 2])
def test_a_signal_handler_that_forks_inside_a_call(count):
    """The child is alone in the middle of the call, whose other threads have not come with it."""
    check_script(
        SCRIPT
        + f"""
torch.set_num_threads({count})
few = ["crf_probs", "random_walk", "fuse_cams"]
expected = answers(few)
statuses = []

def handler(*_):
    pid = os.fork()
    if pid == 0:
        signal.alarm(30)
        forked.append(True)
    else:
        statuses.append(os.waitpid(pid, 0)[1])

forked = []
signal.signal(signal.SIGALRM, handler)
logits = [torch.randn(1, 201, 32, 32)]
import wsss_fast
from hashlib import sha256

def call():
    labels = wsss_fast.tta_merge(logits, (1500, 1500), flipped=[False], output="labels")
    return sha256(labels.numpy().tobytes()).hexdigest()

right = call()
for after in (0.06, 0.11):
    signal.setitimer(signal.ITIMER_REAL, after)
    try:
        answer = call()
    except RuntimeError as error:
        assert forked, "only in the child"
        assert "fork" in str(error), error
    else:
        assert answer == right
    if forked:
        torch.set_num_threads(1)
        os._exit(0 if answers(few) == expected and call() == right else 1)
assert statuses == [0] * 2, statuses
"""
    )


@needs_proc
@needs_fork
def test_every_op_of_the_core_uses_the_pool():
    """Each case in a forked child, whose pool has no threads yet: else the tests above prove little."""
    check_script(
        SCRIPT
        + """
torch.set_num_threads(1)  # torch has no threads of its own
expected = answers()
torch.set_num_threads(4)
tasks = lambda: len(os.listdir("/proc/self/task"))
for name in CASES:
    pid = os.fork()
    if pid == 0:
        signal.alarm(60)
        torch.set_num_threads(4)
        assert tasks() == 1
        same = answers([name])[name] == expected[name]
        print(name, tasks(), flush=True)
        os._exit(0 if same and (tasks() > 1 or name == "unaries") else 1)
    assert os.waitpid(pid, 0)[1] == 0, name
"""
    )


def test_ctrl_c_ends_a_long_call_of_every_op_and_leaves_it_usable():
    """The script checks that the next calls are right. About a second at most; twice that for machines that
    others use too."""
    script = (
        "import sys; from hard_use.long_calls import main; sys.argv[1:] = ['--threads', '1', '16']; main()"
    )
    lines = check_script(script, timeout=300).splitlines()
    print(*lines, sep="\n")
    assert len(lines) >= 2 * 14
    assert max(float(line.split()[2]) for line in lines) < 2


def test_exit_after_use_and_in_threads():
    """With threads of the pool asleep; sys.exit in a thread ends that thread alone."""
    run = run_script(
        SCRIPT
        + """
torch.set_num_threads(8)
expected = answers()
after = []

def leave():
    after.append(answers())
    sys.exit(5)

threads = [threading.Thread(target=leave) for _ in range(4)]
for t in threads:
    t.start()
for t in threads:
    t.join()
assert after == [expected] * 4
sys.exit(3)
"""
    )
    assert (run.returncode, run.stdout, run.stderr) == (3, "", "")


def test_compiled_calls_in_threads(threads, expected):
    pytest.importorskip("torch._dynamo")
    from wsss_fast import crf, fuse_cams

    threads(2)
    cams = [torch.randn(2, 3, 20, 30)]
    image, unary = torch.randint(0, 256, (3, 130, 130), dtype=torch.uint8), torch.randn(3, 130, 130)

    def both() -> tuple[torch.Tensor, torch.Tensor]:
        return fuse_cams(cams, (150, 160)), crf(image, unary, iterations=1)

    plain = both()
    compiled = torch.compile(both, backend="eager", fullgraph=True)
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(lambda _: compiled(), range(16)):
            assert all(torch.equal(a, b) for a, b in zip(found, plain, strict=True))

"""The thread pool behind all ops: many callers, forks, signals, exit. What could hang runs in a process
of its own with a time limit."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hard_use.fresh_process import FORKS, check_script, run_script
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from wsss_fast import fuse_cams, tta_merge

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")


def inputs(seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(2, 21, n, n + 3, generator=generator) for n in (24, 24, 47)]


def results(tensors: list[Tensor]) -> tuple[bytes, bytes, bytes]:
    """All our ops have to say, large enough that every one of them uses the pool."""
    flipped = [False, True, False]
    fused = fuse_cams(tensors, (190, 250), flipped=flipped)
    mean = tta_merge(tensors, (95, 125), flipped=flipped)
    labels = tta_merge(tensors, (95, 125), flipped=flipped, output="labels")
    return fused.numpy().tobytes(), mean.numpy().tobytes(), labels.numpy().tobytes()


PRELUDE = "from test_parallel_and_fork import inputs, results\n"


def run_here(body: str) -> subprocess.CompletedProcess[str]:
    return run_script(PRELUDE + body)


def check_here(body: str) -> str:
    return check_script(PRELUDE + body)


@pytest.mark.parametrize("count", [1, 2, 16])
def test_eight_python_threads_at_once(threads, count):
    threads(1)
    expected = [results(inputs(seed)) for seed in range(4)]
    threads(count)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda seed: results(inputs(seed)), [i % 4 for i in range(24)]))
    assert all(answer == expected[i % 4] for i, answer in enumerate(answers))


def test_thread_counts_agree_to_the_bit(threads):
    answers = []
    for count in (1, 2, 16, 1):
        threads(count)
        answers.append(results(inputs()))
    assert all(answer == answers[0] for answer in answers)


FORK = (
    """
import os, signal, sys, threading, torch
torch.set_num_threads(4)
expected = results(inputs())
data = inputs()

def right():
    return all(results(data) == expected for _ in range(3))
"""
    + FORKS
)


@needs_fork
def test_forked_children_after_use_in_the_parent():
    check_here(
        FORK
        + """
waits = [fork(depth=1) for _ in range(3)]
assert results(data) == expected  # the parent's pool still works
assert [wait() for wait in waits] == [0, 0, 0]
assert results(data) == expected
"""
    )


@needs_fork
def test_fork_while_other_threads_are_inside_a_call():
    check_here(
        FORK
        + """
done = threading.Event()
wrong = []

def work():
    while not done.is_set():
        if results(data) != expected:
            wrong.append(1)

threads = [threading.Thread(target=work) for _ in range(3)]
for t in threads:
    t.start()
statuses = [fork(depth=0)() for _ in range(8)]
done.set()
for t in threads:
    t.join()
assert statuses == [0] * 8, statuses
assert not wrong
"""
    )


class Fused(Dataset[Tensor]):
    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> Tensor:
        return fuse_cams(inputs(index), (190, 250), flipped=[False, True, False])


@needs_fork
def test_data_loader_workers(threads):
    threads(4)
    data = Fused()
    expected = [data[i] for i in range(len(data))]  # in the parent first; iterating a Dataset has no end
    loader = DataLoader(Fused(), batch_size=None, num_workers=2, multiprocessing_context="fork", timeout=60)
    for mine, theirs in zip(loader, expected, strict=True):
        assert torch.equal(mine, theirs)


SIGNAL = """
import os, signal, sys, threading, time, torch, wsss_fast
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background starts with it ignored
torch.set_num_threads(int({threads}))
expected = results(inputs())
logits = [torch.randn(1, 201, 32, 32)]

def long_call():  # tens of seconds
    return wsss_fast.tta_merge(logits * 6, (4000, 4000), flipped=[False] * 6, output="labels")

def send(number, after):
    def later():
        time.sleep(after)
        sent.append(time.perf_counter())
        os.kill(os.getpid(), number)
    threading.Thread(target=later).start()

sent = []
"""


@pytest.mark.parametrize("count", [1, 2, 4])
def test_ctrl_c_ends_a_long_call(count):
    delay = check_here(
        SIGNAL.format(threads=count)
        + """
for _ in range(2):  # once more: nothing of the first is left over
    send(signal.SIGINT, after=0.5)
    try:
        long_call()
    except KeyboardInterrupt:
        delay = time.perf_counter() - sent[-1]
    else:
        sys.exit("no KeyboardInterrupt")
    assert results(inputs()) == expected
print(delay)
"""
    )
    # About a second; twice that for machines that others use too.
    assert float(delay) < 2


def test_a_signal_whose_handler_returns_changes_nothing():
    check_here(
        SIGNAL.format(threads=2)
        + """
seen = []
signal.signal(signal.SIGUSR1, lambda *_: seen.append(time.perf_counter()))
send(signal.SIGUSR1, after=0.3)
end = time.perf_counter() + 1
while time.perf_counter() < end:
    assert results(inputs()) == expected
assert len(seen) == 1
"""
    )


def test_a_handler_may_raise_what_it_likes():
    check_here(
        SIGNAL.format(threads=2)
        + """
class Stop(Exception):
    pass

def handler(*_):
    raise Stop

signal.signal(signal.SIGTERM, handler)
send(signal.SIGTERM, after=0.5)
try:
    long_call()
except Stop:
    assert results(inputs()) == expected
else:
    sys.exit("the exception of the handler was lost")
"""
    )


def test_ctrl_c_while_another_thread_is_inside_a_call():
    """Signals are the main thread's: the call of the other thread runs on undisturbed."""
    check_here(
        SIGNAL.format(threads=2)
        + """
answers = []
thread = threading.Thread(target=lambda: answers.extend(results(inputs()) for _ in range(20)))
send(signal.SIGINT, after=0.2)
try:
    thread.start()
    time.sleep(30)
except KeyboardInterrupt:
    pass
thread.join()
assert answers == [expected] * 20
"""
    )


def test_exit_with_idle_pool_threads_is_clean():
    run = run_here("import torch, sys\ntorch.set_num_threads(8)\nresults(inputs())\nsys.exit(3)\n")
    assert (run.returncode, run.stdout, run.stderr) == (3, "", "")


def test_exit_with_a_daemon_thread_inside_a_call_is_clean():
    run = run_here(
        SIGNAL.format(threads=2)
        + """
for _ in range(2):
    threading.Thread(target=long_call, daemon=True).start()
time.sleep(1)
sys.exit(3)
"""
    )
    assert (run.returncode, run.stdout, run.stderr) == (3, "", "")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of address space work on Linux")
def test_threads_that_the_system_refuses_are_done_without():
    """No thread can start where its stack (as large as RLIMIT_STACK) does not fit into RLIMIT_AS."""
    run = run_here(
        """
import os, resource, sys, threading, torch
if "again" not in os.environ:
    resource.setrlimit(resource.RLIMIT_STACK, (2**33, resource.getrlimit(resource.RLIMIT_STACK)[1]))
    os.execve(sys.executable, sys.orig_argv, {**os.environ, "again": "1"})
torch.set_num_threads(1)
expected = results(inputs())
torch.set_num_threads(4)
with open("/proc/self/status") as lines:
    used = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmSize"))
resource.setrlimit(resource.RLIMIT_AS, (used + 2**31, used + 2**31))
try:
    threading.Thread(target=print).start()
except RuntimeError:
    assert results(inputs()) == expected
else:
    sys.exit("a thread could start: this tests nothing")
"""
    )
    assert run.returncode == 0, run.stderr

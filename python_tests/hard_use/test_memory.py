"""Memory: nothing grows with the number of calls, and what cannot be had is an error and no more."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hard_use import memory
from hard_use.fresh_process import check_script

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux") or not memory.has_exact_count(), reason="counts as glibc does"
)

SCRIPT = """
import ctypes, gc, itertools, os, random, resource, signal, sys, threading, torch, wsss_fast
from hard_use.every_op import CASES
from hard_use.memory import addresses_of, bytes_in_use, resident_bytes, tasks

def refused(call):
    try:
        call()
    except (ValueError, TypeError):
        return
    sys.exit("no error")

nan = torch.full((1, 3, 20, 30), torch.nan)
image = torch.zeros(3, 20, 30)
errors = [
    lambda: refused(lambda: wsss_fast.crf(image, nan[0])),
    lambda: refused(lambda: wsss_fast.crf([image, image], [nan[0], image])),
    lambda: refused(lambda: wsss_fast.crf(image - 1, image)),
    lambda: refused(lambda: wsss_fast.PermutohedralLattice(nan)),
    lambda: refused(lambda: wsss_fast.random_walk(nan, nan[:, :1])),
    lambda: refused(lambda: wsss_fast.path_affinity(nan[:, :1] * 2, 5)),
    lambda: refused(lambda: wsss_fast.fuse_cams([nan], (40, 50))),
    lambda: refused(lambda: wsss_fast.tta_merge([nan], (40, 50), flipped=[False])),
    lambda: refused(lambda: wsss_fast.tta_merge([nan], 40, flipped=[False])),
    lambda: refused(lambda: wsss_fast.unary_from_labels(torch.full((2, 2), 9), 3)),
]
"""


def test_2000_calls_do_not_grow():
    """Of all ops in mixed sizes, forward and backward, with errors and interrupted calls between them. To see
    that growth would be found, as many tensors of 100 bytes are then kept on purpose."""
    out = check_script(
        SCRIPT
        + """
torch.set_num_threads(2)
signal.signal(signal.SIGALRM, signal.default_int_handler)
draw = random.Random(0)
names = list(CASES)
logits = [torch.randn(1, 201, 32, 32)]

long_calls = [
    lambda: wsss_fast.crf(torch.zeros(3, 60, 80), torch.zeros(21, 60, 80), iterations=10**6),
    lambda: wsss_fast.random_walk(torch.rand(8, 99, 99), torch.rand(1, 99, 99) / 2, steps=2**20),
    lambda: wsss_fast.tta_merge(logits, (3000, 3000), flipped=[False], output="labels"),
]

def interrupt(call):
    signal.setitimer(signal.ITIMER_REAL, 0.02)
    try:
        call()
    except KeyboardInterrupt:
        return
    sys.exit("no interrupt")

def turn(k):
    if k % 5 == 4:
        draw.choice(errors)()
    elif k % 100 == 50:
        interrupt(draw.choice(long_calls))
    else:
        CASES[names[k % len(names)]](draw.choice([0.07, 0.1, 0.15, 0.2, 0.3]))

def settle():
    # Scratch that is kept for the next call is then as large as it gets.
    for name in names:
        CASES[name](0.5)
    for call in long_calls:
        interrupt(call)

def measure():
    settle()
    gc.collect()
    return bytes_in_use(), resident_bytes(), len(gc.get_objects()), tasks()

settle()
for k in range(200):
    turn(k)
before = measure()
for k in range(200, 2000):
    turn(k)
after = measure()
print("in use, resident, objects, threads:", before, after)
assert after[0] - before[0] < 1800 * 50, (before, after)
assert after[1] < before[1] * 1.02, (before, after)
assert after[2] - before[2] < 200, (before, after)
assert after[3] <= before[3], (before, after)

lost = []
for k in range(1800):
    lost.append(torch.empty(25))
assert measure()[0] - after[0] > 1800 * 50
""",
        timeout=300,
    )
    print(out)


def test_2000_short_lived_threads_do_not_grow():
    print(
        check_script(
            SCRIPT
            + """
torch.set_num_threads(2)
names = [name for name in CASES if name not in ("pydensecrf", "dense_crf_layer", "crf_gradient")]

def run(count):
    for k in range(count):
        thread = threading.Thread(target=CASES[names[k % len(names)]], args=(0.1,))
        thread.start()
        thread.join()

def measure():
    gc.collect()
    return bytes_in_use(), resident_bytes(), tasks()

torch.set_num_threads(1)  # torch makes a team of OpenMP threads for each of ours otherwise
run(200)
before = measure()
run(2000)
after = measure()
print("in use, resident, threads:", before, after)
assert after[0] - before[0] < 2000 * 50, (before, after)
assert after[1] < before[1] * 1.02, (before, after)
assert after[2] <= before[2], (before, after)
""",
            timeout=300,
        )
    )


@pytest.fixture(scope="module")
def failing_malloc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("c++") or shutil.which("g++")
    if compiler is None:
        pytest.skip("needs a C++ compiler")
    library = tmp_path_factory.mktemp("malloc") / "failing_malloc.so"
    source = Path(__file__).with_name("failing_malloc.cpp")
    command = [compiler, "-std=c++17", "-O1", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"]
    subprocess.run(command, check=True, timeout=100)
    return library


def test_any_allocation_may_fail(failing_malloc):
    """The k-th allocation of our core, in whatever thread, and of torch's tensors: an error, and the next
    call right to the bit. Nothing is lost by it."""
    out = check_script(
        SCRIPT
        + """
shim = ctypes.CDLL(os.environ["FAILING_MALLOC"])
shim.fail_allocation.argtypes = [ctypes.c_size_t, ctypes.c_size_t, ctypes.c_long, ctypes.c_bool]
shim.allocations_seen.restype = ctypes.c_long
most = int(os.environ.get("MOST_FAILURES", 12))
torch.set_num_threads(2)
expected = {name: case() for name, case in CASES.items()}
failed = 0

# Torch's tensors only: a failure of its own small objects ends the process within torch.
libraries = {"wsss_fast/_C.": True, "libc10.so": False}

def attempt(name, library, k):
    global failed
    shim.fail_allocation(*addresses_of(library), k, libraries[library])
    try:
        CASES[name]()
    except MemoryError:
        failed += 1
    except RuntimeError as error:
        assert "memory" in str(error) or "bad_alloc" in str(error), (name, k, error)
        failed += 1
    seen = shim.allocations_seen()
    shim.fail_allocation(0, 0, 0, False)
    return seen

for library in libraries:
    for name, case in CASES.items():
        count = attempt(name, library, 0)
        few = min(count, most)
        chosen = sorted({1 + i * (count - 1) // max(1, few - 1) for i in range(few)})
        for k in chosen:
            before = failed
            attempt(name, library, k)
            assert case() == expected[name], (library, name, k)
        print(library, name, count, len(chosen), failed, flush=True)
assert failed > 100, failed
one = ("crf_probs", "wsss_fast/_C.")
for k in range(1, 30):
    attempt(*one, k)
before = bytes_in_use()
for _ in range(5):
    for k in range(1, 30):
        attempt(*one, k)
print("in use after 145 failures:", bytes_in_use() - before)
assert bytes_in_use() - before < 145 * 50
""",
        timeout=300,
        LD_PRELOAD=str(failing_malloc),
        FAILING_MALLOC=str(failing_malloc),
    )
    print(out)


def test_a_limit_of_address_space():
    """More and more room, until the call succeeds."""
    out = check_script(
        SCRIPT
        + """
torch.set_num_threads(2)
expected = {name: case(0.5) for name, case in CASES.items()}
big = {
    "crf": lambda: wsss_fast.crf(torch.zeros(3, 900, 900), torch.zeros(21, 900, 900), iterations=1),
    "random_walk": lambda: wsss_fast.random_walk(
        torch.zeros(20, 900, 900), torch.zeros(1, 900, 900), exp_times=0
    ),
    "path_affinity": lambda: wsss_fast.path_affinity(torch.zeros(1, 700, 700), 10),
    "fuse_cams": lambda: wsss_fast.fuse_cams([torch.zeros(1, 30, 20, 30)], (1300, 1300)),
    "tta_merge": lambda: wsss_fast.tta_merge([torch.zeros(1, 30, 20, 30)], (1300, 1300), flipped=[False]),
}
soft, hard = resource.getrlimit(resource.RLIMIT_AS)
for name, call in big.items():
    ended = []
    for room in (4, 40, 100, 200, 300, 10**5):
        with open("/proc/self/status") as lines:
            used = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmSize"))
        resource.setrlimit(resource.RLIMIT_AS, (used + (room << 20), hard))
        try:
            call()
            ended.append("fine")
        except MemoryError:
            ended.append("MemoryError")
        except RuntimeError as error:
            assert "memory" in str(error), (name, room, error)
            ended.append("RuntimeError")
        finally:
            resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        for other in ("crf_probs", "random_walk", "fuse_cams"):
            assert CASES[other](0.5) == expected[other], (name, room, other)
    print(name, *ended)
    assert ended[0] != "fine", name
    assert ended[-1] == "fine", name
""",
        timeout=300,
    )
    print(out)

#!/usr/bin/env bash
# Everything that needs a GPU, in one command: build, tests, sanitizers, benchmarks. See --help.
set -euo pipefail

usage() {
  cat <<'TEXT'
scripts/gpu_check.sh [--only PART,...] [--minutes N] [--logs DIR] [--results DIR]

Builds the checkout for the GPU of this machine, without network, into build/gpu, and checks it there:

  build      the package, with CUDA kernels for this GPU alone
  tests      all tests, on the CPU and on the GPU; what they lack (recorded results, networks) is skipped
  sanitizer  compute-sanitizer: memcheck on the tests of the ops, racecheck, synccheck and initcheck on tiny inputs
  bench      benchmarks/cuda_table.py and cuda_ops_table.py, which write their tables to benchmarks/results/

A part runs even if one before it failed (build excepted), and has its share of the time and what those before it left
of theirs. The last lines, and the exit status, say which failed: 0 all well, 1 a part failed or something is missing
here, 2 wrong arguments.

  --only PART,...  some of the parts; without build, what build/gpu has is checked
  --minutes N      for all of it together (default 12); a part that needs more is stopped and has failed
  --logs DIR       a log of each step (default build/gpu_check)
  --results DIR    where the benchmarks write (default benchmarks/results)

PYTHON names the interpreter (default python3), which has torch 2.4 or later with CUDA. WSSS_FAST_SHARED names the
folder with golden/, and WSSS_FAST_MONAI a checkout of MONAI to compare with (benchmarks/_monai_peer.py).
PYTEST_ADDOPTS reaches pytest, such as "-n 8" where pytest-xdist is installed.
TEXT
}

wrong() {
  echo "gpu_check: $1; see --help" >&2
  exit 2
}

cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
only=build,tests,sanitizer,bench
minutes=12
logs=$root/build/gpu_check
results=$root/benchmarks/results
while [[ $# -gt 0 ]]; do
  case $1 in
    --help | -h)
      usage
      exit 0
      ;;
    --only | --minutes | --logs | --results)
      [[ $# -ge 2 ]] || wrong "$1: expected a value"
      case $1 in
        --only) only=$2 ;;
        --minutes) minutes=$2 ;;
        --logs) logs=$(realpath -m "$2") ;;
        --results) results=$(realpath -m "$2") ;;
      esac
      shift 2
      ;;
    *) wrong "unknown argument $1" ;;
  esac
done
[[ $minutes =~ ^[1-9][0-9]*$ ]] || wrong "--minutes: expected a whole number from 1 on, got $minutes"
IFS=, read -ra parts <<<"$only"
for part in "${parts[@]}"; do
  case $part in
    build | tests | sanitizer | bench) ;;
    *) wrong "--only: expected some of build,tests,sanitizer,bench, got $part" ;;
  esac
done

python=${PYTHON:-python3}
target=$root/build/gpu
failed=()
spare=0 # seconds that steps so far left of theirs

missing() {
  echo "gpu_check: $1" >&2
  exit 1
}

wanted() { [[ ,$only, == *,$1,* ]]; }

# step NAME PERCENT COMMAND...: runs it for at most that share of the time and what is spare, with a log.
step() {
  local name=$1 seconds=$(($2 * minutes * 60 / 100 + spare)) status=0 started=$SECONDS
  shift 2
  echo
  echo "== $name (at most $seconds s): $*"
  # SIGINT, on which pytest still says what it found.
  timeout --signal=INT --kill-after=10 "$seconds" "$@" 2>&1 | tee "$logs/$name.log" || status=${PIPESTATUS[0]}
  local took=$((SECONDS - started))
  spare=$((took < seconds ? seconds - took : 0))
  if [[ $status -eq 0 ]]; then
    echo "== $name: well, $took s"
  elif [[ $took -ge $seconds ]]; then
    failed+=("$name: stopped after $took s (give it more with --minutes)")
  else
    failed+=("$name: exit status $status, see $logs/$name.log")
  fi
  return "$status"
}

# Sanitizers may end well without having watched anything: their summary has to be there, too.
# sanitize TOOL PERCENT SUMMARY COMMAND...
sanitize() {
  local tool=$1 percent=$2 summary=$3
  shift 3
  # API errors: torch asks for what a driver may not have, and takes no for an answer.
  step "$tool" "$percent" "$sanitizer" --tool "$tool" --error-exitcode 99 --report-api-errors no \
    --target-processes application-only --launch-timeout 300 --print-limit 20 "$@" || return 0
  grep -q "$summary" "$logs/$tool.log" ||
    failed+=("$tool: no line '$summary' in $logs/$tool.log")
}

command -v "$python" >/dev/null || missing "no $python; set PYTHON to an interpreter that has torch with CUDA"
"$python" - <<'CODE' || exit 1
import sys

try:
    import torch
except ModuleNotFoundError:
    sys.exit(f"gpu_check: {sys.executable} has no torch; set PYTHON to an interpreter that has it, with CUDA")
if tuple(int(n) for n in torch.__version__.split("+")[0].split(".")[:2]) < (2, 4):
    sys.exit(f"gpu_check: expected torch 2.4 or later, got {torch.__version__}")
if torch.version.cuda is None:
    sys.exit(f"gpu_check: torch {torch.__version__} is built without CUDA; set PYTHON to one that has it")
if not torch.cuda.is_available():
    sys.exit(f"gpu_check: torch {torch.__version__} (CUDA {torch.version.cuda}) finds no GPU; see nvidia-smi")
CODE

need=()
if wanted build; then
  if ! command -v nvcc >/dev/null; then
    for home in "${CUDA_HOME:-}" "${CUDA_PATH:-}" /usr/local/cuda; do
      [[ -n $home && -x $home/bin/nvcc ]] && PATH=$home/bin:$PATH && break
    done
  fi
  command -v nvcc >/dev/null || missing "no nvcc on the PATH, in CUDA_HOME or in /usr/local/cuda"
  need+=(pip:pip pybind11:pybind11 scikit-build-core:scikit_build_core)
  command -v cmake >/dev/null || need+=(cmake:cmake)
  command -v ninja >/dev/null || need+=(ninja:ninja)
fi
need+=(numpy:numpy)
if wanted tests || wanted sanitizer; then
  need+=(pytest:pytest pytest-timeout:pytest_timeout hypothesis:hypothesis)
fi
if wanted tests || wanted bench; then
  need+=(opencv-python-headless:cv2)
fi
"$python" - "${need[@]}" <<'CODE' || exit 1
import importlib.util
import sys

pairs = [argument.split(":") for argument in sys.argv[1:]]
missing = [package for package, module in pairs if importlib.util.find_spec(module) is None]
if missing:
    names = " ".join(missing)
    sys.exit(
        f"gpu_check: {sys.executable} lacks {names}. Where there is a network: pip install {names}; where there is\n"
        f"none: 'pip download --dest wheels {names}' on a machine of the same kind, bring the folder, and\n"
        f"'pip install --no-index --find-links wheels {names}' here."
    )
CODE

mkdir -p "$logs"
"$python" - <<'CODE'
import torch

print(f"{torch.cuda.get_device_name(0)}, torch {torch.__version__}, CUDA {torch.version.cuda}")
CODE

if wanted build; then
  capability=$("$python" -c 'import torch; print("%d%d" % torch.cuda.get_device_capability(0))')
  rm -rf "$target"
  step build 18 "$python" -m pip install --disable-pip-version-check --no-index --no-build-isolation --no-deps \
    --target "$target" -C build-dir="$root/build/gpu-cmake" -C cmake.define.WSSS_FAST_CUDA=ON \
    -C cmake.define.CMAKE_CUDA_ARCHITECTURES="$capability-real" . || {
    echo "gpu_check: FAILED ${failed[*]}" >&2
    exit 1
  }
fi
[[ -d $target/wsss_fast ]] || missing "no package in $target; run the part build first"
export PYTHONPATH=$target${PYTHONPATH:+:$PYTHONPATH} PATH=$target/bin:$PATH FAIL_WITHOUT_CUDA=1 PYTHONUNBUFFERED=1
"$python" - <<'CODE' || exit 1
import sys

import wsss_fast
from wsss_fast._info import cuda_kernels

print(wsss_fast.build_info())
if cuda_kernels() != "device":
    sys.exit(f"gpu_check: expected a build with CUDA kernels in {wsss_fast.__file__}, got {cuda_kernels()!r}")
CODE

# From python_tests/, so that what was built is tested and not the tree.
cd "$root/python_tests"
pytest=("$python" -m pytest -c ../pyproject.toml -p no:cacheprovider -q)
mapfile -t op_tests < <(find cuda ops nn -name 'test_*.py' | sort)
if wanted tests; then
  # Apart, so that what is about the GPU comes first whatever time the rest takes.
  step tests-ops 22 "${pytest[@]}" "${op_tests[@]}" || true
  step tests-rest 8 "${pytest[@]}" --ignore=cuda --ignore=ops --ignore=nn . || true
fi

if wanted sanitizer; then
  sanitizer=$(command -v compute-sanitizer || true)
  if [[ -z $sanitizer ]] && nvcc=$(command -v nvcc); then
    sanitizer=$(dirname "$(realpath "$nvcc")")/compute-sanitizer
  fi
  if [[ ! -x $sanitizer ]]; then
    failed+=("sanitizer: no compute-sanitizer on the PATH or beside nvcc")
  else
    # torch's cache of memory would hide what is read or written beyond an allocation. Graphs cannot be captured
    # without that cache, and what torch.compile makes is not ours.
    export PYTORCH_NO_CUDA_MEMORY_CACHING=1
    tests=(ops/test_{crf,lattice,random_walk,path_affinity,cam_fusion,tta}*.py
      nn/test_{dense_crf,affinity_displacement_loss}*.py)
    tiny=("$python" cuda/tiny_inputs.py cuda)
    sanitize racecheck 5 'RACECHECK SUMMARY: 0 hazards' "${tiny[@]}"
    sanitize synccheck 4 'ERROR SUMMARY: 0 errors' "${tiny[@]}"
    sanitize initcheck 4 'ERROR SUMMARY: 0 errors' "${tiny[@]}"
    sanitize memcheck 13 'ERROR SUMMARY: 0 errors' --padding 256 "${pytest[@]}" --device cuda \
      -k 'not graph and not compile and not opcheck' "${tests[@]}"
    unset PYTORCH_NO_CUDA_MEMORY_CACHING
  fi
fi

cd "$root"
if wanted bench; then
  mkdir -p "$results"
  if [[ -n ${WSSS_FAST_MONAI:-} ]]; then
    step monai 4 "$python" benchmarks/_monai_peer.py || true
  fi
  step bench 12 "$python" benchmarks/cuda_table.py --output "$results" || true
  step bench-ops 10 "$python" benchmarks/cuda_ops_table.py --output "$results" || true
fi

echo
if [[ ${#failed[@]} -gt 0 ]]; then
  printf 'gpu_check: FAILED %s\n' "${failed[@]}" >&2
  exit 1
fi
echo "gpu_check: all well: $only"

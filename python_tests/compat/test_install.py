"""install(): each case in a process of its own, for it changes what the process imports."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest


def run(code: str, folder: Path | None = None) -> str:
    """What the code prints. A folder comes first where modules are looked for."""
    code = textwrap.dedent(code)
    if folder is not None:
        code = f"import sys; sys.path.insert(0, {str(folder)!r})\n" + code
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


@pytest.fixture
def another(tmp_path: Path) -> Path:
    """A folder with a package that has the name of the real one."""
    package = tmp_path / "pydensecrf"
    package.mkdir()
    for name in ("__init__", "densecrf", "utils"):
        (package / f"{name}.py").write_text("real = True\n")
    return tmp_path


def test_every_form_of_import_gets_ours(another: Path) -> None:
    code = """
        import numpy as np
        import wsss_fast.compat
        wsss_fast.compat.install()
        import pydensecrf, pydensecrf.densecrf, pydensecrf.utils, pydensecrf.eigen
        import pydensecrf.densecrf as dcrf
        from pydensecrf import densecrf, utils
        from pydensecrf.densecrf import DenseCRF2D
        from pydensecrf.utils import unary_from_labels
        import wsss_fast.compat.pydensecrf.densecrf as ours
        assert pydensecrf.densecrf is dcrf is densecrf is ours
        assert DenseCRF2D is ours.DenseCRF2D and pydensecrf.utils is utils
        d = DenseCRF2D(8, 6, 3)
        d.setUnaryEnergy(unary_from_labels(np.ones((6, 8), int), 3, 0.7))
        print(np.argmax(d.inference(2), axis=0).sum())
    """
    assert run(code, another) == "0"


def test_twice_is_once(another: Path) -> None:
    code = """
        import sys, wsss_fast.compat
        wsss_fast.compat.install()
        first = dict(sys.modules)
        import pydensecrf.utils
        wsss_fast.compat.install()
        print({k: v for k, v in sys.modules.items() if first.get(k) is not v and "pydensecrf" in k})
    """
    assert run(code, another) == "{}"


@pytest.mark.parametrize("imported", ["pydensecrf", "pydensecrf.utils"])
def test_another_one_that_is_imported_is_left_alone(another: Path, imported: str) -> None:
    code = f"""
        import sys, {imported}
        before = {{k: v for k, v in sys.modules.items() if k.startswith("pydensecrf")}}
        import wsss_fast.compat
        try:
            wsss_fast.compat.install()
        except RuntimeError as error:
            print(error)
        assert before == {{k: v for k, v in sys.modules.items() if k.startswith("pydensecrf")}}
        import pydensecrf.densecrf
        assert pydensecrf.densecrf.real
    """
    message = run(code, another)
    assert "expected to be called before pydensecrf is imported" in message
    assert str(another) in message
    assert "nothing was replaced" in message


def test_nothing_happens_without_a_call(another: Path) -> None:
    code = """
        import sys, wsss_fast
        assert not any("compat" in name for name in sys.modules if name.startswith("wsss_fast"))
        import wsss_fast.compat.pydensecrf.densecrf
        import pydensecrf.densecrf
        print(pydensecrf.densecrf.real)
    """
    assert run(code, another) == "True"


def test_pickles_do_not_need_install() -> None:
    code = """
        import pickle, pickletools, wsss_fast.compat
        wsss_fast.compat.install()
        import pydensecrf.densecrf as dcrf
        strings = [value for _, value, _ in pickletools.genops(pickle.dumps(dcrf.DenseCRF(4, 2)))]
        print([s for s in strings if isinstance(s, str) and "pydensecrf" in s])
    """
    assert run(code) == "['wsss_fast.compat.pydensecrf.densecrf']"

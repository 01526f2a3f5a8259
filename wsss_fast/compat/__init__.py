"""Stand-ins for packages that code for this task already imports.

:mod:`wsss_fast.compat.pydensecrf` has the interface of pydensecrf. Code that can be edited changes its
imports::

    import wsss_fast.compat.pydensecrf.densecrf as dcrf
    from wsss_fast.compat.pydensecrf.utils import unary_from_labels

Code that cannot be edited is reached by :func:`install`.
"""

from __future__ import annotations

import importlib
import sys

__all__ = ["install"]

_NAMES = ("pydensecrf", "pydensecrf.eigen", "pydensecrf.densecrf", "pydensecrf.utils")


def install() -> None:
    """Makes ``import pydensecrf`` in this process, by whatever code, import the stand-in.

    Call it before anything imports pydensecrf. It is all or nothing: where a module of that name has been
    imported from elsewhere, someone may already hold its classes, so nothing is replaced and this raises.
    A pydensecrf that is installed but not imported is shadowed until the process ends. A second call does
    nothing. Processes that are spawned, not forked, have to call it too.

    Raises:
        RuntimeError: another pydensecrf has been imported; nothing was changed.

    >>> import wsss_fast.compat
    >>> wsss_fast.compat.install()
    >>> import pydensecrf.densecrf as dcrf
    >>> dcrf.DenseCRF2D.__module__
    'wsss_fast.compat.pydensecrf.densecrf'
    """
    ours = {name: importlib.import_module(f"wsss_fast.compat.{name}") for name in _NAMES}
    for name in sorted(sys.modules):
        module = sys.modules[name]
        if name.partition(".")[0] == "pydensecrf" and module is not ours.get(name):
            place = getattr(module, "__file__", None) or "an unknown place"
            raise RuntimeError(
                f"install: expected to be called before {name} is imported, got it imported from {place}; "
                "nothing was replaced"
            )
    sys.modules.update(ours)

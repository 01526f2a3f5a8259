"""The cases of the table of ops, by name. Each measures something and yields rows."""

from __future__ import annotations

import _fusion_cases
import _path_cases
import _tta_cases
import _walk_cases
from _setting import Case

CASES: dict[str, Case] = {
    **_walk_cases.CASES,
    **_path_cases.CASES,
    **_fusion_cases.CASES,
    **_tta_cases.CASES,
}

"""The README's Python runs as it stands."""

from __future__ import annotations

import re

from conftest import ROOT


def test_python_blocks_of_the_readme_run() -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    scope: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), scope)
    assert scope["probs"].shape == (4, 60, 80)  # type: ignore[attr-defined]
    assert scope["mask"].shape == (1, 60, 80)  # type: ignore[attr-defined]

"""The example of docs/layers.md runs unchanged, with the results in its comments."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "layers.md"


def test_the_example_runs() -> None:
    (code,) = re.findall(r"```python\n(.+?)```", PAGE.read_text(encoding="utf-8"), re.S)
    names: dict = {}
    exec(compile(code, str(PAGE), "exec"), names)
    assert names["y"].shape == (2, 48, 32, 32)
    assert names["codes"].shape == (2, 19, 32)
    names["y"].square().mean().backward()
    assert all(p.grad is not None for n, p in names["block"].named_parameters() if "noise" not in n)

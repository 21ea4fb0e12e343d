"""Recipes as version 0.1 wrote them for tasks other than ``adapt``: without stages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Keys that stand in a stage today and stood at the top.
_MOVED = ("method", "options", "trainer", "optimizers")
_MIX_STAGES = {"code": "mixnmatch", "feature": "mixnmatch-features"}


def in_stages(data: Mapping[str, Any], task: str | None, name: str | None = None) -> dict[str, Any]:
    """The keys of a recipe with its stages as a row; a recipe that has one is returned unchanged.

    Args:
        name: of the single stage; None: as the task.
    """
    if "stages" in data:
        return dict(data)
    if isinstance(data.get("code"), dict) or isinstance(data.get("feature"), dict):
        stages = [
            {"name": name, "method": method, **data[name]}
            for name, method in _MIX_STAGES.items()
            if isinstance(data.get(name), dict)
        ]
        rest = {key: value for key, value in data.items() if key not in _MIX_STAGES}
        return {**rest, "stages": stages}
    stage = {key: data[key] for key in _MOVED if key in data}
    if not stage or task == "adapt":
        return dict(data)
    rest = {key: value for key, value in data.items() if key not in _MOVED}
    return {**rest, "stages": [{"name": name or task or "train", **stage}]}

"""A stage whose model is used and scored at another size than the recipe's (FADA's first two)."""

import json
from pathlib import Path

import pytest

from stylebridge.jobs.apply.models.segmenter import load_adapted
from stylebridge.jobs.evaluate.segmenter import evaluate
from support import folders
from support.folders import World, learning, tiny_adapt

own_cache, world = folders.own_cache, folders.world


@pytest.mark.slow
def test_each_stage_is_scored_at_its_own_size(tmp_path: Path, world: World) -> None:
    run = tmp_path / "run"
    sizes = ["stages.0.inference={size: [20, 12]}", "inference.size=[64, 48]", "inference.pixels=null"]
    tiny_adapt(
        world, run, "colour-transfer-small", evaluate_on=world.held_out, overrides=[*learning(12, 2), *sizes]
    )
    first = run / "stages" / "1-source-only" / "segmenter"
    assert load_adapted(first).inference.size == (20, 12)
    assert load_adapted(run).inference.size == (64, 48)
    told = json.loads((run / "scores.json").read_text())
    for name, folder in (("before", first), ("after", run)):
        again = evaluate(folder, str(world.held_out), label_space=world.space, device="cpu", quiet=True)
        assert again.as_dict()["confusion"] == told[name]["confusion"]
    # Else the sizes would not be told apart.
    facts = first / "stylebridge.json"
    kept = json.loads(facts.read_text())
    kept["extra"]["inference"]["size"] = [64, 48]
    facts.write_text(json.dumps(kept))
    other = evaluate(first, str(world.held_out), label_space=world.space, device="cpu", quiet=True)
    assert other.as_dict()["confusion"] != told["before"]["confusion"]
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "source-only: 20 × 12" in page

"""The report page of an image training."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stylebridge.errors import RunError
from stylebridge.report.training_page import TrainingPage, render, write_training_page


@pytest.fixture
def page(tmp_path: Path) -> TrainingPage:
    samples = []
    for step in range(100, 1100, 100):
        samples.append(tmp_path / f"{step:06}.png")
        Image.fromarray(np.full((8, 12, 3), step // 5, np.uint8)).save(samples[-1])
    lines = [{"step": s, "stage": "1-x", "loss/generator/hinge_one": 1 / s} for s in range(1, 30)]
    (tmp_path / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return TrainingPage(
        "<b>cats</b> ↔ dogs", "nice-gan", "A lead.", ("a", "a in b"), samples, tmp_path / "metrics.jsonl",
        [("seed", "<script>")], "stylebridge translate apply runs/x",
    )  # fmt: skip


def test_everything_is_on_it_and_nothing_is_fetched(page: TrainingPage) -> None:
    html = render(page)
    assert html.count("data:image/") == 7  # the last, large; six on the way
    for text in (
        "After 1,000 steps",
        "step 100<",
        "step 1,000<",
        "generator: hinge one",
        "A lead.",
        "translate apply",
    ):
        assert text in html, text
    for sign in ("http://", "https://", "<script", "<b>cats"):
        assert sign not in html


def test_a_run_without_samples_has_a_page(page: TrainingPage, tmp_path: Path) -> None:
    bare = TrainingPage(page.title, page.recipe, page.lead, (), (), tmp_path / "none.jsonl", (), page.use)
    assert "After" not in render(bare)


def test_a_place_that_cannot_be_written_is_named(page: TrainingPage, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(RunError, match="cannot be written"):
        write_training_page(tmp_path / "file" / "report.html", page)

import base64
import dataclasses
import hashlib
import json
import os
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import torch

from stylebridge.errors import RunError
from stylebridge.metrics import ConfusionMatrix, SegmentationScores
from stylebridge.report import (
    AdaptationReport,
    DomainFacts,
    SourceSample,
    StageTiming,
    Table,
    TargetSample,
    write_report,
)
from stylebridge.report.html import count, duration, gain, render, share

VOID = {"meta", "input", "br", "img", "image", "use", "path"}


class Page(HTMLParser):
    """The tags, attributes and texts of a page; complains of tags that do not nest."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if data.strip() and self.open[-1] not in ("style", "script"):
            self.texts.append(" ".join(data.split()))

    @property
    def text(self) -> str:
        return " ".join(self.texts)


def scored(truth: list[int], prediction: list[int], names: tuple[str, ...]) -> SegmentationScores:
    matrix = ConfusionMatrix(len(names))
    matrix.update(torch.tensor(prediction), torch.tensor(truth))
    return matrix.scores(names)


def target(seed: int = 0, with_truth: bool = True, size: tuple[int, int] = (24, 32)) -> TargetSample:
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    before, after, truth = rng.integers(0, 4, (3, *size), dtype=np.uint8)
    truth[:2] = 255
    return TargetSample(image, before, after, f"frame {seed}", truth if with_truth else None)


@pytest.fixture
def report(space, tmp_path) -> AdaptationReport:
    names = space.classes
    metrics = tmp_path / "metrics.jsonl"
    metrics.write_text(
        "".join(
            json.dumps({"stage": s, "step": i, "loss/segmenter/seg": 1 / i}) + "\n"
            for s in ("1-source-only", "2-adapt")
            for i in range(1, 30)
        )
    )
    sample = target(9)
    return AdaptationReport(
        title="Toy world",
        recipe="bridge/toy",
        source=DomainFacts("sim", "data/sim", 40),
        target=DomainFacts("camera", "data/camera", 20),
        label_space=space,
        before=scored([0, 0, 1, 2, 3, 3], [0, 1, 1, 3, 3, 0], names),
        after=scored([0, 0, 1, 2, 3, 3], [0, 0, 1, 2, 3, 0], names),
        source_samples=[SourceSample(sample.image, sample.before, "sim 1")],
        target_samples=[target(0), target(1)],
        metrics=metrics,
        facts=[("command", "stylebridge adapt"), ("seed", "3")],
        notices=["One thing to know."],
        table=Table(("method", "mIoU"), [("source only", "39.6"), ("this run", "63.0")], "Beside", 1),
        timing=[StageTiming("1-source-only", 60.0, 800), StageTiming("2-adapt", 180.0)],
    )


def without_truth(report: AdaptationReport) -> AdaptationReport:
    samples = [dataclasses.replace(s, truth=None) for s in report.target_samples]
    return dataclasses.replace(report, before=None, after=None, target_samples=samples)


def test_headline_says_what_was_gained(report):
    # before: IoU 1/3, 1/2, 0, 1/3; after: 2/3, 1, 1, 1/2
    assert report.headline == "sim → camera: 29.2 → 79.2 mIoU (+50.0)"
    assert dataclasses.replace(report, before=None).headline == "sim → camera: 79.2 mIoU"
    assert "no truth" in without_truth(report).headline


def test_page_shows_scores_samples_and_facts(report):
    page = Page(render(report))
    for words in (
        *("Toy world", "bridge/toy", "29.2", "79.2", "+50.0", "mIoU over 4 classes, on camera: 20 images"),
        *(
            "One thing to know.",
            "frame 0",
            "frame 1",
            "sim 1",
            "source only",
            "stylebridge adapt",
            "data/sim",
        ),
        *("1-source-only", "2-adapt", "segmenter/seg", "3.0 min", "sky", "tree", "truth", "Mistakes"),
    ):
        assert words in page.text.replace("\u00a0", " "), words
    ids = {a["id"] for _, a in page.tags if "id" in a}
    uses = [a["href"] for tag, a in page.tags if tag == "use"]
    assert uses
    assert all(href is not None and href[1:] in ids for href in uses)


def test_ids_are_unique(report):
    ids = [a["id"] for _, a in Page(render(report)).tags if "id" in a]
    assert len(ids) == len(set(ids))


def test_bars_carry_each_class_iou(report):
    html = render(report)
    widths = [float(w) for w in re.findall(r'class="bar (?:before|after)" style="width:([\d.]+)%"', html)]
    expected = [100 * v for pair in zip(report.before.iou, report.after.iou, strict=True) for v in pair]
    assert widths == pytest.approx(expected)


def test_wrong_pixels_are_counted_over_labelled_ones(report):
    sample = report.target_samples[0]
    known = sample.truth != 255
    wrong = [np.mean((m != sample.truth)[known]) for m in (sample.before, sample.after)]
    text = Page(render(report)).text.replace("\u00a0", " ")
    assert f"wrong pixels {100 * wrong[0]:.0f} → {100 * wrong[1]:.0f} %" in text


def test_without_truth_no_score_is_claimed(report):
    bare = dataclasses.replace(without_truth(report), label_free=[("mean confidence", "0.71 → 0.83")])
    text = Page(render(bare)).text.replace("\u00a0", " ")
    assert "There are no labels for camera, so no score is claimed." in text
    assert "mIoU over" not in text
    assert "What is taken for what" not in text
    assert "0.71 → 0.83" in text
    changed = np.mean([(s.before != s.after).mean() for s in bare.target_samples])
    assert f"{100 * changed:.0f} % of the pixels changed class, over 2 samples" in text
    share_of_sky = np.mean([(s.before == 0).mean() for s in bare.target_samples])
    assert f"{100 * share_of_sky:.1f}" in text


def test_a_loss_is_shown_as_one(report):
    worse = dataclasses.replace(report, before=report.after, after=report.before)
    page = Page(render(worse))
    assert "(−50.0)" in worse.headline
    assert any("gain worse" in (a.get("class") or "") for _, a in page.tags)


def test_least_report_is_a_page(space):
    least = AdaptationReport("t", "r", DomainFacts("a", "p"), DomainFacts("b", "q"), space)
    assert "no score is claimed" in Page(render(least)).text


def test_names_from_users_stay_text(report, space):
    evil = "<script>alert(1)</script>"
    quoted = '"><img src=x onerror=alert(1)>'
    report.metrics.write_text(
        json.dumps({"stage": evil, "step": 1, f"loss/{quoted}": 1.0, f"loss/{evil}/x": 2.0}) + "\n"
    )
    names = (evil, quoted, "car", "tree")
    nasty = dataclasses.replace(
        report,
        title=evil,
        recipe=quoted,
        source=DomainFacts(quoted, evil),
        target=DomainFacts(evil, quoted),
        label_space=dataclasses.replace(space, classes=names),
        before=dataclasses.replace(report.before, classes=names),
        after=dataclasses.replace(report.after, classes=names, protocol=evil),
        source_samples=[dataclasses.replace(report.source_samples[0], name=quoted)],
        target_samples=[dataclasses.replace(s, name=evil + quoted) for s in report.target_samples],
        facts=[(evil, quoted)],
        notices=[evil, quoted],
        table=Table((evil, quoted), [(quoted, evil)], evil, 0),
        timing=[StageTiming(evil, 1.0)],
    )
    page = Page(render(nasty))
    plain = Page(render(dataclasses.replace(report, notices=["a", "b"])))
    assert sum(tag == "script" for tag, _ in page.tags) == 1
    assert not any(tag == "img" for tag, _ in page.tags)
    assert not any(name.startswith("on") for _, attrs in page.tags for name in attrs)
    assert {t for t, _ in page.tags} <= {t for t, _ in plain.tags}
    assert evil in page.text
    assert quoted in page.text


def test_page_needs_no_other_file(report):
    for html in (render(report), render(without_truth(report))):
        for tag, attrs in Page(html).tags:
            assert tag not in ("link", "iframe", "object", "base")
            for name in ("src", "href", "xlink:href", "srcset", "poster"):
                value = attrs.get(name)
                assert value is None or value.startswith(("#", "data:image/"))
        assert not re.search(r"url\(|@import|https?://", html)


def test_only_the_page_s_own_script_may_run(report):
    html = render(report)
    script = re.search(r"<script>(.*?)</script>", html, re.S).group(1)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in html


def test_page_stays_small(report):
    sample = target(5, size=(360, 480))
    # Noise is the worst a photo can be for a codec; the maps are blocks, as label maps are.
    maps = {
        k: np.kron(np.random.default_rng(i).integers(0, 4, (18, 24)), np.ones((20, 20))).astype(np.uint8)
        for i, k in enumerate(("before", "after", "truth"))
    }
    targets = [dataclasses.replace(sample, **maps)] * 6
    sources = [SourceSample(sample.image, maps["truth"], "s")] * 4
    big = dataclasses.replace(report, target_samples=targets, source_samples=sources)
    assert len(render(big).encode()) < 3_000_000


def test_writing_is_whole_or_not_at_all(report, tmp_path, monkeypatch):
    path = tmp_path / "run" / "report.html"
    write_report(path, report)
    before = path.read_text(encoding="utf-8")
    assert before == render(report)

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(RunError, match=r"report\.html.*No space left"):
        write_report(path, dataclasses.replace(report, title="other"))
    assert path.read_text(encoding="utf-8") == before
    assert os.listdir(path.parent) == ["report.html"]


def test_a_place_that_cannot_be_written_is_the_user_s_to_mend(report, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RunError, match="file"):
        write_report(tmp_path / "file" / "report.html", report)
    (tmp_path / "folder").mkdir()
    with pytest.raises(RunError, match="folder"):
        write_report(tmp_path / "folder", report)
    assert sorted(os.listdir(tmp_path)) == ["file", "folder", "metrics.jsonl"]


def test_contradictions_are_refused(report):
    with pytest.raises(ValueError, match="needs those after"):
        render(dataclasses.replace(report, after=None))
    with pytest.raises(ValueError, match="'source_score' are of other classes"):
        render(
            dataclasses.replace(report, source_score=dataclasses.replace(report.after, classes=("x",) * 4))
        )
    small = dataclasses.replace(report.target_samples[0], after=np.zeros((2, 2), np.uint8))
    with pytest.raises(ValueError, match=r"sample 'frame 0': after is \[2, 2\]"):
        render(dataclasses.replace(report, target_samples=[small]))


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [(0.412, 0.63, "+21.8"), (0.63, 0.412, "−21.8"), (0.5, 0.5, "±0.0"), (0.41249, 0.41251, "+0.1")],
)
def test_gain_is_the_difference_of_the_numbers_shown(before, after, text):
    assert gain(before, after) == text


def test_numbers_for_the_eye():
    assert [count(n) for n in (812, 45300, 10_700_000)] == ["812", "45,300", "10.7\u00a0M"]
    assert [share(r) for r in (0, 0.31, 0.0241, 0.0007)] == ["0", "31", "2.4", "0.07"]
    assert [duration(s) for s in (42, 210, 7560)] == ["42\u00a0s", "3.5\u00a0min", "2.1\u00a0h"]

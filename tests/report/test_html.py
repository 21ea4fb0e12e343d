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
from stylebridge.report.html import render

VOID = {"meta", "input", "br", "img", "image", "use", "path"}


class Page(HTMLParser):
    """The tags, attributes and texts of a page; complains of tags that do not nest."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(html.replace("<wbr>", ""))  # a place where a line may break, not a part of the text
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


def without_before(report: AdaptationReport) -> AdaptationReport:
    samples = [dataclasses.replace(s, before=None) for s in report.target_samples]
    return dataclasses.replace(report, before=None, target_samples=samples)


def test_headline_says_what_was_gained(report):
    # before: IoU 1/3, 1/2, 0, 1/3; after: 2/3, 1, 1, 1/2
    assert report.headline == "Toy world: 29.2 → 79.2 mIoU (+50.0)"
    assert dataclasses.replace(report, before=None).headline == "Toy world: 79.2 mIoU"
    assert "no truth" in without_truth(report).headline


def test_classes_that_lost_stand_beside_those_that_gained_at_the_top(report):
    names = report.label_space.classes
    mixed = dataclasses.replace(
        report,
        before=scored([0, 0, 1, 2, 3, 3], [0, 0, 1, 2, 3, 0], names),  # IoU 2/3, 1, 1, 1/2
        after=scored([0, 0, 1, 2, 3, 3], [0, 0, 2, 2, 3, 3], names),  # IoU 1, 0, 1/2, 1
    )
    head = render(mixed).partition("</header>")[0]
    text = " ".join(re.sub(r"<[^>]+>", " ", head[head.index('class="movers"') :]).split())
    assert "2 classes got worse road −100.0 car −50.0 2 classes gained tree +50.0 sky +33.3" in text
    assert "No class got worse" in render(report).partition("</header>")[0]
    for page in (dataclasses.replace(report, before=None), without_truth(report)):
        assert "got worse" not in render(page)


def test_page_shows_scores_samples_and_facts(report):
    page = Page(render(report))
    for words in (
        *(
            "Toy world",
            "bridge/toy",
            "29.2",
            "79.2",
            "+50.0",
            "mIoU over 4 classes, on camera: 6 labelled pixels",
        ),
        *(
            "One thing to know.",
            "frame 0",
            "frame 1",
            "sim 1",
            "source only",
            "stylebridge adapt",
            "data/sim",
        ),
        *(
            "camera, 20 images",
            "1. source-only",
            "2. adapt",
            "segmenter: seg",
            "3.0 min",
            "sky",
            "tree",
            "truth",
            "Mistakes",
        ),
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
    assert "There are no labels for camera, so there is no score." in text
    assert "mIoU over" not in text
    assert "Confusion matrix" not in text
    assert "0.71 → 0.83" in text
    changed = np.mean([(s.before != s.after).mean() for s in bare.target_samples])
    assert f"{100 * changed:.0f} % of the pixels changed class, over 2 samples" in text
    share_of_sky = np.mean([(s.before == 0).mean() for s in bare.target_samples])
    assert f"{100 * share_of_sky:.1f}" in text


def labels_of(page: Page) -> set[str | None]:
    """The `for` of every switch of the page."""
    return {a["for"] for tag, a in page.tags if tag == "label"}


def images_of(page: Page) -> set[str]:
    """The ids of the pictures that the page embeds for the first target image, without their "t0-"."""
    ids = (a.get("id") or "" for tag, a in page.tags if tag == "image")
    return {name.removeprefix("t0-") for name in ids if name.startswith("t0-")}


def test_with_no_model_from_before_nothing_is_compared(report):
    page = Page(render(without_before(report)))
    text = page.text.replace("\u00a0", " ")
    sample = report.target_samples[0]
    known = sample.truth != 255
    assert "Predictions on camera" in text
    assert f"{100 * np.mean((sample.after != sample.truth)[known]):.0f} % wrong" in text
    assert images_of(page) == {"photo", "truth", "after", "after-mark"}
    assert labels_of(page) == {"view-overlay", "view-flat", "view-marks"}
    assert not any(tag == "input" and a["type"] == "range" for tag, a in page.tags)
    assert not re.search(r"before|adapt(ed|ation)\b|→", text, re.I)
    assert not any(re.search(r"before|gain|wipe", a.get("class") or "") for _, a in page.tags)
    widths = [float(w) for w in re.findall(r'class="bar after" style="width:([\d.]+)%"', render(report))]
    assert widths == pytest.approx([100 * v for v in report.after.iou])


def test_with_neither_truth_nor_a_model_from_before_only_shares_are_reported(report):
    bare = without_truth(without_before(report))
    page = Page(render(bare))
    text = page.text.replace("\u00a0", " ")
    assert "Predictions on camera" in text
    assert "There are no labels for camera, so there is no score." in text
    assert images_of(page) == {"photo", "after"}
    assert labels_of(page) == {"view-overlay", "view-flat"}
    assert not re.search(r"before|changed|wrong|adapt(ed|ation)\b|→|counted without truth", text, re.I)
    shares = [np.mean([(s.after == k).mean() for s in bare.target_samples]) for k in range(4)]
    widths = [float(w) for w in re.findall(r'class="bar [^"]*" style="width:([\d.]+)%"', render(bare))]
    assert widths == pytest.approx([100 * s / max(shares) for s in shares])
    told = dataclasses.replace(bare, label_free=[("classes found", "3 of 4")])
    assert "scores without labels are below" in Page(render(told)).text


def test_pictures_from_before_are_shown_though_it_was_not_scored(report):
    page = Page(render(dataclasses.replace(report, before=None)))
    assert {"view-marks", "layout-wipe"} <= labels_of(page)
    assert {"before", "before-mark", "after"} <= images_of(page)
    assert "After adaptation. Each row" in page.text
    assert not any("gain" in (a.get("class") or "") for _, a in page.tags)


def test_domains_that_are_named_by_their_role_are_not_named_twice(report):
    plain = dataclasses.replace(report, target=DomainFacts("target", "data/camera", 20))
    texts = Page(render(plain)).texts
    assert "20 images data/camera" in texts
    assert "sim, 40 images data/sim" in texts


def test_scores_and_pictures_name_the_set_that_they_are_of(report):
    page = render(dataclasses.replace(report, seen_on="camera/val"))
    assert "on camera/val:" in page
    assert "camera/val, before and after" in page


def test_a_stage_that_was_found_trained_is_not_said_to_take_no_time(report):
    timing = [StageTiming("1-source-only", 0.0, 300), StageTiming("2-adapt", 54.0, 300)]
    text = Page(render(dataclasses.replace(report, timing=timing))).text.replace("\u00a0", " ")
    assert "1. source-only copied from another run, 300 steps" in text
    assert "2. adapt 54 s, 300 steps" in text


def test_a_loss_is_shown_as_one(report):
    worse = dataclasses.replace(report, before=report.after, after=report.before)
    page = Page(render(worse))
    assert "(−50.0)" in worse.headline
    assert any("gain worse" in (a.get("class") or "") for _, a in page.tags)


def test_least_report_is_a_page(space):
    least = AdaptationReport("t", "r", DomainFacts("a", "p"), DomainFacts("b", "q"), space)
    assert "there is no score" in Page(render(least)).text


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


def test_writing_is_atomic(report, tmp_path, monkeypatch):
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
    first, second = report.target_samples
    with pytest.raises(ValueError, match="either all target samples have a map from before"):
        render(dataclasses.replace(report, target_samples=[first, dataclasses.replace(second, before=None)]))
    small = dataclasses.replace(report.target_samples[0], after=np.zeros((2, 2), np.uint8))
    with pytest.raises(ValueError, match=r"sample 'frame 0': after is \[2, 2\]"):
        render(dataclasses.replace(report, target_samples=[small]))

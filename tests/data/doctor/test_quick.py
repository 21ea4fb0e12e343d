"""The quick check before training."""

from pathlib import Path

import pytest
from PIL import Image

from stylebridge.data.doctor import quick_check
from stylebridge.data.doctor.quick import SAMPLE
from stylebridge.data.domain import Domain
from support.sick import save, scene, write_sick


def pairs(root: Path) -> Domain:
    labels = sorted((root / "labels").iterdir())
    by_stem = {f.stem: f for f in sorted((root / "images").iterdir()) if f.suffix != ".txt"}
    labels = [label for label in labels if label.stem in by_stem]
    return Domain("source", root, [by_stem[label.stem] for label in labels], labels, None)


def test_what_headers_tell_is_found(tmp_path: Path):
    findings = {f.kind: f for f in quick_check(pairs(write_sick(tmp_path).train))}
    assert {kind: f.count for kind, f in findings.items()} == {
        "unreadable-image": 2,  # a file that is cut off has a whole header
        "jpeg-label": 1,
        "label-size": 3,
        "exif-rotation-labelled": 3,
        "cmyk": 1,
        "alpha": 2,
        "sixteen-bit-image": 1,
        "sixteen-bit-label": 2,
        "sizes": 2,
    }
    assert findings["cmyk"].what == "source: 1 image is CMYK, of 34."


def test_files_in_order_give_no_finding(tmp_path: Path):
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    save(tmp_path, "a", *scene(1))
    assert quick_check(pairs(tmp_path)) == []
    assert quick_check(Domain("empty", tmp_path, [], None, None)) == []


def test_a_large_set_is_sampled_and_only_headers_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    Image.new("CMYK", (70, 70)).save(tmp_path / "a.jpg")
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    [finding] = quick_check(Domain("target", tmp_path, [tmp_path / "a.jpg"] * 10_000, None, None))
    assert finding.count <= SAMPLE
    assert f"of {finding.count} checked (10,000 in all)" in finding.what

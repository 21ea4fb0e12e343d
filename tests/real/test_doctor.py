"""The doctor on frames of a drive: consecutive frames are not copies, and real copies are found."""

from pathlib import Path

import pytest
from PIL import Image

from stylebridge.data.doctor import duplicate_findings, examine, list_set, read_facts

DAY = Path(__file__).parents[3] / "shared" / "data" / "camvid" / "day"


@pytest.mark.skipif(not DAY.is_dir(), reason="the frames are not here")
def test_frames_of_a_drive_are_not_copies_of_each_other(tmp_path: Path) -> None:
    frames = sorted((DAY / "images").iterdir())
    for i, frame in enumerate(frames):
        (tmp_path / frame.name).symlink_to(frame)
        if i % 8 == 0:
            with Image.open(frame) as image:
                scaled = image.resize((300, 225)) if i % 16 else image
                scaled.convert("RGB").save(tmp_path / f"zz-{frame.name}", quality=40)
    listed = list_set(tmp_path, "frames")
    [finding] = duplicate_findings([examine(listed, read_facts(listed.pairs), None)])
    assert finding.kind == "near-duplicates"
    assert finding.count == len(frames[::8])
    for line in finding.examples[:-1]:
        copy, _, original = line.partition(" = ")
        assert copy == f"zz-{original}"

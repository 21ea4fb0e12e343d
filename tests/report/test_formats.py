import pytest

from stylebridge.report.formats import breakable, count, duration, gain, loss_title, share, stage_title


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [(0.412, 0.63, "+21.8"), (0.63, 0.412, "−21.8"), (0.5, 0.5, "±0.0"), (0.41249, 0.41251, "+0.1")],
)
def test_gain_is_the_difference_of_the_numbers_shown(before, after, text):
    assert gain(before, after) == text


def test_numbers_for_the_eye():
    assert [count(n) for n in (812, 45_300, 622_998)] == ["812", "45,300", "623\u00a0k"]
    assert [count(n) for n in (999_600, 10_700_000, 999_960_000)] == [
        "1.0\u00a0M",
        "10.7\u00a0M",
        "1.0\u00a0G",
    ]
    assert [share(r) for r in (0, 0.31, 0.0241, 0.0007)] == ["0", "31", "2.4", "0.07"]
    assert [duration(s) for s in (42, 210, 7560)] == ["42\u00a0s", "3.5\u00a0min", "2.1\u00a0h"]


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("1-source-only", "1. source-only"),
        ("12-adapt · discriminator", "12. adapt · discriminator"),
        ("source-only", "source-only"),
        ("training", "training"),
        ("1-", "1-"),
    ],
)
def test_a_numbered_stage_reads_as_one(name, title):
    assert stage_title(name) == title


def test_a_loss_s_key_is_spelt_out():
    assert loss_title("segmenter/cross_entropy") == "segmenter: cross entropy"
    assert loss_title("segmentation") == "segmentation"


def test_paths_break_between_their_parts_and_options_stay_whole():
    text = "run --label-space a/b_c -x /d <i>&amp; 2/ _"
    html = breakable(text)
    assert html == (
        'run <span class="whole">--label-space</span> a/<wbr>b_<wbr>c <span class="whole">-x</span> /d '
        "&lt;i&gt;&amp;amp; 2/ _"
    )
    assert breakable("well-known --- a--b") == "well-known --- a--b"
    assert breakable("") == ""

"""The toy world: exact geometry, exact labels, and no randomness except the seed."""

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stylebridge.data.toy import CLASSES, PALETTE, render, write_toy
from stylebridge.data.toy.camera import PinholeCamera
from stylebridge.data.toy.noise import fractal, look_up_smoothly
from stylebridge.data.toy.raster import cast
from stylebridge.data.toy.road import KERB_HEIGHT, Road
from stylebridge.data.toy.scene import build_scene
from stylebridge.data.toy.surfaces import UP, Frame, Label, Material, Scene, Shape
from stylebridge.errors import DataError, UserError

SMALL = (96, 72)
LEVEL = PinholeCamera(x=0.0, height=1.5, yaw=0.0, pitch=0.0, field_of_view=1.0)
TILTED = PinholeCamera(x=1.2, height=1.7, yaw=0.13, pitch=0.07, field_of_view=1.1)
ROAD = Road(4.0, 0.0, 3.0, 0.0, 60.0, 4.0, zebra=False, solid_line=False)


def digest(seed: int, look: str) -> str:
    image, label = render(seed, look, SMALL)  # pyright: ignore[reportArgumentType]
    return hashlib.sha256(image.tobytes() + label.tobytes()).hexdigest()


# --- the projection


def rotation_oracle(camera: PinholeCamera) -> np.ndarray:
    """World to camera as a product of elementary rotations: first the yaw about Y, then the pitch about X."""
    c, s = np.cos(camera.yaw), np.sin(camera.yaw)
    yaw = np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]])
    c, s = np.cos(camera.pitch), np.sin(camera.pitch)
    pitch = np.array([[1, 0, 0], [0, c, s], [0, -s, c]])
    return pitch @ yaw


def test_projection_is_that_of_the_pinhole_matrix():
    points = np.random.default_rng(0).uniform([-8, 0, 3], [8, 9, 60], (50, 3))
    width, height = 240, 180
    focal = width / 2 / np.tan(TILTED.field_of_view / 2)
    intrinsic = np.array([[focal, 0, width / 2], [0, -focal, height / 2], [0, 0, 1]])
    seen = (intrinsic @ rotation_oracle(TILTED) @ (points - [1.2, 1.7, 0]).T).T
    expected = np.column_stack([seen[:, :2] / seen[:, 2:], seen[:, 2]])
    np.testing.assert_allclose(TILTED.project(points, (width, height)), expected, rtol=1e-12)


def test_twice_as_far_is_half_as_tall():
    def pixels_tall(z: float) -> float:
        rows = LEVEL.project([[0.5, 0.0, z], [0.5, 1.8, z]], (240, 180))[:, 1]
        return float(rows[0] - rows[1])

    assert pixels_tall(24.0) == pytest.approx(pixels_tall(12.0) / 2, rel=1e-12)
    assert pixels_tall(12.0) == pytest.approx(1.8 * LEVEL.focal(240) / 12.0, rel=1e-12)


def test_rays_go_through_what_projects_onto_their_pixels():
    xs, ys = TILTED.ray_grid((64, 48))
    right, up, forward = TILTED.axes
    point = TILTED.position + 7.0 * (forward + float(xs[50]) * right + float(ys[9]) * up)
    np.testing.assert_allclose(TILTED.project(point, (64, 48)), [50.5, 9.5, 7.0], rtol=1e-6)


# --- the ray caster


@pytest.mark.parametrize("camera", [LEVEL, TILTED], ids=["level", "tilted"])
def test_ground_is_hit_where_the_ray_meets_the_plane(camera: PinholeCamera):
    hits = cast(Scene(0, camera, ROAD), (120, 90))
    xs, ys = camera.ray_grid((120, 90))
    right, up, forward = camera.axes
    for row, column in ((89, 60), (75, 20), (60, 110), (50, 70)):
        ray = forward + float(xs[column]) * right + float(ys[row]) * up
        level = KERB_HEIGHT if hits.surface[row, column] == 2 else 0.0
        depth = (camera.height - level) / -ray[1]
        place = camera.position + depth * ray
        assert 1 / hits.inverse_depth[row, column] == pytest.approx(depth, rel=1e-4)
        assert hits.u[row, column] == pytest.approx(place[0], abs=0.02)
        on_road = abs(place[0]) < 4.0 or abs(place[2] - 60) < 4.0
        assert (hits.label[row, column] == Label.ROAD) == on_road


def test_a_patch_covers_its_projected_rectangle_and_hides_what_is_behind():
    scene = Scene(0, TILTED, ROAD)
    for z, label in ((20.0, Label.BUILDING), (10.0, Label.SIGN)):
        scene.patch(
            np.array([-1.0, 0.5, z]), np.array([1.0, 0, 0]), UP, (3.0, 2.5), label, Material.PLAIN, (1, 1, 1)
        )
    hits = cast(scene, (240, 180))
    corners = TILTED.project([[-1, 0.5, 10], [2, 0.5, 10], [2, 3, 10], [-1, 3, 10]], (240, 180))[:, :2]
    # A pixel is inside the convex outline if it lies on one side of all four edges.
    columns, rows = np.meshgrid(np.arange(240) + 0.5, np.arange(180) + 0.5)
    edges = np.roll(corners, -1, 0) - corners
    sides = [e[0] * (rows - c[1]) - e[1] * (columns - c[0]) for c, e in zip(corners, edges, strict=True)]
    inside = np.all(np.array(sides) < 0, axis=0)
    wrong = (hits.label == Label.SIGN) != inside
    assert inside.sum() > 1000
    assert wrong.sum() <= 4  # pixels whose middle is on the outline, to single precision


def test_patches_are_seen_from_their_own_side_only():
    for across, expected in ((1.0, True), (-1.0, False)):
        scene = Scene(0, LEVEL, ROAD)
        scene.patch(
            np.array([-across, 1.0, 8.0]),
            np.array([across, 0, 0]),
            UP,
            (2.0, 2.0),
            Label.CAR,
            Material.PLAIN,
            (1, 1, 1),
        )
        assert (cast(scene, (64, 48)).label == Label.CAR).any() == expected


def test_a_capsule_is_as_wide_as_its_diameter_at_its_distance():
    scene = Scene(0, LEVEL, ROAD)
    scene.capsule(
        np.array([0, 0.1, 9.0]), np.array([0, 3.0, 9.0]), (0.5, 0.5), Label.POLE, Material.PLAIN, (1, 1, 1)
    )
    hits = cast(scene, (240, 180))
    assert (hits.label[90] == Label.POLE).sum() == pytest.approx(LEVEL.focal(240) / 9.0, abs=1)


def test_a_railing_is_labelled_whole_but_seen_through():
    scene = Scene(0, LEVEL, ROAD)
    scene.patch(
        np.array([-1.5, 0, 6.0]),
        np.array([1.0, 0, 0]),
        UP,
        (3.0, 1.2),
        Label.FENCE,
        Material.PLAIN,
        (0, 0, 0),
        shape=Shape.RAILING,
    )
    hits = cast(scene, (240, 180))
    fence = hits.label == Label.FENCE
    bars = hits.surface[fence] == 4
    assert 0.2 < bars.mean() < 0.8


def test_places_are_claimed_once():
    scene = Scene(0, LEVEL, ROAD)
    assert scene.claim(Frame(0, 10), 0.5, 1.5)
    assert not scene.claim(Frame(0.3, 11.5), 0.5)
    assert scene.claim(Frame(2.0, 10), 0.5)


def test_smooth_noise_meets_the_table_at_whole_places():
    tile = fractal()
    x, y = np.arange(300.0, 340.0), np.arange(500.0, 540.0)
    np.testing.assert_array_equal(
        look_up_smoothly(tile, x, y), tile[y.astype(int) % 256, x.astype(int) % 256]
    )


# --- whole pictures


@pytest.mark.slow
def test_a_picture_is_a_function_of_its_seed():
    again = f"""
import hashlib
from stylebridge.data.toy import render
for look in ("sim", "camera"):
    image, label = render(5, look, {SMALL})
    print(hashlib.sha256(image.tobytes() + label.tobytes()).hexdigest())
"""
    other = subprocess.run([sys.executable, "-c", again], capture_output=True, text=True, check=True)
    for look, elsewhere in zip(("sim", "camera"), other.stdout.split(), strict=True):
        assert digest(5, look) == digest(5, look) == elsewhere
        assert digest(6, look) != elsewhere


def test_both_looks_show_the_same_street():
    for seed in range(3):
        (sim, first), (camera, second) = render(seed, "sim", SMALL), render(seed, "camera", SMALL)
        np.testing.assert_array_equal(first, second)
        assert np.abs(sim.astype(int) - camera).mean() > 15


def test_every_class_occurs():
    counts = sum(np.bincount(render(seed, "sim", (160, 120))[1].ravel(), minlength=11) for seed in range(6))
    assert len(counts) == len(CLASSES) == len(PALETTE) == 11
    assert (counts > 60).all(), dict(zip(CLASSES, counts, strict=True))


def test_sky_is_above_the_horizon_and_ground_below():
    for seed in range(4):
        label = render(seed, "sim", (160, 120))[1]
        camera = build_scene(seed).camera
        horizon = 60 - camera.focal(160) * np.tan(camera.pitch)
        rows = np.arange(120) + 0.5
        assert not (label[rows > horizon + 1] == Label.SKY).any()
        assert not np.isin(label[rows < horizon - 1], [Label.ROAD, Label.PAVEMENT]).any()
        assert (label[-12:] == Label.ROAD).mean() > 0.4


def test_the_camera_is_noisier_and_more_varied_than_the_simulator():
    def statistics(look) -> tuple[float, float]:
        images = np.stack([render(seed, look, SMALL)[0] for seed in range(12)]).astype(float)
        grain = np.median(np.abs(images[:, :, 2:] - 2 * images[:, :, 1:-1] + images[:, :, :-2]))
        return float(grain), float(images.mean((1, 2)).std(0).mean())

    (sim_grain, sim_spread), (camera_grain, camera_spread) = statistics("sim"), statistics("camera")
    assert camera_grain > 2 * sim_grain + 2
    assert camera_spread > 1.5 * sim_spread


@pytest.mark.parametrize("size", [(33, 47), (160, 120), (64, 32)])
@pytest.mark.parametrize("look", ["sim", "camera"])
def test_sizes_are_honoured(look, size: tuple[int, int]):
    image, label = render(1, look, size)
    assert image.shape == (size[1], size[0], 3)
    assert label.shape == (size[1], size[0])
    assert image.dtype == label.dtype == np.uint8
    assert image.flags.c_contiguous


def test_a_larger_picture_shows_the_same_street():
    small, large = render(2, "sim", (80, 60))[1], render(2, "sim", (160, 120))[1]
    assert (large[1::2, 1::2] == small).mean() > 0.9


@pytest.mark.parametrize(
    ("seed", "look", "size", "word"),
    [
        (0, "night", (96, 72), "night"),
        (-1, "sim", (96, 72), "-1"),
        (0, "sim", (8, 72), "8"),
        (0, "sim", (96, 5000), "5000"),
        (0, "camera", (96,), "96"),
    ],
)
def test_a_wrong_style_option_is_named(seed, look, size, word: str):
    with pytest.raises(UserError, match=word):
        render(seed, look, size)


# --- folders


def test_a_folder_holds_what_render_gives(tmp_path: Path):
    done: list[int] = []
    write_toy(tmp_path, "camera", 2, first_seed=41, size=SMALL, progress=done.append)
    assert done == [1, 2]
    for part in ("images", "labels"):
        assert sorted(p.name for p in (tmp_path / part).iterdir()) == ["000041.png", "000042.png"]
    image, label = render(42, "camera", SMALL)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "images/000042.png")), image)
    stored = Image.open(tmp_path / "labels/000042.png")
    assert stored.mode == "P"
    np.testing.assert_array_equal(np.asarray(stored), label)
    np.testing.assert_array_equal(np.asarray(stored.convert("RGB")), np.array(PALETTE, np.uint8)[label])


def test_labels_can_be_left_out(tmp_path: Path):
    write_toy(tmp_path / "new" / "target", "sim", 1, size=SMALL, labels=False)
    assert [p.name for p in (tmp_path / "new" / "target").iterdir()] == ["images"]


@pytest.mark.slow
def test_worker_processes_write_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("stylebridge.data.toy.drawing._WORTH_WORKERS", 1)
    write_toy(tmp_path, "sim", 2, first_seed=7, size=SMALL, workers=2)
    for seed in (7, 8):
        stored = Image.open(tmp_path / "images" / f"{seed:06d}.png")
        np.testing.assert_array_equal(np.asarray(stored), render(seed, "sim", SMALL)[0])


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match="file"):
        write_toy(tmp_path / "file", "sim", 1, size=SMALL)
    with pytest.raises(UserError, match="0"):
        write_toy(tmp_path / "other", "sim", 0)

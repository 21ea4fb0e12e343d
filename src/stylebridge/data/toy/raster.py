"""Ray casting of a scene: exact ray-plane intersections, vectorised over the window of each surface.

The ray through a pixel is (x, y, 1) in camera coordinates. On a plane the inverse depth q is affine in (x, y), and so
are u·q and v·q for the plane coordinates (u, v): three affine maps and a division give a patch exactly.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stylebridge.data.toy.noise import Floats, fractal, look_up
from stylebridge.data.toy.road import KERB_HEIGHT
from stylebridge.data.toy.surfaces import GROUND_IDS, Label, Scene, Shape

_NEAR = 0.3  # metres; nearer surfaces are not drawn
_THINNEST = 0.25  # radius in pixels; thinner bars are not drawn
_CORNERS = np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
_SEE_THROUGH = (Shape.RING, Shape.RAILING)


@dataclass
class Hits:
    """The hits of the rays, each array [H, W].

    Attributes:
        inverse_depth: 1 / metres along the optical axis; 0 in the sky.
        label: class index.
        surface: 0 sky, 1 road, 2 pavement, 3 kerb, then the scene's patches, then its capsules.
        u, v: coordinates on the surface, in metres. Ground: metres to the right of the road's middle, and Z.
            Capsules: -1..1 across, 0..1 along.
    """

    inverse_depth: Floats
    label: NDArray[np.uint8]
    surface: NDArray[np.int16]
    u: Floats
    v: Floats

    def write(self, flat: NDArray, q: Floats, u: Floats, v: Floats, surface: int) -> None:
        """Write a surface to ``flat`` positions [n] of the image. ``q``, ``u``, ``v``: one value for each."""
        self.inverse_depth.reshape(-1)[flat] = q
        self.u.reshape(-1)[flat] = u
        self.v.reshape(-1)[flat] = v
        self.surface.reshape(-1)[flat] = surface


def cast(scene: Scene, size: tuple[int, int]) -> Hits:
    """Cast a ray through the centre of each pixel of an image of ``size`` (width, height)."""
    xs, ys = scene.camera.ray_grid(size)
    hits = _cast_ground(scene, xs, ys)
    patches = list(_visible_patches(scene, size))
    for patch in patches:
        if patch.shape not in _SEE_THROUGH:
            _draw_patch(hits, xs, ys, patch)
    _cast_capsules(scene, hits, xs, ys, size)
    # Surfaces behind a railing are drawn first, because the railing's label covers the gaps too.
    for patch in patches:
        if patch.shape in _SEE_THROUGH:
            _draw_patch(hits, xs, ys, patch)
    return hits


def _cast_ground(scene: Scene, xs: Floats, ys: Floats) -> Hits:
    """Sky, carriageway, kerb face and pavement: a step in the ground, with exact hits."""
    camera, road = scene.camera, scene.road
    right, up, forward = camera.axes.astype(np.float32)
    height = np.float32(camera.height)
    shape = (len(ys), len(xs))
    fall = -(forward[1] + ys * up[1])  # slope of the rays: the camera does not roll, so one value per row
    below = int(np.searchsorted(fall, 1e-4))  # rows from here on point downwards
    hits = Hits(
        np.zeros(shape, np.float32),
        np.zeros(shape, np.uint8),
        np.zeros(shape, np.int16),
        np.broadcast_to(xs, shape).copy(),
        np.broadcast_to(ys[:, None], shape).copy(),
    )
    if below == shape[0]:
        return hits
    fall = fall[below:, None]
    dx = forward[0] + xs[None] * right[0] + ys[below:, None] * up[0]
    dz = forward[2] + xs[None] * right[2] + ys[below:, None] * up[2]

    def plane(y: float) -> tuple[Floats, Floats]:
        depth = (height - np.float32(y)) / fall
        x, z = np.float32(camera.x) + depth * dx, depth * dz
        return x - np.float32(0.5 * road.curvature) * z * z, z

    high_u, high_v = plane(KERB_HEIGHT)
    low_u, low_v = plane(0.0)
    on_pavement = ~road.is_carriageway(high_u, high_v)
    on_road = ~on_pavement & road.is_carriageway(low_u, low_v)
    hits.u[below:] = np.where(on_pavement, high_u, low_u)
    hits.v[below:] = np.where(on_pavement, high_v, low_v)
    hits.inverse_depth[below:] = fall / (
        height - np.where(on_pavement, np.float32(KERB_HEIGHT), np.float32(0))
    )
    hits.surface[below:] = np.where(on_pavement, 2, np.where(on_road, 1, 3))
    hits.label[below:] = np.where(on_road, Label.ROAD, Label.PAVEMENT)
    return hits


def _windows(points: NDArray, valid: NDArray, focal: float, size: tuple[int, int]) -> NDArray[np.int64]:
    """Pixel windows [N, 4] (left, top, right, bottom) of each surface's ``valid`` camera points [N, P, 3]."""
    depth = np.where(valid, points[..., 2], 1.0)
    columns = size[0] / 2 + focal * points[..., 0] / depth
    rows = size[1] / 2 - focal * points[..., 1] / depth

    def bounds(values: NDArray, limit: int) -> tuple[NDArray, NDArray]:
        low = np.where(valid, values, np.inf).min(1)
        high = np.where(valid, values, -np.inf).max(1)
        return np.clip(np.floor(low - 0.5), 0, limit), np.clip(np.ceil(high + 0.5), 0, limit)

    left, right = bounds(columns, size[0])
    top, bottom = bounds(rows, size[1])
    return np.stack([left, top, right, bottom], 1).astype(np.int64)


def _patch_windows(origin, across, upwards, sizes, focal, size) -> NDArray[np.int64]:
    """Windows [N, 4] of rectangles, clipped at the near plane."""
    corners = (
        origin[:, None]
        + (_CORNERS[None, :, :1] * sizes[:, None, :1]) * across[:, None]
        + (_CORNERS[None, :, 1:] * sizes[:, None, 1:]) * upwards[:, None]
    )
    following = np.roll(corners, -1, axis=1)
    step = following[..., 2] - corners[..., 2]
    crosses = (corners[..., 2] < _NEAR) != (following[..., 2] < _NEAR)
    share = (_NEAR - corners[..., 2]) / np.where(crosses, step, 1.0)
    cuts = corners + share[..., None] * (following - corners)
    points = np.concatenate([corners, cuts], 1)
    return _windows(points, np.concatenate([corners[..., 2] >= _NEAR, crosses], 1), focal, size)


@dataclass(frozen=True)
class _Patch:
    """A patch in camera view: its window, and the coefficients (of x, y and 1) of q, u·q and v·q."""

    window: tuple[int, int, int, int]
    maps: NDArray
    extent: tuple[float, float]
    shape: Shape
    parameters: tuple[float, ...]
    label: int
    surface: int


def _visible_patches(scene: Scene, size: tuple[int, int]) -> Iterator[_Patch]:
    """The patches in view that face the camera, the nearest first."""
    if not scene.patches:
        return
    axes = scene.camera.axes
    places, acrosses, upwardses, sizes, labels, _, _, parameters, shapes, two_sided = zip(
        *scene.patches, strict=True
    )
    origin = scene.camera.to_camera(np.array(places))
    across, upwards = np.array(acrosses) @ axes.T, np.array(upwardses) @ axes.T
    normal = np.cross(across, upwards)
    distance = (normal * origin).sum(1)
    windows = _patch_windows(origin, across, upwards, np.array(sizes), scene.camera.focal(size[0]), size)
    seen = (windows[:, 2] > windows[:, 0]) & (windows[:, 3] > windows[:, 1])
    seen &= np.where(two_sided, np.abs(distance) > 1e-6, distance > 1e-6)
    q_map = normal / np.where(seen, distance, 1.0)[:, None]
    u_map = across - (across * origin).sum(1)[:, None] * q_map
    v_map = upwards - (upwards * origin).sum(1)[:, None] * q_map
    maps = np.stack([q_map, u_map, v_map], 1).astype(np.float32)
    order = np.argsort(origin[:, 2], kind="stable")
    boxes = windows.tolist()
    for i in order[seen[order]].tolist():
        yield _Patch(boxes[i], maps[i], sizes[i], shapes[i], parameters[i], labels[i], GROUND_IDS + i)


def _draw_patch(hits: Hits, xs: Floats, ys: Floats, patch: _Patch) -> None:
    left, top, right, bottom = patch.window
    x, y = xs[left:right], ys[top:bottom, None]
    (q_x, q_y, q_0), (u_x, u_y, u_0), (v_x, v_y, v_0) = patch.maps
    wide, tall = np.float32(patch.extent[0]), np.float32(patch.extent[1])
    q = q_x * x + (q_y * y + q_0)
    u = u_x * x + (u_y * y + u_0)
    v = v_x * x + (v_y * y + v_0)
    inside = q > hits.inverse_depth[top:bottom, left:right]
    inside &= u >= 0
    inside &= v >= 0
    inside &= u <= wide * q
    inside &= v <= tall * q
    chosen = np.flatnonzero(inside)
    if not len(chosen):
        return
    q = q.reshape(-1)[chosen]
    u = u.reshape(-1)[chosen] / q
    v = v.reshape(-1)[chosen] / q
    if patch.shape != Shape.RECTANGLE:
        keep = _outline(patch, u / wide, v / tall, u, v)
        chosen, q, u, v = chosen[keep], q[keep], u[keep], v[keep]
    columns = right - left
    chosen = (chosen // columns + top) * len(xs) + chosen % columns + left
    hits.label.reshape(-1)[chosen] = patch.label
    if patch.shape in _SEE_THROUGH:
        keep = _bars(patch, u / wide, v / tall, u, v)
        chosen, q, u, v = chosen[keep], q[keep], u[keep], v[keep]
    hits.write(chosen, q, u, v, patch.surface)


def _outline(patch: _Patch, s: Floats, t: Floats, u: Floats, v: Floats) -> NDArray[np.bool_]:
    """Which points are inside the outline. ``s``, ``t``: 0..1 over the rectangle; ``u``, ``v``: metres."""
    if patch.shape == Shape.TRIANGLE:
        return np.abs(s - 0.5) < 0.5 * (1 - t)
    if patch.shape == Shape.TRAPEZOID:
        return (u > patch.parameters[0] * t) & (u < patch.extent[0] - patch.parameters[1] * t)
    if patch.shape == Shape.OCTAGON:
        return np.abs(s - 0.5) + np.abs(t - 0.5) < 0.707
    if patch.shape == Shape.RAILING:
        return np.ones(len(s), bool)
    radius = (s - 0.5) ** 2 + (t - 0.5) ** 2
    if patch.shape == Shape.LEAVES:
        shift = np.float32(patch.parameters[0])
        edge = 0.36 + 0.17 * look_up(fractal(), u * 34 + shift, v * 34 + shift * 3)
        return radius < edge * edge
    return radius < 0.25


def _bars(patch: _Patch, s: Floats, t: Floats, u: Floats, v: Floats) -> NDArray[np.bool_]:
    """Which points of a see-through patch are solid."""
    if patch.shape == Shape.RING:
        radius = (s - 0.5) ** 2 + (t - 0.5) ** 2
        return np.logical_or(radius > 0.165, radius < 0.006)
    rail = (v > patch.extent[1] - 0.09) | (np.abs(v - 0.16) < 0.045)
    return rail | (np.mod(u, 0.16) < 0.05) | (np.mod(u, 2.4) < 0.12)


def _cast_capsules(scene: Scene, hits: Hits, xs: Floats, ys: Floats, size: tuple[int, int]) -> None:
    """Draw round bars: inverse depth, and thus the radius in pixels, is linear between the projected ends."""
    if not scene.capsules:
        return
    starts, ends, radii, labels, _, _ = zip(*scene.capsules, strict=True)
    ends_3d = scene.camera.to_camera(np.stack([np.array(starts), np.array(ends)], 1))  # [N, 2, 3]
    radius = np.array(radii)
    in_front: NDArray[np.bool_] = np.all(ends_3d[..., 2] - radius > _NEAR, axis=1)
    inverse = 1 / np.where(in_front[:, None], ends_3d[..., 2], 1.0)
    flat = ends_3d[..., :2] * inverse[..., None]
    spread = radius * inverse
    margins = np.array([[-1, -1], [1, 1]])
    boxes = (
        ends_3d[:, :, None] + np.concatenate([margins, [[0], [0]]], 1)[None, None] * radius[:, :, None, None]
    )
    count = len(starts)
    windows = _windows(
        boxes.reshape(count, 4, 3),
        np.broadcast_to(in_front[:, None], (count, 4)),
        scene.camera.focal(size[0]),
        size,
    )
    seen = in_front & (windows[:, 2] > windows[:, 0]) & (windows[:, 3] > windows[:, 1])
    seen &= spread.max(1) * scene.camera.focal(size[0]) > _THINNEST
    data = np.concatenate([flat.reshape(count, 4), inverse, spread], 1).astype(np.float32)
    first = GROUND_IDS + len(scene.patches)
    for i in np.flatnonzero(seen).tolist():
        _draw_capsule(hits, xs, ys, windows[i], data[i], labels[i], first + i)


def _draw_capsule(hits: Hits, xs: Floats, ys: Floats, window, data, label: int, surface: int) -> None:
    left, top, right, bottom = window.tolist()
    area = (slice(top, bottom), slice(left, right))
    a_x, a_y, b_x, b_y, q_a, q_b, r_a, r_b = data
    d_x, d_y = b_x - a_x, b_y - a_y
    squared = max(float(d_x * d_x + d_y * d_y), 1e-12)
    x, y = xs[left:right] - a_x, ys[top:bottom, None] - a_y
    along = np.clip((x * d_x + y * d_y) / np.float32(squared), 0, 1)
    off_x, off_y = x - along * d_x, y - along * d_y
    reach = r_a + along * (r_b - r_a)
    q = q_a + along * (q_b - q_a)
    inside = (off_x * off_x + off_y * off_y < reach * reach) & (q > hits.inverse_depth[area])
    chosen = np.flatnonzero(inside)
    if not len(chosen):
        return
    across = (off_x / reach).reshape(-1)[chosen]
    q, along = q.reshape(-1)[chosen], along.reshape(-1)[chosen]
    columns = right - left
    chosen = (chosen // columns + top) * len(xs) + chosen % columns + left
    hits.label.reshape(-1)[chosen] = label
    hits.write(chosen, q, across, along, surface)

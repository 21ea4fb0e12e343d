"""The pinhole camera of the toy world, on a car, looking along the street."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class PinholeCamera:
    """A camera above the road plane Y = 0. World axes in metres: X right, Y up, Z along the street.

    Attributes:
        x, height: position (x, height, 0).
        yaw: radians, positive turns right.
        pitch: radians, positive looks down.
        field_of_view: horizontal opening angle in radians.
    """

    x: float
    height: float
    yaw: float
    pitch: float
    field_of_view: float

    @property
    def position(self) -> NDArray[np.float64]:
        return np.array([self.x, self.height, 0.0])

    @property
    def axes(self) -> NDArray[np.float64]:
        """[3, 3]: the camera's right, up and forward directions, one per row, in world coordinates."""
        sin_yaw, cos_yaw = np.sin(self.yaw), np.cos(self.yaw)
        sin_pitch, cos_pitch = np.sin(self.pitch), np.cos(self.pitch)
        right = [cos_yaw, 0.0, -sin_yaw]
        up = [sin_yaw * sin_pitch, cos_pitch, cos_yaw * sin_pitch]
        forward = [sin_yaw * cos_pitch, -sin_pitch, cos_yaw * cos_pitch]
        return np.array([right, up, forward])

    def focal(self, width: int) -> float:
        """Focal length in pixels of an image ``width`` pixels wide."""
        return width / 2 / float(np.tan(self.field_of_view / 2))

    def to_camera(self, points: ArrayLike) -> NDArray[np.float64]:
        """World points [..., 3] as (right, up, depth) in metres [..., 3]."""
        return (np.asarray(points, np.float64) - self.position) @ self.axes.T

    def project(self, points: ArrayLike, size: tuple[int, int]) -> NDArray[np.float64]:
        """World points [..., 3] as (column, row, depth) [..., 3] in an image of ``size`` (width, height).

        Columns and rows are in pixels from the upper left corner, so that the centre of the first pixel is (0.5, 0.5).
        The depth is in metres along the optical axis; column and row are only valid if it is positive.
        """
        right, up, depth = np.moveaxis(self.to_camera(points), -1, 0)
        focal = self.focal(size[0])
        return np.stack(
            [size[0] / 2 + focal * right / depth, size[1] / 2 - focal * up / depth, depth], axis=-1
        )

    def ray_grid(self, size: tuple[int, int]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Rays through the pixel centres: x [W] to the right and y [H] upwards, for depth 1."""
        width, height = size
        focal = self.focal(width)
        columns = (np.arange(width) + 0.5 - width / 2) / focal
        rows = (height / 2 - np.arange(height) - 0.5) / focal
        return columns.astype(np.float32), rows.astype(np.float32)

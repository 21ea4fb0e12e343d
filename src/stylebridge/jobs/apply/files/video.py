"""Read and write videos frame by frame, with only a few frames in memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np
from av.error import FFmpegError

from stylebridge.atomic import OTHER_OUT, written_file
from stylebridge.errors import DataError, RunError, one_line

#: Encoders for overlays; the first one in this build of FFmpeg is used.
_ENCODERS = ("libx264", "libopenh264", "mpeg4")


class Video:
    """A video file.

    Attributes:
        frames: number of frames according to the file (0: unknown).
        rate: frames per second.

    Raises:
        DataError: the file cannot be read as a video.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._opened() as container:
            stream = container.streams.video[0]
            self.rate = Fraction(stream.average_rate or stream.base_rate or 25)
            self.frames = int(
                stream.frames or float((stream.duration or 0) * (stream.time_base or 0) * self.rate)
            )

    def __iter__(self) -> Iterator[np.ndarray]:
        """Frames, RGB uint8 [H, W, 3], rotated as in players."""
        seen = 0
        with self._opened() as container:
            stream: Any = container.streams.video[0]
            stream.thread_type = "AUTO"
            try:
                for frame in container.decode(stream):
                    seen += 1
                    turns = round(getattr(frame, "rotation", 0) / 90) % 4
                    yield np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), turns))
            except (FFmpegError, ValueError) as error:
                raise self._broken(error, seen) from error
        if not seen:
            raise DataError(f"{self.path} has no frames: give another video.")

    def _opened(self) -> Any:
        try:
            container = av.open(str(self.path))
        except (FFmpegError, OSError, ValueError) as error:
            raise self._broken(error, 0) from error
        if not container.streams.video:
            container.close()
            raise DataError(f"{self.path} has no pictures, only sound or data: give another video.")
        return container

    def _broken(self, error: Exception, seen: int) -> DataError:
        reason = (
            "the file is empty"
            if not os.path.getsize(self.path)
            else getattr(error, "strerror", None) or error
        )
        where = f" after frame {seen}" if seen else ""
        return DataError(
            f"{self.path} cannot be read as a video{where} ({one_line(reason)}): convert or replace it."
        )


class VideoWriter:
    """Writes RGB frames as an MP4 file, atomically: it is renamed if the block ends without error."""

    def __init__(self, path: Path, rate: Fraction) -> None:
        self.path, self.rate = path, rate
        self.stack = ExitStack()
        self.container: Any = None
        self.stream: Any = None

    def __enter__(self) -> VideoWriter:
        with ExitStack() as stack:
            beside = stack.enter_context(written_file(self.path, mend=OTHER_OUT))
            self.container = av.open(str(beside), "w", format="mp4")
            stack.push(self._close)
            self.stack = stack.pop_all()
        return self

    def write(self, frame: np.ndarray) -> None:
        """Add a frame, uint8 [H, W, 3]; odd sides lose their last row or column (encoders need even sides)."""
        height, width = (side - side % 2 for side in frame.shape[:2])
        if self.stream is None:
            self.stream = self.container.add_stream(_encoder(), rate=self.rate)
            self.stream.width, self.stream.height, self.stream.pix_fmt = width, height, "yuv420p"
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame[:height, :width]), format="rgb24")
        self.container.mux(self.stream.encode(picture))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stack.__exit__(kind, error, trace)

    def _close(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and self.stream is None:
            raise RunError(f"{self.path} would be a video without frames: give a video with frames.")
        try:
            if kind is None:
                self.container.mux(self.stream.encode())
        finally:
            self.container.close()


def _encoder() -> str:
    for name in _ENCODERS:
        if name in av.codecs_available:
            try:
                av.Codec(name, "w")
            except (FFmpegError, ValueError):
                continue
            return name
    raise RunError(
        "This build of PyAV has no encoder for overlays: use --write index, or install another build."
    )

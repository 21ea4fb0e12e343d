"""Video mixes: each frame gives the pose (in feature mode pose and shape), reference photos the other factors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

import numpy as np

from stylebridge.errors import DataError
from stylebridge.jobs.apply.files.video import Video, VideoWriter
from stylebridge.jobs.apply.mix import beside, check_photos, mask_paths, output_path, photos_of
from stylebridge.jobs.apply.models.mixer import BATCH, Mode, check_mode, pixels, squared
from stylebridge.jobs.apply.models.model import open_model
from stylebridge.terminal import open_console, open_progress


def mix_video(
    run: str | Path,
    video: str | Path,
    out: str | Path | None,
    *,
    background: str | Path | None = None,
    texture: str | Path | None = None,
    shape: str | Path | None = None,
    pose: str | Path | None = None,
    mode: Mode = "code",
    masks: bool = False,
    device: str = "auto",
    overwrite: bool = False,
    quiet: bool = False,
) -> Path:
    """Write a video of mixes with the frames and rate of the given video, without sound, in the networks' square
    format.

    References are encoded once, frames in batches; only a few frames are in memory.

    Args:
        video: its frames give the pose; in feature mode pose and shape.
        out: the MP4 file to write.
        pose, shape: omitted if the frames give them.
        masks: also write the masks of shape and texture: ``NAME-shape-mask.mp4``, ``NAME-texture-mask.mp4``.

    Returns:
        ``out``.

    Raises:
        UserError: the run, a photo, the video or the output is invalid.
    """
    check_mode(mode)
    given = {"pose": pose, "background": background, "shape": shape, "texture": texture}
    inputs = photos_of(given) | {"the video": video}
    path = output_path(out, ".mp4", "--out", inputs=inputs, masks=masks, overwrite=overwrite)
    if not Path(video).is_file():
        raise DataError(f"--video {video} does not exist: give a video file.")
    moving = "shape" if mode == "feature" else "pose"
    files = check_photos(given, mode=mode, elsewhere={moving: "--video"})
    mixing, clip = open_model(run, device, "mix").mixing(mode), Video(Path(video))
    fixed = {factor: mixing.encode(factor, mixing.read([file])) for factor, file in files.items()}
    with ExitStack() as stack:
        progress = stack.enter_context(open_progress(open_console(stderr=True, quiet=quiet)))
        task = progress.add_task("mix", total=clip.frames or None)
        places = (path, *mask_paths(path)) if masks else (path,)
        writers = {place: stack.enter_context(VideoWriter(place, clip.rate)) for place in places}
        for frames in _batches(squared(frame, mixing.side) for frame in clip):
            coded = {**fixed, moving: mixing.encode(moving, frames)}
            picks = {f: list(range(len(frames))) if f == moving else [0] * len(frames) for f in coded}
            for made in mixing.paint(coded, picks):
                for place, pictures in beside(path, made, masks).items():
                    for picture in pixels(pictures):
                        writers[place].write(picture)
            progress.advance(task, len(frames))
    return path


def _batches(frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Group frames [S, S, 3] into arrays [B, S, S, 3]."""
    source = iter(frames)
    while batch := list(islice(source, BATCH)):
        yield np.stack(batch)

"""Label images and videos with a finished run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from stylebridge.atomic import OTHER_OUT, written_file
from stylebridge.errors import RunError
from stylebridge.jobs.apply.files.inputs import Inputs, collect_inputs, places_of
from stylebridge.jobs.apply.files.video import Video, VideoWriter
from stylebridge.jobs.apply.models.inference import predict_arrays, predict_files, write_label_png
from stylebridge.jobs.apply.models.model import open_model
from stylebridge.jobs.apply.models.segmenter import AdaptedModel
from stylebridge.jobs.recipe.adapt import InferenceConfig
from stylebridge.jobs.runs.claimed_files import claimed_files, ensure_unclaimed, frames_of
from stylebridge.jobs.runs.outputs import LABEL_MAPS, ensure_apart
from stylebridge.report.pictures import overlay as lay_over
from stylebridge.terminal import open_console

Write = Literal["index", "overlay", "both"]
#: Sides of a sliding window: smaller ones do not cover objects, larger ones do not fit in memory.
_SMALLEST_WINDOW, _LARGEST_WINDOW = 32, 16384
#: Most label maps waiting for the disk.
_WAITING = 16


def segment(
    run: str | Path,
    images: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    write: Write = "index",
    overlay: bool = False,
    window: tuple[int, int] | None = None,
    flip: bool | None = None,
    device: str = "auto",
    overwrite: bool = False,
    quiet: bool = False,
) -> int:
    """Label images and videos with a run that can segment.

    Writes ``out/<name>.png``, an 8-bit palette PNG of the image's own size whose values are class indices, and (or)
    ``out/overlays/<name>.jpg``. Images of a folder keep their place below it. A video's label maps are
    ``out/<name>/000000.png`` …, its overlay ``out/overlays/<name>.mp4``.

    Args:
        images: images, videos, folders and zip files of them, or patterns such as ``footage/**/*.png``.
        write: label maps, overlays, or both.
        overlay: the same as ``write="both"``.
        window: (width, height) of a window that slides over larger images at their own size.
        flip: average with the mirrored image; None: as in the recipe.

    Returns:
        The number of labelled images and frames.

    Raises:
        UserError: the run cannot segment, or an input or the output folder is invalid.
    """
    if write not in ("index", "overlay", "both"):
        raise RunError(f"--write is {write!r}: choose index, overlay or both.")
    kinds: Write = "both" if overlay and write == "index" else write
    _check_window(window)
    model = open_model(run, device, "segment").segmenter
    listed = [images] if isinstance(images, str | Path) else list(images)
    inputs = collect_inputs(listed)
    ensure_apart(out, places_of(listed, inputs))
    sink = _Sink(Path(out), kinds, model)
    ensure_unclaimed(Path(out), LABEL_MAPS, sink.outputs(inputs), overwrite)
    config = _config(model.inference, window, flip)
    with (
        _open_progress(quiet) as progress,
        claimed_files(Path(out), LABEL_MAPS) as sink.wrote,
        sink,
    ):
        done = 0
        if inputs.images:
            done += _segment_images(model, inputs, config, sink, progress)
        for path, name in inputs.videos.items():
            done += _segment_video(model, Video(path), name.as_posix(), config, sink, progress)
    return done


def _open_progress(quiet: bool) -> Progress:
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}", markup=False),
    )
    console = open_console(stderr=True, quiet=quiet)
    return Progress(*columns, TimeRemainingColumn(), console=console, transient=True)


def _check_window(window: tuple[int, int] | None) -> None:
    if window is not None and (min(window) < _SMALLEST_WINDOW or max(window) > _LARGEST_WINDOW):
        raise RunError(
            f"--window is {window[0]} {window[1]} (width and height)",
            f"give sides from {_SMALLEST_WINDOW} to {_LARGEST_WINDOW} pixels, such as --window 1024 512",
        )


def _config(inference: InferenceConfig, window: tuple[int, int] | None, flip: bool | None) -> InferenceConfig:
    changes: dict[str, object] = {}
    if window is not None:
        changes |= {"window": window, "size": None}
    if flip is not None:
        changes["flip"] = flip
    return inference.model_copy(update=changes)


def _segment_images(
    model: AdaptedModel,
    inputs: Inputs,
    config: InferenceConfig,
    sink: _Sink,
    progress: Progress,
) -> int:
    task = progress.add_task("images", total=len(inputs.images), rate="")
    files = list(inputs.images)
    for file, image, labels in predict_files(model.segmenter, files, config, model.device):
        sink.image(inputs.images[file].as_posix(), image, labels)
        _advance(progress, task)
    return len(files)


def _segment_video(
    model: AdaptedModel,
    video: Video,
    name: str,
    config: InferenceConfig,
    sink: _Sink,
    progress: Progress,
) -> int:
    task = progress.add_task(video.path.name, total=video.frames or None, rate="")
    done = 0
    model.segmenter.eval()
    with ExitStack() as stack:
        film = stack.enter_context(VideoWriter(sink.film(name), video.rate)) if sink.overlays else None
        frames = stack.enter_context(_ReadAhead(iter(video), 2 * config.batch))
        numbered = enumerate(frames)
        while chunk := list(islice(numbered, config.batch)):
            for number, image, labels in predict_arrays(model.segmenter, chunk, config, model.device):
                if sink.indices:
                    sink.label(f"{name}/{number:06}", labels, frames_of(sink.folder / name))
                if film is not None:
                    film.write(lay_over(image, labels, model.space))
                done += 1
                _advance(progress, task)
    if film is not None:
        sink.wrote(sink.film(name))
    return done


def _advance(progress: Progress, task: object) -> None:
    progress.advance(task)  # type: ignore[arg-type]
    speed = progress.tasks[-1].speed
    if speed:
        progress.update(task, rate=f"{speed:.1f}/s")  # type: ignore[arg-type]


class _ReadAhead:
    """Reads items of an iterator ahead in a thread."""

    def __init__(self, items: Iterator[np.ndarray], ahead: int) -> None:
        self.items, self.ahead = items, ahead
        self.pool = ThreadPoolExecutor(max_workers=1)

    def __enter__(self) -> _ReadAhead:
        return self

    def __exit__(self, *_: object) -> None:
        self.pool.shutdown(cancel_futures=True)

    def __iter__(self) -> Iterator[np.ndarray]:
        waiting = [self.pool.submit(next, self.items, None) for _ in range(self.ahead)]
        while waiting:
            item = waiting.pop(0).result()
            if item is None:
                return
            waiting.append(self.pool.submit(next, self.items, None))
            yield item


class _Sink:
    """Writes results. Threads encode and write files while the network continues."""

    def __init__(self, folder: Path, write: Write, model: AdaptedModel) -> None:
        self.folder, self.model = folder, model
        self.indices, self.overlays = write in ("index", "both"), write in ("overlay", "both")
        self.wrote: Callable[[Path], None] = lambda path: None
        self.waiting: list[Future[None]] = []
        self.pool = ThreadPoolExecutor(max_workers=2)

    def outputs(self, inputs: Inputs) -> list[Path]:
        """The output files."""
        images = [name.as_posix() for name in inputs.images.values()]
        videos = [name.as_posix() for name in inputs.videos.values()]
        outputs = [self._label(name) for name in images if self.indices]
        outputs += [frames_of(self.folder / name) for name in videos if self.indices]
        outputs += [self._overlay(name) for name in images if self.overlays]
        outputs += [self.film(name) for name in videos if self.overlays]
        return outputs

    def film(self, name: str) -> Path:
        """The overlay of a video."""
        return self.folder / "overlays" / f"{name}.mp4"

    def image(self, name: str, image: np.ndarray, labels: np.ndarray) -> None:
        """Write the requested results of one image."""
        if self.indices:
            self.label(name, labels, self._label(name))
        if self.overlays:
            self._submit(lambda: self._lay_over(self._overlay(name), image, labels))

    def label(self, name: str, labels: np.ndarray, entry: Path) -> None:
        """Write one label map, listed as ``entry``."""
        self._submit(lambda: self._write_label(name, labels, entry))

    def _write_label(self, name: str, labels: np.ndarray, entry: Path) -> None:
        write_label_png(labels, self.model.space, self._label(name))
        self.wrote(entry)

    def _label(self, name: str) -> Path:
        return self.folder / f"{name}.png"

    def _overlay(self, name: str) -> Path:
        return self.folder / "overlays" / f"{name}.jpg"

    def _lay_over(self, path: Path, image: np.ndarray, labels: np.ndarray) -> None:
        picture = Image.fromarray(lay_over(image, labels, self.model.space))
        with written_file(path, mend=OTHER_OUT) as beside:
            picture.save(beside, format="JPEG", quality=92)
        self.wrote(path)

    def _submit(self, job: Callable[[], None]) -> None:
        self.waiting.append(self.pool.submit(job))
        for done in self.waiting[: -_WAITING or None]:
            done.result()
        self.waiting = self.waiting[-_WAITING:]

    def __enter__(self) -> _Sink:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.pool.shutdown(wait=True)
        if kind is None:
            for job in self.waiting:
                job.result()


__all__ = ["Write", "segment"]

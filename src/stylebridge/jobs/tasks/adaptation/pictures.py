"""Sample pictures while a stage of `stylebridge adapt` trains."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL import Image

from stylebridge.data.dataset import read_pair
from stylebridge.data.domain import Domain
from stylebridge.data.images import read_image
from stylebridge.jobs.apply.models.inference import predict_files, resize_image
from stylebridge.jobs.apply.models.translator import as_pixels, as_tensor
from stylebridge.jobs.recipe.adapt import InferenceConfig
from stylebridge.jobs.runs.folder import RunFolder
from stylebridge.jobs.runs.networks_folder import write_png
from stylebridge.methods.base import SegmentationMethod
from stylebridge.methods.bridge import Bridge
from stylebridge.networks.segmenters.build import Segmenter
from stylebridge.report.pictures import overlay, sample_grid


class SamplePictures:
    """Writes ``samples/<stage>-<step>.png``: fixed target images with the model's present predictions; with Bridge
    also source images, and what it makes of them in the style of these target images."""

    def __init__(
        self,
        run: RunFolder,
        source: Domain,
        target: Domain,
        inference: InferenceConfig,
        method: SegmentationMethod[Any],
        stage: str,
    ) -> None:
        assert source.space is not None
        self.run, self.space, self.inference = run, source.space, inference
        self.method, self.stage = method, stage
        self.images = [target.images[i] for i in _spread(len(target.images))]
        self.sources = []
        if isinstance(method, Bridge):
            for i in _spread(len(source.images)):
                image, label = read_pair(source, i)
                assert label is not None
                small = np.array(resize_image(image, inference.size))
                size = (small.shape[1], small.shape[0])
                self.sources.append(
                    (small, np.array(Image.fromarray(label).resize(size, Image.Resampling.NEAREST)))
                )

    def __call__(self, step: int) -> None:
        """Write the picture of a step."""
        segmenter = self.method.networks[self.method.result]
        assert isinstance(segmenter, Segmenter)
        training = segmenter.training
        device = next(segmenter.parameters()).device
        generator_state = torch.get_rng_state()
        rows = []
        for _, image, labels in predict_files(segmenter, self.images, self.inference, device):
            rows.append([image, overlay(image, labels, self.space)])
        captions = ["target", f"{self.stage} · step {step}"]
        if self.sources:
            made = self._translated(segmenter, device)
            rows = [[*pair, *row] for pair, row in zip(made, rows, strict=False)]
            captions = ["source", "in target style", "target (the style)", captions[-1]]
        torch.set_rng_state(generator_state)
        segmenter.train(training)
        picture = Image.fromarray(sample_grid(rows, captions))
        write_png(picture, self.run.path / "samples" / f"{self.stage}-{step:06d}.png")

    def _translated(self, segmenter: Segmenter, device: torch.device) -> list[list[np.ndarray]]:
        """Source images, and each in the region styles of the target image beside it."""
        assert isinstance(self.method, Bridge)
        pairs = []
        for (image, label), file in zip(self.sources, self.images, strict=False):
            style = as_tensor(np.array(resize_image(read_image(file), self.inference.size)))[None].to(device)
            made = self.method.translate(
                as_tensor(image)[None].to(device),
                torch.from_numpy(label).long()[None].to(device),
                style,
                segmenter,
            )
            pairs.append([image, as_pixels(made[0].float().cpu())])
        return pairs


def _spread(count: int) -> list[int]:
    return [int(i) for i in np.linspace(0, count - 1, min(4, count))]

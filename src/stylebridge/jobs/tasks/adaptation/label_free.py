"""Checkpoints scored on the unlabelled target while a stage trains, and the choice of one without target labels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from stylebridge.atomic import RESUME, write_text, written_file
from stylebridge.data.domain import Domain
from stylebridge.data.images import read_image
from stylebridge.data.spread import evenly_spaced
from stylebridge.engine import checkpoint as ckpt
from stylebridge.engine.processes import Share
from stylebridge.jobs.pictures import as_tensor
from stylebridge.jobs.recipe.adapt import InferenceConfig, LabelFreeConfig
from stylebridge.jobs.runs.folder import RunFolder
from stylebridge.methods.mixing import blur, jitter_colour
from stylebridge.metrics.label_free import LabelFreeScore
from stylebridge.networks.segmenters.build import Segmenter

SCORES = "label_free.jsonl"
#: Of the changed copies, which are the same in every run.
_SEED, _STRENGTH = 0, 0.4


class LabelFreeScores:
    """Scores a stage's segmenter at some of its steps: a line each in ``label_free.jsonl``, and the weights kept where
    they may be chosen (``snapshots/STAGE-STEP.safetensors``).

    Target labels are not read. Images are some of the target's, evenly spaced, at the size of prediction.
    """

    def __init__(
        self,
        run: RunFolder,
        stage: str,
        config: LabelFreeConfig,
        target: Domain,
        inference: InferenceConfig,
        accelerator: Accelerator,
    ) -> None:
        self.run, self.stage, self.config = run, stage, config
        self.files = [target.images[i] for i in evenly_spaced(len(target.images), config.images)]
        self.inference, self.accelerator = inference, accelerator

    def __call__(self, step: int, segmenter: Segmenter) -> dict[str, float]:
        """Score the segmenter as it is now. All processes must ask: they share the images, and the main one writes."""
        training, state = segmenter.training, torch.get_rng_state()
        scores = self._scores(segmenter.eval())
        segmenter.train(training)
        torch.set_rng_state(state)
        if self.accelerator.is_main_process:
            self._record(step, segmenter, scores)
        return scores

    def _record(self, step: int, segmenter: Segmenter, scores: dict[str, float]) -> None:
        line = {"stage": self.stage, "step": step, **scores}
        kept = [one for one in self.read() if one["step"] < step]
        if self.config.choose != "last" or self.config.keep:
            with (
                ckpt.explain_full_disk(f"the snapshot of step {step}", self.run.path),
                written_file(self._file(step), error=None) as beside,
            ):
                ckpt.save_tensors(segmenter.state_dict(), beside)
        self._write([*kept, line])
        if not self.config.keep:
            self._remove_all_but(self.best())

    @torch.inference_mode()
    def _scores(self, segmenter: Segmenter) -> dict[str, float]:
        generator = torch.Generator().manual_seed(_SEED)
        # An image's changes do not depend on the process that looks at it.
        numbers = [
            (torch.rand(1, 5, generator=generator), torch.rand(1, 2, generator=generator)) for _ in self.files
        ]
        share = Share(list(zip(self.files, numbers, strict=True)), self.accelerator)
        found: list[LabelFreeScore] = []
        with share.together():
            for file, (colours, blurs) in share.mine:
                image = self._read(file)
                changed = jitter_colour(image, colours, _STRENGTH, 1.0)
                changed = blur(changed, blurs, 0.5).flip(-1)
                found.append(LabelFreeScore(segmenter.num_classes))
                found[-1].update(segmenter(image), segmenter(changed).argmax(1).flip(-1))
        score = LabelFreeScore(segmenter.num_classes)
        for one in share.gather(
            found
        ):  # one by one, in order: the sums are those of one process to the last bit
            score.add(one)
        return {"certainty": score.certainty, "agreement": score.agreement}

    def _read(self, file: Any) -> Tensor:
        return as_tensor(read_image(file), self.inference.size)[None].to(self.accelerator.device)

    def read(self) -> list[dict[str, Any]]:
        """This stage's lines, in the order of steps."""
        path = self.run.path / SCORES
        lines = [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []
        return [line for line in lines if line["stage"] == self.stage]

    def _write(self, mine: list[dict[str, Any]]) -> None:
        path = self.run.path / SCORES
        lines = [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []
        lines = [line for line in lines if line["stage"] != self.stage] + mine
        write_text(path, "".join(json.dumps(line) + "\n" for line in lines), mend=RESUME)

    def best(self) -> int | None:
        """The step with the best score; the later one of equals. None: the last is taken."""
        lines = self.read()
        if self.config.choose == "last" or not lines:
            return None
        return max(lines, key=lambda line: (line[self.config.choose], line["step"]))["step"]

    def restore_best(self, segmenter: Segmenter) -> int | None:
        """Give the segmenter the weights that score best; returns their step, or None where the last are taken."""
        step = self.best()
        if step is not None:
            ckpt.load_network(segmenter, self._file(step))
        return step

    def _file(self, step: int) -> Path:
        return self.run.path / "snapshots" / f"{self.stage}-{step:06d}.safetensors"

    def _remove_all_but(self, step: int | None) -> None:
        kept = self._file(step) if step is not None else None
        for file in (self.run.path / "snapshots").glob(f"{self.stage}-*.safetensors"):
            if file != kept:
                file.unlink()

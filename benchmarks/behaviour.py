"""One short training of each task and one use of what it made, on one CPU thread, and a hash of every result.

A rebuild that is to change no result prints the same hashes before and after it:

    python benchmarks/behaviour.py --out runs/before.json         # of the older version
    python benchmarks/behaviour.py --compare runs/before.json     # of the newer one

Hashes belong to a machine and a version of torch. `benchmarks/results/behaviour.json` keeps those of one machine.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.numpy import load_file

_TRAINER = "batch=2", "checkpoint_every=2", "sample_every=2", "log_every=1"
_BRIDGE = """
name: learnt-bridge
segmenter: {arch: fpn, encoder: tu-tf_efficientnet_lite0, weights: imagenet,
            options: {decoder_pyramid_channels: 32, decoder_segmentation_channels: 32, decoder_dropout: 0.0}}
stages:
  - name: source-only
    method: source-only
    start: initial
    source: {pixels: 8192, augmentation: {flip: 0.5}}
    trainer: {steps: 2, batch: 2, checkpoint_every: 2, sample_every: 2, log_every: 1}
    optimizers: {segmenter: {kind: adamw, lr: 0.001, group_lr: {head: 3}}}
  - name: bridge
    method: bridge
    options:
      networks: {channels: 4, blocks: 1, style_channels: 4, hidden: 4}
      alignment: {feature_pool: 2}
      self_training: {teacher_decay: 0.9}
    source: {pixels: 8192, augmentation: {flip: 0.5}, sampler: rare-class}
    target: {pixels: 8192, augmentation: {flip: 0.5}}
    trainer: {steps: 2, batch: 2, checkpoint_every: 2, sample_every: 2, log_every: 1}
    label_free: {images: 2}
    optimizers:
      segmenter: {kind: adamw, lr: 0.001, group_lr: {head: 3}}
      critics: {kind: adam, lr: 0.0001}
      painters: {kind: adam, lr: 0.0001}
      discriminator: {kind: adam, lr: 0.0001}
inference: {pixels: 8192}
"""


def _sets(stages: int, prefix: str = "stages.{}.trainer.", steps: int = 2) -> list[str]:
    names = [prefix.format(index) for index in range(stages)]
    return [f"--set={name}{value}" for name in names for value in (f"steps={steps}", *_TRAINER)]


def _small(stages: int) -> list[str]:
    """Small images for the recipes of `adapt`."""
    streams = ["source"] + ["target"] * (stages > 1)
    sets = [
        f"--set=stages.{i}.{s}.pixels=8192" for i in range(stages) for s in (streams if i else streams[:1])
    ]
    return [*sets, "--set=inference.pixels=8192", "--set=onnx=false"]


_MIX = [
    *(f"--set=networks.{key}" for key in ("shapes=2", "textures=4", "pose=5", "generator_channels=4")),
    *(f"--set=networks.{key}" for key in ("discriminator_channels=4", "encoder_channels=4")),
    *(f"--set=networks.{key}" for key in ("pair_channels=2", "extractor_channels=2")),
    *_sets(1, "code.trainer."),
    *_sets(1, "feature.trainer."),
]
_DOMAINS = ["--source", "sim", "--target", "camera"]
_AB = ["--a", "sim/images", "--b", "camera/images"]
_PHOTOS = [f"--{factor}=boxed/images/{i}.png" for i, factor in enumerate(("background", "shape", "texture"))]

#: Name of the run, and the command that makes it. Names that are used by another command come first.
TRAININGS: dict[str, list[str]] = {
    "adapt-bridge-small": ["adapt", *_DOMAINS, "--recipe=bridge-small", *_sets(3), *_small(3)],
    "adapt-fada-self-training-small": [
        "adapt", *_DOMAINS, "--recipe=fada-self-training-small", *_sets(3), *_small(3),
    ],
    "adapt-learnt-bridge": ["adapt", *_DOMAINS, "--recipe=bridge.yaml"],
    "adapt-translate-then-train": [
        "adapt", *_DOMAINS, "--recipe=translate-then-train-small", "--translator=cyclegan", *_sets(2),
        "--set=stages.0.source.pixels=8192", "--set=stages.1.source.pixels=8192", "--set=inference.pixels=8192",
        "--set=translator.overrides=[trainer.steps=2, load=null, networks.channels=4, networks.image_size=32, "
        "pixels=6000]",
    ],
    "translate-nice-gan": ["translate", "train", *_AB, "--recipe=nice-gan-small", *_sets(1, "trainer.")],
    "translate-cyclegan": ["translate", "train", *_AB, "--recipe=cyclegan-small", *_sets(1, "trainer.")],
    "synthesize-sean": [
        "synthesize", "train", "--data=sim", "--recipe=sean-small", "--set=size=[64, 64]", "--set=load=[72, 72]",
        "--set=options.perceptual=none", *_sets(1, "trainer."),
    ],
    "synthesize-spade": [
        "synthesize", "train", "--data=sim", "--recipe=spade-small", "--set=size=[64, 64]", "--set=load=[72, 72]",
        "--set=options.perceptual=none", *_sets(1, "trainer."),
    ],
    "mix": ["mix", "train", "--data=boxed", "--recipe=mixnmatch-small", *_MIX],
}  # fmt: skip
USES: dict[str, list[str]] = {
    "segment": ["segment", "adapt-bridge-small", "camera/images"],
    "translate": ["translate", "apply", "translate-nice-gan", "sim/images", "--to=b"],
    "translate-to-a": ["translate", "apply", "translate-cyclegan", "camera/images", "--to=a"],
    "translate-bridge": ["translate", "apply", "adapt-learnt-bridge", "sim/images", "--to=b"],
    "translate-region": [
        "translate", "apply", "adapt-learnt-bridge", "sim/images", "--to=b", "--style=camera/images/100.png",
        "--region-style=road=camera/images/101.png", "--mix=sky=camera/images/101.png:mean:0.3",
    ],
    "translate-labelled": ["translate", "apply", "adapt-learnt-bridge", "--labels=keep", "--to=b"],
    "synthesize": ["synthesize", "apply", "synthesize-sean", "--labels=sim/labels"],
    "synthesize-style": [
        "synthesize", "apply", "synthesize-sean", "--labels=sim/labels", "--style=sim/images/0.png",
        "--mix=sky=sim/images/0.png:mean:0.3",
    ],
    "synthesize-spade": ["synthesize", "apply", "synthesize-spade", "--labels=sim/labels", "--seed=3"],
    "mix-code": ["mix", "apply", "mix", "--pose=boxed/images/3.png", *_PHOTOS],
    "mix-feature": ["mix", "apply", "mix", "--mode=feature", *_PHOTOS],
}  # fmt: skip


def run(place: Path, names: list[str]) -> dict[str, str]:
    """Draw the data, run the commands below ``place`` and hash what they wrote."""
    _draw(place)
    hashes: dict[str, str] = {}
    for name, command in TRAININGS.items():
        if not names or name in names:
            _command(place, [*command, f"--out={name}", "--device=cpu", "--workers=0", "--quiet"])
            hashes |= _hashes(place, name)
    for name, command in USES.items():
        if not names or name in names:
            out = f"use-{name}" + (".png" if name.startswith("mix") else "")
            _command(place, [*command, f"--out={out}", "--device=cpu", "--quiet"])
            hashes |= _hashes(place, out)
    return hashes


def _draw(place: Path) -> None:
    for look, seed in (("sim", 0), ("camera", 100)):
        size = ["--width=96", "--height=72", "--count=4", f"--first-seed={seed}"]
        _command(place, ["data", "toy", look, f"--look={look}", *size])
        for folder in (place / look / "images", place / look / "labels"):
            for path in sorted(folder.iterdir()):  # plain numbers, whatever the toy calls its scenes
                path.rename(folder / f"{int(path.stem)}{path.suffix}")
    (place / "bridge.yaml").write_text(_BRIDGE, encoding="utf-8")
    rng, rows = np.random.default_rng(0), ["image,x,y,width,height"]
    (place / "boxed" / "images").mkdir(parents=True)
    for i in range(6):
        image = rng.integers(0, 90, (48, 60, 3), np.uint8)
        image[10:30, 12 : 40 + i] = rng.integers(100, 256, 3)
        Image.fromarray(image).save(place / "boxed" / "images" / f"{i}.png")
        rows.append(f"{i}.png,12,10,{28 + i},20")
    (place / "boxed" / "boxes.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")


def _command(place: Path, arguments: list[str]) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "stylebridge", *arguments],
        cwd=place, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"stylebridge {' '.join(arguments)} failed:\n{done.stderr[-4000:]}")


def _hashes(place: Path, name: str) -> dict[str, str]:
    """A hash of the values in every file of weights and of the pixels of every picture below a folder."""
    files = sorted((place / name).rglob("*")) if (place / name).is_dir() else [place / name]
    found = {}
    for path in files:
        digest = hashlib.sha256()
        if "trainer_state" in path.parts:
            continue
        if path.suffix == ".safetensors":
            for key, value in sorted(load_file(path).items()):
                digest.update(f"{key} {value.shape} {value.dtype}".encode() + value.tobytes())
        elif path.suffix == ".png":
            digest.update(np.asarray(Image.open(path)).tobytes())
        elif path.name == "metrics.jsonl":
            digest.update(_losses(path))
        else:
            continue
        found[path.relative_to(place).as_posix()] = digest.hexdigest()[:16]
    return found


def _losses(path: Path) -> bytes:
    """What was logged, without times and memory."""
    timed = ("second", "memory", "time", "speed", "gib", "eta")
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    kept = [{k: v for k, v in line.items() if not any(t in k.lower() for t in timed)} for line in lines]
    return json.dumps(kept, sort_keys=True).encode()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("names", nargs="*", help="only these runs and uses (a use needs its run)")
    parser.add_argument("--out", type=Path, help="write the hashes there")
    parser.add_argument("--compare", type=Path, help="hashes to compare with; exit code 1 where one differs")
    parser.add_argument("--keep", type=Path, help="a new folder for the runs; without it a temporary one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        place = options.keep or Path(temporary)
        place.mkdir(parents=True, exist_ok=True)
        hashes = run(place.resolve(), options.names)
    print(f"{len(hashes)} results")
    if options.out is not None:
        options.out.write_text(json.dumps(hashes, indent=1) + "\n", encoding="utf-8")
    if options.compare is not None:
        before = json.loads(options.compare.read_text(encoding="utf-8"))
        if options.names:
            before = {k: v for k, v in before.items() if k in hashes}
        wrong = sorted(k for k in before.keys() | hashes.keys() if before.get(k) != hashes.get(k))
        print("\n".join(wrong) if wrong else "all as before")
        sys.exit(bool(wrong))


if __name__ == "__main__":
    main()

"""A studio over models whose answers can be written down: styles are mean colours, pictures are those colours."""

import base64
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from studio.pages import TOKEN
from stylebridge.data.label_space import LabelSpace
from stylebridge.errors import RunError
from stylebridge.jobs.apply.models.domains import Domains
from stylebridge.jobs.apply.models.model import Model, open_model
from stylebridge.jobs.apply.models.segmenter import AdaptedModel
from stylebridge.jobs.apply.models.synthesizer import SEANSynthesizer, SPADESynthesizer, Style, Synthesizer
from stylebridge.jobs.apply.models.translator import PlainTranslator
from stylebridge.jobs.recipe.adapt import InferenceConfig
from stylebridge.studio import desk as desk_module
from stylebridge.studio.desk import Desk
from stylebridge.studio.runs import Runs

SPACE = LabelSpace(
    "town",
    ("sky", "wall", "window", "door"),
    ((80, 160, 220), (200, 60, 40), (240, 220, 90), (60, 120, 60)),
    {**{i: i for i in range(4)}, 255: 255},
)
#: The mean styles; no image showed a door.
MEANS = Style(
    torch.tensor([[0.2, 0.4, 0.6], [0.8, 0.6, 0.4], [0.0, 0.2, 1.0], [0.0, 0.0, 0.0]]),
    torch.tensor([True, True, True, False]),
)
_KINDS = {
    "runs/facades": "synthesize",
    "runs/castles": "synthesize",
    "runs/spade": "synthesize",
    "runs/town": "adapt",
    "runs/dusk": "translate",
}


class ColourSynthesizer(SEANSynthesizer):
    """A class's style is the mean colour of its region, and its picture is that colour; black where no class is."""

    def __init__(self) -> None:
        self.space, self.size, self.means = SPACE, (48, 32), MEANS

    def encode(self, image: np.ndarray, labels: np.ndarray) -> Style:
        masks = [labels == k for k in range(4)]
        codes = [image[mask].mean(0) / 255 if mask.any() else np.zeros(3) for mask in masks]
        return Style(
            torch.tensor(np.array(codes), dtype=torch.float32), torch.tensor([bool(m.any()) for m in masks])
        )

    def render(self, labels: np.ndarray, style: Any = None, seed: int = 0, **_: Any) -> np.ndarray:
        if seed == 13:
            raise ZeroDivisionError("/home/someone/secret/file.py")
        table = np.zeros((256, 3), np.uint8)
        table[:4] = np.rint(style.numpy() * 255)
        return table[labels]


class PlainSynthesizer(SPADESynthesizer):
    """Every class in its own colour."""

    def __init__(self) -> None:
        self.space, self.size = SPACE, (48, 32)

    def render(self, labels: np.ndarray, style: Any = None, seed: int = 0, **_: Any) -> np.ndarray:
        return SPACE.colourise(labels)


class NearestColour(nn.Module):
    """Logits that say which class colour a pixel is nearest to."""

    def __init__(self) -> None:
        super().__init__()
        self.colours = nn.Parameter(torch.tensor(SPACE.colours).float() / 255)

    def forward(self, image: Tensor) -> Tensor:
        return -(image[:, None] - self.colours[None, :, :, None, None]).abs().sum(2)

    def logits_at(self, image: Tensor, size: tuple[int, int]) -> Tensor:
        assert image.shape[-2:] == size
        return self(image)


class Inverse(nn.Module):
    """Inverts an image, or returns it unchanged."""

    def __init__(self, invert: bool) -> None:
        super().__init__()
        self.sign = nn.Parameter(torch.tensor(-1.0 if invert else 1.0), requires_grad=False)

    def forward(self, image: Tensor) -> Tensor:
        return image * self.sign + (self.sign < 0)


def _synthesizer(model: Model) -> Synthesizer:
    if model.path.name == "broken":
        raise RunError(f"{model.path}/networks is damaged: train or import it again.")
    return PlainSynthesizer() if model.path.name == "spade" else ColourSynthesizer()


def _translator(model: Model) -> PlainTranslator:
    networks: Any = SimpleNamespace(translator=lambda to: Inverse(to == "b"))
    domains = Domains(("a", "b"), ("day", "dusk"), (None, None))
    return PlainTranslator(networks, "bicubic", domains, torch.device("cpu"))


_FAKES: dict[str, Callable[[Model], Any]] = {
    "segment": lambda model: AdaptedModel(NearestColour(), SPACE, InferenceConfig()),  # type: ignore[arg-type]
    "translate": _translator,
    "synthesize": _synthesizer,
}


def _opened(path: Path, device: str) -> Model:
    model = open_model(path, device)
    if model.can("mix"):  # tests of that tab have networks of their own
        return model
    return Model(path, model.task, {name: _FAKES[name] for name in model.capabilities}, device)


@pytest.fixture(scope="session")
def fakes() -> Iterator[None]:
    """The models above in place of trained ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(desk_module, "open_model", _opened)
        yield


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with runs of every kind below it, and one beside it."""
    outer = tmp_path_factory.mktemp("machine")
    for name, kind in {**_KINDS, "runs/broken": "synthesize", "../elsewhere": "synthesize"}.items():
        folder = outer / "work" / name
        folder.mkdir(parents=True, exist_ok=True)
        domains = "a: photos/day\nb: photos/dusk\n" if kind == "translate" else ""
        (folder / "run.yaml").write_text(f"kind: {kind}\n{domains}", encoding="utf-8")
    return outer / "work"


@pytest.fixture
def desk(fakes: None, root: Path) -> Desk:
    """A studio that was started in ``root``, with the fakes."""
    return Desk(Runs([], root), max_side=64, device="cpu")


def encoded(array: np.ndarray, format: str = "PNG") -> bytes:
    memory = io.BytesIO()
    Image.fromarray(array).save(memory, format)
    return memory.getvalue()


@pytest.fixture(scope="session")
def sent() -> Callable[..., dict[str, str]]:
    """An array (or bytes) as the page sends a file."""

    def send(content: np.ndarray | bytes, name: str = "photo.png", format: str = "PNG") -> dict[str, str]:
        data = content if isinstance(content, bytes) else encoded(content, format)
        return {"name": name, "data": base64.b64encode(data).decode()}

    return send


@pytest.fixture(scope="session")
def shown() -> Callable[[str], np.ndarray]:
    """The array of a picture that the studio sends; an index PNG gives its values."""

    def show(url: str) -> np.ndarray:
        head, _, data = url.partition(",")
        assert head == "data:image/png;base64"
        return np.array(Image.open(io.BytesIO(base64.b64decode(data))))

    return show


@pytest.fixture(scope="session")
def town() -> tuple[np.ndarray, np.ndarray]:
    """A photo uint8 [32, 48, 3] and its label map: sky over wall, and a window; each in one colour, no class colour."""
    labels = np.zeros((32, 48), np.uint8)
    labels[12:] = 1
    labels[16:24, 10:20] = 2
    colours = np.array([[10, 20, 30], [40, 50, 60], [250, 240, 230], [0, 0, 0]], np.uint8)
    return colours[labels], labels


@pytest.fixture(scope="session")
def address(fakes: None, root: Path) -> Iterator[str]:
    """The studio, served."""
    pytest.importorskip("gradio", reason="the studio needs gradio: pip install 'stylebridge[studio]'")
    from stylebridge.studio.app import build, serve

    desk = Desk(Runs([], root), max_side=256, device="cpu")
    blocks, endpoints = build(desk, run="runs/facades", segmenter="runs/town")
    yield serve(blocks, endpoints, 0, token=TOKEN).partition("/?")[0]
    blocks.close(verbose=False)

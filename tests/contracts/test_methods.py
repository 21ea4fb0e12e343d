"""The contract of every registered method, at a tiny size (``support/tiny_methods.py``)."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_origin

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from stylebridge import methods
from stylebridge.engine import Method, Step, Trainer
from stylebridge.engine import checkpoint as ckpt
from stylebridge.engine.config import Strict
from stylebridge.engine.method import Phase
from stylebridge.methods.registry import Networks, all_methods
from support.tiny_methods import CASES, make_trainer, weights

METHODS = list(all_methods().values())
TASKS = ("adapt", "translate", "synthesize", "mix")


def named(spec: Any) -> str:
    return spec.name


# --- what it declares -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", METHODS, ids=named)
def test_it_has_a_tiny_case(spec: Any) -> None:
    assert spec.name in {case.method for case in CASES.values()}, (
        f"{spec.name} is not tested: add @case({spec.name!r}) to tests/support/tiny_methods.py"
    )


@pytest.mark.parametrize("spec", METHODS, ids=named)
def test_it_declares_itself(spec: Any) -> None:
    own = Path(methods.__file__).with_name(f"{spec.name.replace('-', '_')}.py")
    assert own.is_file()
    assert spec.method.name == spec.name
    assert spec.task in TASKS
    assert spec.title
    assert spec.paper
    assert spec.method.streams


@pytest.mark.parametrize("spec", METHODS, ids=named)
def test_its_options_have_defaults_and_refuse_what_they_are_not(spec: Any) -> None:
    """Other keys, negative weights, numbers just outside of a bound, words that are not among the choices."""
    assert issubclass(spec.options, Strict)
    defaults = spec.options()
    assert spec.options(**defaults.model_dump(mode="json")) == defaults
    wrong: dict[str, Any] = {"no_such_option": 1}
    for name, declared in spec.options.model_fields.items():
        if get_origin(declared.annotation) is Literal:
            wrong[name] = "no such word"
        bounds = {type(bound).__name__: bound for bound in declared.metadata}
        assert {"Ge", "Gt"} & bounds.keys() or not name.endswith("_weight")
        for kind, step in (("Ge", -1), ("Gt", 0), ("Le", 1), ("Lt", 0)):
            if kind in bounds:
                wrong[name] = getattr(bounds[kind], kind.lower()) + step
    for name, value in wrong.items():
        with pytest.raises(ValidationError, match=name):
            spec.options(**{name: value})


@pytest.mark.parametrize("spec", METHODS, ids=named)
def test_its_published_optimizers_are_those_of_what_it_trains(spec: Any) -> None:
    if spec.optimizers is None:
        assert spec.task == "adapt"  # its recipes say them
    else:
        assert spec.optimizers().keys() == set(spec.method.trains)


class Preset(NamedTuple):
    method: str
    name: str
    networks: Networks


PRESETS = [
    Preset(spec.name, name, spec.networks)
    for spec in METHODS
    if spec.networks is not None
    for name in spec.networks.presets
]


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: f"{preset.method}-{preset.name}")
def test_its_presets_build(preset: Preset) -> None:
    """On the meta device, and again from the settings saved in a run."""
    networks = preset.networks
    settings = networks.configure(preset.name, **dict.fromkeys(networks.from_data, 3))
    with torch.device("meta"):
        built, again = networks.build(settings), networks.build_from(settings.model_dump_json())
    shapes = [{key: value.shape for key, value in made.state_dict().items()} for made in (built, again)]
    assert shapes[0]
    assert shapes[0] == shapes[1]
    with pytest.raises(ValueError, match="no_such_setting"):
        networks.configure(preset.name, {"no_such_setting": 1}, **dict.fromkeys(networks.from_data, 3))


# --- a step ---------------------------------------------------------------------------------------------------


@dataclass
class Seen:
    """What was watched while a case trained.

    Attributes:
        trained: the names of the weights of each network that can be trained.
        graded: for each phase, the names of weights that had a gradient at its end, in any step.
        graphs: tensors in the memo that carried a graph at the end of a phase, as (phase, name).
        left: of those, after the last phase of a step.
        strangers: phases that gave gradients to modules beside the networks.
        final: the tensors when training ended.
    """

    case: str
    phases: list[Phase]
    trained: dict[str, set[str]]
    final: dict[str, Tensor] = field(default_factory=dict)
    graded: dict[str, set[str]] = field(default_factory=dict)
    graphs: set[tuple[str, str]] = field(default_factory=set)
    left: set[str] = field(default_factory=set)
    strangers: set[str] = field(default_factory=set)


def graphs_in(value: Any, name: str) -> Iterator[str]:
    """The names of tensors with a graph in a memo."""
    if isinstance(value, Tensor):
        if value.requires_grad:
            yield name
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from graphs_in(part, f"{name}.{key}")
    elif isinstance(value, list | tuple):
        for number, part in enumerate(value):
            yield from graphs_in(part, f"{name}[{number}]")


def parameters_of(networks: dict[str, nn.Module]) -> dict[str, nn.Parameter]:
    return {f"{n}.{key}": p for n, network in networks.items() for key, p in network.named_parameters()}


def others_of(method: Method) -> list[nn.Parameter]:
    """Parameters of modules that the method holds besides its networks (a perceptual loss)."""
    known = {id(p) for p in parameters_of(method.networks).values()}
    modules = [value for value in vars(method).values() if isinstance(value, nn.Module)]
    return [p for module in modules for p in module.parameters() if id(p) not in known]


def watched(case: str, trainer: Trainer) -> Seen:
    """Record what a trainer's phases do."""
    method, networks = trainer.method, trainer.method.networks
    trained = {
        name: {f"{name}.{key}" for key, p in networks[name].named_parameters() if any(p is t for t in known)}
        for name, known in trainer.trainable.items()
    }
    seen = Seen(case, trainer.phases, trained)

    def watch(phase: Phase, last: bool) -> Phase:
        def losses(step: Step) -> Iterator[Any]:
            yield from phase.losses(step)
            named = parameters_of(networks).items()
            seen.graded.setdefault(phase.name, set()).update(n for n, p in named if p.grad is not None)
            seen.strangers.update(phase.name for p in others_of(method) if p.grad is not None)
            found = set(graphs_in(step.memo, "memo"))
            seen.graphs |= {(phase.name, name) for name in found}
            seen.left |= found if last else set()

        return replace(phase, losses=losses)

    trainer.phases = [watch(phase, phase is trainer.phases[-1]) for phase in trainer.phases]
    return seen


#: Training them takes seconds.
SLOW = ("mixnmatch", "source-only-lite0", "bridge")


@pytest.fixture(
    scope="module",
    params=[pytest.param(n, marks=[pytest.mark.slow] if n.startswith(SLOW) else []) for n in CASES],
)
def seen(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """Each case, trained to the end."""
    trainer = make_trainer(request.param, tmp_path_factory.mktemp(request.param))
    seen = watched(request.param, trainer)
    trainer.fit()
    seen.final = weights(trainer.method)
    return seen


def test_gradients_reach_what_a_phase_trains_and_all_of_it(seen: Seen) -> None:
    idle = CASES[seen.case].idle
    for phase in seen.phases:
        trains = {key for network in phase.trains for key in seen.trained[network]}
        used = {key for key in trains if not key.startswith(idle)} if idle else trains
        assert seen.graded[phase.name] - trains == set(), f"{phase.name} gives gradients to others' weights"
        assert used - seen.graded[phase.name] == set(), f"{phase.name} leaves weights of its own alone"
        assert seen.graded[phase.name] - used == set(), "tiny_methods.py calls these weights idle"
    assert seen.strangers == set()


def test_the_memo_holds_no_graphs(seen: Seen) -> None:
    assert seen.left == set()
    assert bool(seen.graphs) == CASES[seen.case].shares_graphs


def assert_same(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    """Bit-identical."""
    assert ours.keys() == theirs.keys()
    assert [key for key, value in ours.items() if not torch.equal(value, theirs[key])] == []


def test_a_step_is_a_function_of_the_seed_and_is_resumed_to_the_bit(seen: Seen, tmp_path: Path) -> None:
    """Again, with a checkpoint after each step; and from the first of them."""
    again = make_trainer(seen.case, tmp_path, checkpoint_every=1, keep_checkpoints=9)
    start = weights(again.method)
    again.fit()
    assert_same(weights(again.method), seen.final)
    assert any(not torch.equal(value, seen.final[key]) for key, value in start.items())

    first = ckpt.find_checkpoints(again.folder)[0]
    assert first.step == 1
    resumed = make_trainer(seen.case, tmp_path / "resumed")
    resumed.resume(first)
    assert resumed.step == 1
    resumed.fit()
    assert_same(weights(resumed.method), seen.final)


# --- labels of the target -------------------------------------------------------------------------------------


class Sealed(dict):
    """A batch whose label must not be read."""

    def __getitem__(self, key: str) -> Tensor:
        if key == "label":
            pytest.fail("a target label was read")
        return super().__getitem__(key)

    def get(self, key: str, default: object = None) -> object:
        return self[key] if key in self else default  # noqa: SIM401 (get itself)

    def values(self):
        return [self[key] for key in self]

    def items(self):
        return [(key, self[key]) for key in self]


class SealingTrainer(Trainer):
    """Target batches have labels that must not be read."""

    def _micro_batches(self):
        for step in super()._micro_batches():
            target = step.batch["target"]
            label = torch.full(target["image"][:, 0].shape, 2)
            step.batch["target"] = Sealed(target, label=label)
            yield step


UNLABELLED = [
    name for name, case in CASES.items() if all_methods()[case.method].method.streams.get("target") is False
]


@pytest.mark.parametrize("name", UNLABELLED)
def test_a_target_label_is_never_read(name: str, tmp_path: Path) -> None:
    make_trainer(name, tmp_path, steps=1, kind=SealingTrainer).fit()


def test_the_seal_holds(tmp_path: Path) -> None:
    """A method that reads them is detected."""
    trainer = make_trainer("colour-transfer", tmp_path, steps=1, kind=SealingTrainer)
    (phase,) = trainer.phases

    def losses(step: Step) -> Iterator[Any]:
        assert step.batch["target"]["label"] is not None
        yield from phase.losses(step)

    trainer.phases = [replace(phase, losses=losses)]
    with pytest.raises(pytest.fail.Exception, match="was read"):
        trainer.fit()

"""What a task is: its data, its recipe, what its stages train on, and how a run of it ends."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, NamedTuple, TypedDict, TypeVar

from accelerate import Accelerator
from rich.console import Console

from stylebridge.engine.method import Method
from stylebridge.jobs.recipe.base import Recipe
from stylebridge.jobs.runs.data_files import Files
from stylebridge.jobs.runs.folder import RunFolder
from stylebridge.jobs.tasks.streams import Seeds, StreamOpener


class Role(NamedTuple):
    """A set of data that a task takes: its key in ``run.yaml`` and of its option, and whether a run needs it."""

    key: str
    required: bool = True


@dataclass(frozen=True)
class Request:
    """What a user asks of a training.

    Attributes:
        data: by the keys of the task's roles.
        options: of the task, by name; those that decide what is trained are kept in ``run.yaml``.
    """

    data: Mapping[str, str | Path | None]
    options: Mapping[str, Any] = field(default_factory=dict)
    resume: bool = False

    def option(self, name: str, default: Any = None) -> Any:
        """An option; the default where it was not given."""
        value = self.options.get(name)
        return default if value is None else value


class Settings(TypedDict, total=False):
    """How any training is started; :func:`stylebridge.jobs.train.train` describes them."""

    overrides: Sequence[str] | None
    seed: int | None
    steps: int | None
    batch: int | None
    precision: str | None
    device: str
    resume: bool
    overwrite: bool
    accept_changed_data: bool
    workers: int | None
    quiet: bool
    console: Console | None


RecipeT = TypeVar("RecipeT", bound=Recipe)
DataT = TypeVar("DataT")


@dataclass
class Work(Generic[RecipeT, DataT]):
    """A training under way: what all its stages share.

    Attributes:
        data: what :meth:`Task.open` gave.
    """

    recipe: RecipeT
    run: RunFolder
    data: DataT
    accelerator: Accelerator
    workers: int
    resume: bool
    console: Console
    quiet: bool
    #: The training job itself, for a task that needs a run of another task.
    train: Callable[..., Any]

    @property
    def is_main(self) -> bool:
        """Whether this process writes the run's files."""
        return self.accelerator.is_main_process


@dataclass(frozen=True)
class Plan:
    """What a stage trains.

    Attributes:
        streams: by the names that the method gives them.
        on_sample: called with the step at every ``sample_every`` steps.
        made: what the task needs to write the result, besides the method's networks.
    """

    method: Method
    streams: Mapping[str, StreamOpener]
    on_sample: Callable[[int], None] | None = None
    made: Any = None


class Task(ABC, Generic[RecipeT, DataT]):
    """A kind of training. One instance serves all runs, so it holds no state.

    The training job calls the methods in the order in which they stand here.
    """

    #: As commands and ``run.yaml`` write it.
    name: ClassVar[str]
    default_recipe: ClassVar[str]
    roles: ClassVar[tuple[Role, ...]]
    #: The message for missing data.
    data_needed: ClassVar[str]
    #: The options that decide what is trained: a resumed run refuses others.
    lasting_options: ClassVar[tuple[str, ...]] = ()
    seeds: ClassVar[Seeds] = Seeds()

    def changes(self, recipe: RecipeT, request: Request) -> list[str]:
        """Changes to the recipe that options of the task ask for, as ``--set`` takes them."""
        return []

    def reopens(self, request: Request) -> bool:
        """Whether a finished run computes its scores and report again."""
        return False

    def inputs(self, request: Request, recipe: RecipeT | None) -> dict[str, str | Path | None]:
        """Folders besides the data that are read, by what messages call them: the run must not lie in them."""
        return {}

    @abstractmethod
    def open(
        self,
        request: Request,
        facts: Mapping[str, Any],
        accelerator: Accelerator,
        console: Console,
    ) -> DataT:
        """Open the data and check every file of it.

        Args:
            facts: ``run.yaml`` of a resumed run; empty for a new run.

        Raises:
            DataError: data is missing or wrong; names the file or the option.
        """

    @abstractmethod
    def resolve(self, recipe: RecipeT, data: DataT) -> RecipeT:
        """The recipe for this data: every size and length known, every default spelt out."""

    @abstractmethod
    def check(self, recipe: RecipeT, data: DataT, processes: int, console: Console) -> None:
        """Find what would stop the training of a new run later, without training.

        Raises:
            UserError: names the key.
        """

    @abstractmethod
    def facts(self, recipe: RecipeT, data: DataT) -> dict[str, Any]:
        """What ``run.yaml`` says of the data."""

    @abstractmethod
    def files(self, data: DataT) -> Files:
        """The files that the run is trained on, for ``data.json``."""

    def begun(self, work: Work[RecipeT, DataT], request: Request) -> None:
        """The run folder of a new run was made. Called by the main process."""

    def prepare(self, work: Work[RecipeT, DataT]) -> None:
        """Make what the stages need besides the data. Called by all processes."""

    @abstractmethod
    def stage_done(self, work: Work[RecipeT, DataT], index: int) -> bool:
        """Whether the result of a stage is written."""

    @abstractmethod
    def plan(self, work: Work[RecipeT, DataT], index: int, seed: int) -> Plan:
        """Build a stage's method and open its streams. Torch's generators are seeded already."""

    @abstractmethod
    def hand_on(self, work: Work[RecipeT, DataT], index: int, plan: Plan) -> None:
        """Write the result of a finished stage atomically. Called by all processes."""

    @abstractmethod
    def finish(self, work: Work[RecipeT, DataT], seconds: float) -> Any:
        """Write results, scores and the report when all stages are done; returns what the user's call returns.

        Args:
            seconds: that this start of the run took.
        """

    @abstractmethod
    def results(self, recipe: RecipeT) -> Sequence[str]:
        """The files and folders that a finished run has, as paths below it."""

    @abstractmethod
    def result(self, run: RunFolder) -> Any:
        """What :meth:`finish` returned, of a run that has finished."""


class NetworksTask(Task[RecipeT, DataT]):
    """A task whose result is the folder ``networks``, and whose call returns the run folder."""

    def stage_done(self, work: Work[RecipeT, DataT], index: int) -> bool:
        return (work.run.path / "networks").is_dir()

    @abstractmethod
    def report(self, work: Work[RecipeT, DataT], seconds: float) -> None:
        """Write the report. Called by the main process."""

    def finish(self, work: Work[RecipeT, DataT], seconds: float) -> Path:
        if work.is_main:
            self.report(work, seconds)
        return work.run.path

    def results(self, recipe: RecipeT) -> Sequence[str]:
        return "networks", "report.html"

    def result(self, run: RunFolder) -> Path:
        return run.path

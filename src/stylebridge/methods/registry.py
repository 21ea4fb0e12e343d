"""The registry: every method declares itself once, in its own file; all else reads it here.

A file of this package declares a method by a constant ``METHOD``; the file's name is the method's, with ``_`` for
``-``. Packages outside declare theirs by an entry point of the group ``stylebridge.methods`` that names the constant.
Commands, recipes, ``import``, the studio, the docs' table and the contract tests find methods here and nowhere else.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from torch import nn

from stylebridge.data.augment import Resample
from stylebridge.engine.config import OptimizerConfig
from stylebridge.engine.method import Method
from stylebridge.errors import RecipeError, did_you_mean, one_line
from stylebridge.interop.importer import Importer

GROUP = "stylebridge.methods"


@dataclass(frozen=True)
class Networks:
    """How a method's networks are built from settings.

    Attributes:
        build: takes settings; the networks' children are the parts that are saved.
        config: the settings' class (pydantic).
        presets: settings by name: instances of ``config``, or mappings where ``from_data`` is not empty.
        from_data: settings that the data decides, such as the number of classes.
    """

    build: Callable[[Any], nn.Module]
    config: Any
    presets: Mapping[str, Any]
    from_data: tuple[str, ...] = ()

    def configure(self, preset: str, changes: Mapping[str, Any] | None = None, **from_data: Any) -> Any:
        """The settings of a preset, some of them changed. Raises pydantic's ValidationError."""
        base = self.presets[preset]
        known = base if isinstance(base, Mapping) else base.model_dump()
        return self.config.model_validate({**known, **(changes or {}), **from_data})

    def build_from(self, settings: str) -> nn.Module:
        """The networks of settings that were kept as JSON. Raises ValueError where they are wrong."""
        return self.build(self.config.model_validate_json(settings))


@dataclass(frozen=True)
class MethodSpec:
    """What a method declares.

    Attributes:
        name: as recipes write it.
        task: the task that trains it: ``adapt``, ``translate``, ``synthesize`` or ``mix``.
        method: networks and phases; with ``Options``, ``streams`` and ``trains``.
        title: the name in the paper.
        paper: authors, venue and arXiv number.
        networks: how its networks are built; None: by the task (``adapt`` builds a segmenter).
        optimizers: the published ones, for recipes that give none; None: recipes must give them.
        length: the published length of training, in words.
        resample: the filter that the published program resizes images with.
        recipes: recipes by name, besides the files of ``stylebridge/recipes``: for methods of other packages.
        importers: readers of released weights, by the name that ``stylebridge import`` takes.
    """

    name: str
    task: str
    method: type[Method]
    title: str
    paper: str
    networks: Networks | None = None
    optimizers: Callable[[], dict[str, OptimizerConfig]] | None = None
    length: str = ""
    resample: Resample = "bicubic"
    recipes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    importers: Mapping[str, Importer] = field(default_factory=dict)

    @property
    def options(self) -> Any:
        """The class of its options."""
        return self.method.Options  # type: ignore[attr-defined]


def find_method(name: str) -> MethodSpec:
    """The method of a name. Only its own module is imported.

    Raises:
        RecipeError: there is none, or the package that declares it is broken.
    """
    found = _own(name) or _foreign(name)
    if found is None:
        known = list(method_names())
        raise RecipeError(
            f"There is no method {name!r}{did_you_mean(name, known)}", f"choose one of {', '.join(known)}"
        )
    return found


def method_names(task: str | None = None) -> tuple[str, ...]:
    """The names of all methods, or of those of a task, sorted."""
    return tuple(name for name, spec in all_methods().items() if task in (None, spec.task))


def classes_of(task: str) -> dict[str, type[Method]]:
    """The classes of a task's methods by name."""
    return {name: spec.method for name, spec in all_methods().items() if spec.task == task}


@cache
def all_methods() -> Mapping[str, MethodSpec]:
    """All methods by name, sorted: ours, and those of installed packages."""
    own = [_own(module.replace("_", "-")) for module in _own_modules()]
    foreign = [_foreign(name) for name in _entry_points()]
    return {spec.name: spec for spec in sorted(filter(None, (*own, *foreign)), key=lambda spec: spec.name)}


@cache
def _own_modules() -> tuple[str, ...]:
    return tuple(module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)]))


def _own(name: str) -> MethodSpec | None:
    module = name.replace("-", "_")
    if module not in _own_modules() or "_" in name:
        return None
    return getattr(import_module(f"stylebridge.methods.{module}"), "METHOD", None)


@cache
def _entry_points() -> Mapping[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


@cache
def _foreign(name: str) -> MethodSpec | None:
    point = _entry_points().get(name)
    if point is None:
        return None
    package = point.dist.name if point.dist is not None else point.value
    try:
        spec = point.load()
    except Exception as error:  # whatever the other package does wrong, its name helps
        raise RecipeError(
            f"Method {name!r} of the package {package} cannot be loaded ({one_line(error)})",
            "update or remove the package",
        ) from error
    if not isinstance(spec, MethodSpec) or spec.name != name or _own(name) is not None:
        raise RecipeError(
            f"The entry point {name!r} of the package {package} does not name a MethodSpec of that name that "
            f"stylebridge lacks",
            "update or remove the package",
        )
    return spec

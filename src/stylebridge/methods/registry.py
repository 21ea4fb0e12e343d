"""The registry: every method declares itself once, in its own file.

A file of this package declares a method by a constant ``METHOD``; the file has the method's name, with ``_`` for ``-``.
Other packages declare theirs by an entry point of the group ``stylebridge.methods`` that refers to the constant.
Commands, recipes, ``import``, the studio, the table in the docs and the contract tests all use this registry.
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

from stylebridge.data.resizing import Resample
from stylebridge.engine.config import OptimizerConfig
from stylebridge.engine.method import Method
from stylebridge.errors import RecipeError, did_you_mean, one_line
from stylebridge.interop.importer import Importer

GROUP = "stylebridge.methods"


@dataclass(frozen=True)
class Networks:
    """How a method's networks are built from settings.

    Attributes:
        build: creates the networks from settings; their children are saved separately.
        config: the settings' class (pydantic).
        presets: settings by name: instances of ``config``, or mappings if ``from_data`` is not empty.
        from_data: settings that depend on the data, such as the number of classes.
    """

    build: Callable[[Any], nn.Module]
    config: Any
    presets: Mapping[str, Any]
    from_data: tuple[str, ...] = ()

    def configure(self, preset: str, changes: Mapping[str, Any] | None = None, **from_data: Any) -> Any:
        """The settings of a preset, with changes. Raises pydantic's ValidationError."""
        base = self.presets[preset]
        known = base if isinstance(base, Mapping) else base.model_dump()
        return self.config.model_validate({**known, **(changes or {}), **from_data})

    def build_from(self, settings: str) -> nn.Module:
        """The networks of settings saved as JSON. Raises ValueError if they are invalid."""
        return self.build(self.config.model_validate_json(settings))


@dataclass(frozen=True)
class MethodSpec:
    """A method's declaration.

    Attributes:
        name: its name in recipes.
        task: the task that trains it: ``adapt``, ``translate``, ``synthesize`` or ``mix``.
        method: the class, with ``Options``, ``streams`` and ``trains``.
        title: its name in the paper.
        paper: authors, venue and arXiv number.
        networks: its networks; None: the task builds them (``adapt``: a segmenter).
        optimizers: the published ones, for recipes without; None: recipes must specify them.
        length: the published length of training, in words.
        resample: the resizing filter of the published program.
        recipes: further recipes by name besides those in ``stylebridge/recipes``, for methods of other packages.
        importers: readers of released weights, by their names in ``stylebridge import``.
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
    """The method with this name. Imports only its module.

    Raises:
        RecipeError: the method is unknown, or its package is broken.
    """
    found = _own(name) or _foreign(name)
    if found is None:
        known = list(method_names())
        raise RecipeError(
            f"There is no method {name!r}{did_you_mean(name, known)}", f"choose one of {', '.join(known)}"
        )
    return found


def method_names(task: str | None = None) -> tuple[str, ...]:
    """The names of all methods, or those of a task, sorted."""
    return tuple(name for name, spec in all_methods().items() if task in (None, spec.task))


@cache
def all_methods() -> Mapping[str, MethodSpec]:
    """All methods by name, sorted: ours and those of installed packages."""
    own = [_own(module.replace("_", "-")) for module in _own_modules()]
    found = filter(None, (*own, *foreign_methods()))
    return {spec.name: spec for spec in sorted(found, key=lambda spec: spec.name)}


def foreign_methods() -> list[MethodSpec]:
    """The methods of installed packages. Ours are not imported."""
    return list(filter(None, map(_foreign, _entry_points())))


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
    except Exception as error:  # any error of the other package: name it
        raise RecipeError(
            f"Method {name!r} of the package {package} cannot be loaded ({one_line(error)})",
            "update or remove the package",
        ) from error
    if not isinstance(spec, MethodSpec) or spec.name != name or _own(name) is not None:
        raise RecipeError(
            f"The entry point {name!r} of the package {package} does not refer to a MethodSpec of that name unknown to "
            f"stylebridge",
            "update or remove the package",
        )
    return spec

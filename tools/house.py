"""Count what the architecture forbids: import circles, upward imports, long files and functions, full folders.

    python tools/house.py [ROOT]        # ROOT: the repository, by default the one of this file

Prints one line a rule and, below it, one line an offender; then how many lines there are. Exit code 1 if there is an
offender. The standard library is enough, and nothing of the package is imported: sources are read with ``ast``.

Imports under ``TYPE_CHECKING`` and in functions count as any other. ``from package import name`` counts as an import of
the module that ``name`` comes from, not of the package that hands it on.
"""

import ast
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path

PACKAGE = "stylebridge"
LONGEST_FILE = 400
LONGEST_FUNCTION = 60
MOST_ENTRIES = 12

#: From the top floor down. A module may import from its own floor and from those below it. What begins with none of
#: the names is on the top floor if it is the package itself, and on the lowest otherwise (errors, settings, atomic …).
FLOORS = (
    ("", "__main__"),
    ("cli", "studio"),
    ("jobs",),
    ("report",),
    ("methods",),
    ("engine",),
    ("interop",),
    ("networks",),
    ("losses", "metrics"),
    ("layers",),
    ("data",),
)
#: The same inside ``jobs``; the modules that are not listed are held to no order.
JOB_FLOORS = (
    ("jobs.demo",),
    ("jobs.train",),
    ("jobs.stages",),
    ("jobs.tasks",),
    ("jobs.evaluate", "jobs.exchange"),
    ("jobs.apply",),
    ("jobs.datasets",),
    ("jobs.runs",),
    ("jobs.recipe",),
)


@dataclass(frozen=True)
class Import:
    """``importer`` imports ``imported`` in line ``line`` of its file."""

    importer: str
    imported: str
    line: int


@dataclass
class Module:
    """A module's source, read once.

    Attributes:
        name: the dotted name; that of the folder for an ``__init__.py``.
        names: what a ``from … import …`` of it binds: name → (module, name there).
    """

    name: str
    path: Path
    tree: ast.Module
    names: dict[str, tuple[str, str]] = field(default_factory=dict)

    @property
    def is_package(self) -> bool:
        return self.path.name == "__init__.py"

    def absolute(self, node: ast.ImportFrom) -> str:
        """The dotted name of the module that a ``from`` import names, also if it is relative."""
        if not node.level:
            return node.module or ""
        parts = self.name.split(".")
        kept = parts[: len(parts) - node.level + self.is_package]
        return ".".join([*kept, *([node.module] if node.module else [])])


@dataclass(frozen=True)
class Rule:
    """A rule and the lines that name what breaks it."""

    name: str
    offenders: list[str]


class House:
    """The sources of a repository at ``root``, and what they break."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.source = root / "src" / PACKAGE

    @cached_property
    def modules(self) -> dict[str, Module]:
        """All modules of the package by their dotted names."""
        found = {}
        for path in sorted(self.source.rglob("*.py")):
            parts = path.relative_to(self.source.parent).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            module = Module(name, path, ast.parse(path.read_text(encoding="utf-8"), str(path)))
            for node in ast.walk(module.tree):
                if isinstance(node, ast.ImportFrom):
                    origin = module.absolute(node)
                    module.names |= {a.asname or a.name: (origin, a.name) for a in node.names}
            found[name] = module
        return found

    @cached_property
    def imports(self) -> list[Import]:
        """What the package's modules import of each other: a pair once, where it is written first."""
        found: dict[tuple[str, str], Import] = {}
        for module in self.modules.values():
            for imported, line in self._imports_of(module):
                if imported in self.modules and imported != module.name:
                    found.setdefault((module.name, imported), Import(module.name, imported, line))
        return list(found.values())

    def _imports_of(self, module: Module) -> Iterator[tuple[str, int]]:
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Import):
                yield from ((alias.name, node.lineno) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                origin = module.absolute(node)
                yield from ((self.origin(origin, alias.name), node.lineno) for alias in node.names)
            elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
                first = node.args[0] if node.args else None
                if isinstance(first, ast.Constant) and isinstance(first.value, str):
                    yield first.value, node.lineno

    def origin(self, module: str, name: str, seen: frozenset[str] = frozenset()) -> str:
        """The module that ``from module import name`` reads in the end: packages are looked through."""
        if f"{module}.{name}" in self.modules:
            return f"{module}.{name}"
        held = self.modules.get(module)
        if held is None or not held.is_package or name not in held.names or module in seen:
            return module
        return self.origin(*held.names[name], seen=seen | {module})

    def circles(self) -> list[str]:
        """Each set of modules that reach each other, with a shortest way round."""
        graph: dict[str, dict[str, int]] = {name: {} for name in self.modules}
        for entry in self.imports:
            graph[entry.importer][entry.imported] = entry.line
        lines = []
        for members in knots(graph):
            within = {name: {k: v for k, v in graph[name].items() if k in members} for name in members}
            way = min((shortest_circle(within, name) for name in sorted(members)), key=len)
            steps = [f"{short(a)}:{within[a][b]}" for a, b in pairwise(way)]
            lines.append(f"{' → '.join([*steps, short(way[0])])}  ({len(members)} modules)")
        return lines

    def upward(self) -> list[str]:
        """Each import of a module on a higher floor."""
        lines = []
        for entry in self.imports:
            for floors, lowest in ((FLOORS, len(FLOORS)), (JOB_FLOORS, None)):
                here, there = (floor_of(name, floors, lowest) for name in (entry.importer, entry.imported))
                if here is not None and there is not None and there < here:
                    lines.append(f"{short(entry.importer)}:{entry.line} imports {short(entry.imported)}")
        return lines

    def files(self, *folders: str) -> Iterator[Path]:
        """The Python files of the folders."""
        for folder in folders:
            yield from sorted((self.root / folder).rglob("*.py"))

    def long_files(self) -> list[str]:
        """Files of more than LONGEST_FILE lines."""
        counted = ((path, line_count(path)) for path in self.files("src", "tests", "benchmarks", "tools"))
        return [f"{path.relative_to(self.root)}: {n} lines" for path, n in counted if n > LONGEST_FILE]

    def long_functions(self) -> list[str]:
        """Functions of more than LONGEST_FUNCTION lines, from ``def`` to the last one."""
        lines = []
        for module in self.modules.values():
            for node in ast.walk(module.tree):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    length = (node.end_lineno or node.lineno) - node.lineno + 1
                    if length > LONGEST_FUNCTION:
                        place = module.path.relative_to(self.root)
                        lines.append(f"{place}:{node.lineno} {node.name}: {length} lines")
        return lines

    def full_folders(self) -> list[str]:
        """Folders of ``jobs``, and itself, of more than MOST_ENTRIES entries."""
        jobs = self.source / "jobs"
        if not jobs.is_dir():
            return []
        folders = [jobs, *(p for p in sorted(jobs.rglob("*")) if p.is_dir() and p.name != "__pycache__")]
        counted = ((f, sum(entry.name != "__pycache__" for entry in f.iterdir())) for f in folders)
        return [f"{f.relative_to(self.root)}: {n} entries" for f, n in counted if n > MOST_ENTRIES]

    def rules(self) -> list[Rule]:
        """All rules with their offenders."""
        return [
            Rule("import circles", self.circles()),
            Rule("upward imports", self.upward()),
            Rule(f"files over {LONGEST_FILE} lines", self.long_files()),
            Rule(f"functions over {LONGEST_FUNCTION} lines", self.long_functions()),
            Rule(f"folders of jobs with over {MOST_ENTRIES} entries", self.full_folders()),
        ]

    def sizes(self) -> str:
        """How many lines there are in the sources and in the tests."""
        python = list(self.files("src"))
        others = [p for p in self.source.rglob("*") if p.is_file() and p.suffix not in (".py", ".pyc")]
        counts = (sum(map(line_count, paths)) for paths in (python, others, self.files("tests")))
        return "lines: src {:,} (*.py) and {:,} (other files), tests {:,} (*.py)".format(*counts)


def line_count(path: Path) -> int:
    return path.read_bytes().count(b"\n")


def short(module: str) -> str:
    """A module's name without the package's."""
    return module.removeprefix(f"{PACKAGE}.")


def floor_of(module: str, floors: tuple[tuple[str, ...], ...], otherwise: int | None) -> int | None:
    """The index of the module's floor, 0 for the top."""
    name = "" if module == PACKAGE else short(module)
    for index, prefixes in enumerate(floors):
        if any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes):
            return index
    return otherwise


def knots(graph: dict[str, dict[str, int]]) -> list[set[str]]:
    """The sets of two and more nodes that reach each other (Tarjan's strongly connected components)."""
    reached: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    found: list[set[str]] = []

    def visit(node: str) -> None:
        reached[node] = lowest[node] = len(reached)
        stack.append(node)
        for other in graph[node]:
            if other not in reached:
                visit(other)
            if other in stack:
                lowest[node] = min(lowest[node], lowest[other])
        if lowest[node] == reached[node]:
            at = stack.index(node)
            members = set(stack[at:])
            del stack[at:]
            if len(members) > 1:
                found.append(members)

    for node in graph:
        if node not in reached:
            visit(node)
    return sorted(found, key=min)


def shortest_circle(graph: dict[str, dict[str, int]], start: str) -> list[str]:
    """The fewest steps from ``start`` back to it, both ends included; there must be a way."""
    ways = [[start]]
    seen: set[str] = set()
    for way in ways:  # grows while it is read
        for other in sorted(graph[way[-1]]):
            if other == start:
                return [*way, start]
            if other not in seen:
                seen.add(other)
                ways.append([*way, other])
    raise ValueError(f"{start} is in no circle")


def show(rules: Iterable[Rule]) -> bool:
    """Print the rules; whether all are kept."""
    kept = True
    for rule in rules:
        print(f"{rule.name}: {len(rule.offenders)}")
        for offender in rule.offenders:
            print(f"    {offender}")
        kept = kept and not rule.offenders
    return kept


def main(arguments: list[str]) -> int:
    """Check the repository; 0 if every rule is kept, else 1."""
    house = House(Path(arguments[0]) if arguments else Path(__file__).resolve().parents[1])
    kept = show(house.rules())
    print(house.sizes())
    return 0 if kept else 1


if __name__ == "__main__":
    sys.setrecursionlimit(10_000)
    sys.exit(main(sys.argv[1:]))

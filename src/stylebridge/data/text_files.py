"""Read untrusted YAML and JSON, with limits on size, depth and expanded length.

PyYAML shares the values of aliases, so that a file of 300 bytes can expand to 10¹² values when it is printed or
checked. Both parsers recurse, and raise RecursionError for deeply nested text.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import yaml

from stylebridge.data.packed import PackedFile
from stylebridge.data.regular import open_regular
from stylebridge.errors import one_line, shorten

#: Largest YAML file, in bytes. Our longest has 12 thousand.
MAX_YAML_BYTES = 1 << 20
#: Largest JSON file, in bytes.
MAX_JSON_BYTES = 1 << 24
#: Most values of a YAML text, with aliases expanded.
MAX_NODES = 200_000
#: Deepest nesting of mappings and lists.
MAX_DEPTH = 64
#: Longest number or date, in characters: Python takes quadratic time to convert long ones.
_MAX_NUMBER = 64

_TIMESTAMP = "tag:yaml.org,2002:timestamp"
_NUMBERS = frozenset(("tag:yaml.org,2002:int", "tag:yaml.org,2002:float", _TIMESTAMP))

_T = TypeVar("_T")


class TextFileError(ValueError):
    """A text is not valid YAML or JSON, or exceeds a limit. The message is only the reason, without the file."""


def read_yaml(path: Path | PackedFile) -> Any:
    """Read a YAML file, also in an archive.

    Raises:
        OSError: it cannot be opened.
        TextFileError: it is not valid YAML in UTF-8, or exceeds a limit.
    """
    return parse_yaml(read_text(path, MAX_YAML_BYTES))


def parse_yaml(text: str) -> Any:
    """The value of a YAML text; see :func:`read_yaml`."""
    return _guarded(lambda: yaml.load(text, _BoundedLoader))


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        OSError: it cannot be opened.
        TextFileError: it is not valid JSON in UTF-8, or exceeds a limit.
    """
    return parse_json(read_text(path, MAX_JSON_BYTES))


def parse_json(text: str) -> Any:
    """The value of a JSON text; see :func:`read_json`."""
    return _guarded(lambda: json.loads(text))


def read_text(path: Path | PackedFile, limit: int) -> str:
    """Read a regular UTF-8 file of at most ``limit`` bytes.

    Raises:
        OSError: it cannot be opened, or is a pipe or device.
        TextFileError: it is too long, or is not UTF-8.
    """
    if isinstance(path, Path):
        with open_regular(path) as file:
            content = file.read(limit + 1)
    else:
        content = path.read_bytes()
    if len(content) > limit:
        raise TextFileError(f"it has more than {limit:,} bytes")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TextFileError(f"it is not UTF-8: {error}") from error


def _guarded(parse: Callable[[], _T]) -> _T:
    try:
        return parse()
    except TextFileError:
        raise
    except RecursionError:
        raise TextFileError("it is nested too deeply") from None
    # YAML constructors raise ValueError, OverflowError, … for values such as the date 2001-99-99.
    except (yaml.YAMLError, ValueError, ArithmeticError, TypeError, LookupError, AttributeError) as error:
        raise TextFileError(shorten(one_line(error), 300)) from error


class _BoundedLoader(yaml.SafeLoader):
    """A SafeLoader with limits on the cost of parsing."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._depth = self._nodes = 0
        self._sizes: dict[str, int] = {}
        self._open: set[str] = set()

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Count depth, and nodes with aliases expanded."""
        event: Any = self.peek_event()
        name = getattr(event, "anchor", None)
        if isinstance(event, yaml.AliasEvent):
            if name in self._open:
                raise TextFileError(f"the alias *{shorten(str(name), 40)} refers to its own parent")
            self._count(self._sizes.get(str(name), 1))
            return super().compose_node(parent, index)
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise TextFileError(f"it is nested more than {MAX_DEPTH} levels deep")
        before = self._nodes
        self._count(1)
        if name is not None:
            self._open.add(name)
        node: Any = super().compose_node(parent, index)
        if name is not None:
            self._open.discard(name)
            self._sizes[name] = self._nodes - before
        self._depth -= 1
        if node.tag in _NUMBERS:
            _check_number(node)
        if isinstance(node, yaml.MappingNode):
            _check_keys(node)
        return node

    def _count(self, nodes: int) -> None:
        self._nodes += nodes
        if self._nodes > MAX_NODES:
            raise TextFileError(f"with its aliases expanded it has more than {MAX_NODES:,} values")


def _check_number(node: Any) -> None:
    """Reject long numbers, and numbers in base 60: YAML 1.1 reads 1:30 as 90."""
    if len(node.value) > _MAX_NUMBER:
        raise TextFileError(f"{shorten(node.value, 20)} is too long for a number")
    if ":" in node.value and node.tag != _TIMESTAMP:
        raise TextFileError(
            f"{node.value} in line {node.start_mark.line + 1} is a number in base 60: write it in quotes"
        )


def _check_keys(node: yaml.MappingNode) -> None:
    """Reject duplicate keys: PyYAML silently keeps the last."""
    lines: dict[tuple[str, str], int] = {}
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
            continue
        which, line = (key.tag, key.value), key.start_mark.line + 1
        if which in lines:
            raise TextFileError(
                f"the key {shorten(key.value, 60)} is in line {lines[which]} and again in line {line}"
            )
        lines[which] = line

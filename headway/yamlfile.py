"""YAML parsing that keeps the position of every value, for errors that show the line.

PyYAML's node tree carries a mark (line and column) for each key and value; a plain `yaml.safe_load` throws it
away. `parse` keeps the marks, so that what pydantic finds wrong later can be shown in the file itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from headway.bus.errors import ConfigError

ValuePath = tuple[str | int, ...]
"""Path of a value in the document: keys and list indexes from the top."""

_MERGE: Final = "tag:yaml.org,2002:merge"


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in a file; both counted from 1. `width` is how many characters to underline."""

    line: int
    column: int
    width: int = 1


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem and its position."""

    mark: Mark
    text: str


@dataclass(frozen=True, slots=True)
class YamlDocument:
    """A parsed file.

    Attributes:
        name: the file's name as the user gave it.
        text: its content.
        value: plain Python values.
        keys: position of each mapping key, by the path of its value.
        values: position of each value, by its path.
    """

    name: str
    text: str
    value: Any
    keys: dict[ValuePath, Mark]
    values: dict[ValuePath, Mark]

    def key(self, path: ValuePath) -> Mark:
        """Return the position of the key of `path`, or else of the nearest enclosing value."""
        return self.keys.get(path) or self.at(path)

    def at(self, path: ValuePath) -> Mark:
        """Return the position of the value of `path`, or else of the nearest enclosing value."""
        while path:
            if path in self.values:
                return self.values[path]
            path = path[:-1]
        return self.values.get((), Mark(1, 1))

    def error(self, problems: Iterable[Problem], *, remedy: str) -> ConfigError:
        """Return one error that shows each problem with its line, in the order of the file."""
        lines = self.text.splitlines()
        ordered = sorted(problems, key=lambda problem: (problem.mark.line, problem.mark.column))
        return ConfigError("\n".join(_show(self.name, lines, problem) for problem in ordered), remedy=remedy)


def parse(name: str, text: str) -> YamlDocument:
    """Read one YAML document.

    Args:
        name: the file's name, for errors.
        text: its content.

    Raises:
        ConfigError: if it is not YAML, repeats a key, or has a key that is not text.
    """
    document = YamlDocument(name, text, None, {}, {})
    try:
        loader = yaml.SafeLoader(text)
        try:
            node = loader.get_single_node()
            problems: list[Problem] = []
            value = None if node is None else _value(loader, node, (), document, problems)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        where = error.problem_mark or error.context_mark
        mark = Mark(where.line + 1, where.column + 1) if where else Mark(1, 1)
        raise document.error(
            [Problem(mark, f"this is not YAML: {error.problem or error.context}")],
            remedy="check the indentation, and quote text that has ':' or '#' in it",
        ) from error
    except yaml.YAMLError as error:
        raise document.error(
            [Problem(Mark(1, 1), f"this is not YAML: {str(error).splitlines()[0]}")], remedy="save it as UTF-8 text"
        ) from error
    if problems:
        raise document.error(problems, remedy="every key must be text and unique in its mapping")
    return YamlDocument(name, text, value, document.keys, document.values)


def read(path: Path) -> YamlDocument:
    """Read a YAML file.

    Raises:
        ConfigError: if it cannot be read or is not YAML.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ConfigError(
            f"there is no {path}", remedy="create it, or name an app: headway up headway.services.fax:fax"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}", remedy="make it a readable UTF-8 text file") from error
    return parse(str(path), text)


def _value(
    loader: yaml.SafeLoader, node: yaml.Node, path: ValuePath, document: YamlDocument, problems: list[Problem]
) -> Any:
    document.values[path] = _mark(node)
    if isinstance(node, yaml.SequenceNode):
        return [_value(loader, item, (*path, i), document, problems) for i, item in enumerate(node.value)]
    if isinstance(node, yaml.MappingNode):
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            mark = _mark(key_node)
            if key_node.tag == _MERGE:
                problems.append(Problem(mark, "merge keys ('<<') are not supported"))
                continue
            key = loader.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                problems.append(Problem(mark, f"key {key!r} is not text, quote it"))
                continue
            if key in result:
                first = document.keys[*path, key]
                problems.append(Problem(mark, f"key {key!r} appears twice, first in line {first.line}"))
                continue
            document.keys[*path, key] = mark
            result[key] = _value(loader, value_node, (*path, key), document, problems)
        return result
    return loader.construct_object(node, deep=True)


def _mark(node: yaml.Node) -> Mark:
    start, end = node.start_mark, node.end_mark
    width = end.column - start.column if end.line == start.line else 1
    return Mark(start.line + 1, start.column + 1, max(1, width))


def _show(name: str, lines: list[str], problem: Problem) -> str:
    mark = problem.mark
    shown = lines[mark.line - 1] if mark.line <= len(lines) else ""
    gutter = f"{mark.line:>5} | "
    return (
        f"{name}:{mark.line}:{mark.column}: {problem.text}\n"
        f"{gutter}{shown}\n"
        f"{' ' * (len(gutter) - 2)}| {' ' * (mark.column - 1)}{'^' * mark.width}"
    )

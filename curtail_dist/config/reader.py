"""Builds frozen dataclasses from plain YAML values, and writes them back.

Unknown keys, wrong types, numbers that are not finite and missing values are ConfigErrors that name the key
by its full path.
"""

import dataclasses
import math
import types
import typing
from collections.abc import Collection, Mapping
from datetime import UTC, date, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from curtail_dist.errors import ConfigError

T = TypeVar("T")


class Refused(ConfigError):
    """A value that a section's own check refuses: `key is value; it must be must`."""

    def __init__(self, key: str, value: object, must: str) -> None:
        """Name the key by any path that ends in the section's own part of it."""
        shown = str(value) if isinstance(value, Path) else value
        super().__init__(f"{key} is {shown!r}; it must be {must}")
        self._said = (key, value, must)

    def below(self, path: str, section: Collection[str]) -> "Refused":
        """Return the same of a section that is found at `path` and has these keys, by the key's full path."""
        key, value, must = self._said
        words = key.split(".")
        first = next((place for place, word in enumerate(words) if word in section), 0)
        return Refused(_join(path, ".".join(words[first:])), value, must)


def load_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file whose top level is a mapping; raises ConfigError with the file's name."""
    import yaml  # half of what importing this package would take

    from curtail_dist.config import dialect

    try:
        loaded = dialect.load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"run file {path} cannot be read ({error.strerror}); give the path of an existing file"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"run file {path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(loaded, dict):
        raise ConfigError(
            f"run file {path} holds a {type(loaded).__name__}; it must be a mapping of sections"
        )
    return typing.cast("dict[str, Any]", loaded)


def override(tree: dict[str, Any], assignment: str) -> None:
    """Apply one `a.b=c` to a tree in place; the value is read as YAML."""
    import yaml

    from curtail_dist.config import dialect

    path, equals, text = assignment.partition("=")
    if not equals or not path:
        raise ConfigError(f"--set got {assignment!r}; it must read KEY.KEY=VALUE")
    *parents, last = path.split(".")
    node = tree
    for key in parents:
        child: Any = node.setdefault(key, {})
        if not isinstance(child, dict):
            raise ConfigError(f"--set {path}: {key} is {child!r}, which holds no keys; name a section")
        node = typing.cast("dict[str, Any]", child)
    try:
        node[last] = dialect.load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {path} got {text!r}, which is not YAML; quote it") from error


def build(kind: type[T], value: Any, path: str) -> T:
    """Build dataclass `kind` from a mapping found at `path`.

    Raises ConfigError. What the sections' own checks refuse is named by its full path, too.
    """
    if not isinstance(value, Mapping):
        raise ConfigError(f"{path or 'the run file'} is {value!r}; it must be a mapping")
    given = typing.cast("Mapping[str, Any]", value)
    hints = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(typing.cast("Any", kind))}
    for key in given:
        if key not in fields:
            close = get_close_matches(str(key), fields, n=1)
            hint = f"did you mean {close[0]}?" if close else f"known keys: {', '.join(sorted(fields))}"
            raise ConfigError(f"unknown key {_join(path, str(key))}; {hint}")
    built: dict[str, Any] = {}
    for name, field in fields.items():
        if name in given:
            built[name] = _convert(hints[name], given[name], _join(path, name))
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ConfigError(f"{_join(path, name)} is missing; it must be given")
    try:
        return kind(**built)
    except Refused as error:
        raise error.below(path, fields) from None


def plain(value: Any) -> Any:
    """Turn a configuration value back into what YAML can write."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in typing.cast("Mapping[str, Any]", value).items()}
    if isinstance(value, tuple):
        return [plain(item) for item in typing.cast("tuple[Any, ...]", value)]
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, Path) else value


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _convert(hint: Any, value: Any, path: str) -> Any:
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return _convert_optional(hint, value, path)
    if dataclasses.is_dataclass(hint):
        return build(typing.cast("type[Any]", hint), value, path)
    if origin in (dict, Mapping):
        return _convert_mapping(hint, value, path)
    if origin is tuple:
        return _convert_tuple(hint, value, path)
    if hint is Any:
        return value
    return _convert_scalar(hint, value, path)


def _convert_optional(hint: Any, value: Any, path: str) -> Any:
    if value is None:
        return None
    inner = next(arg for arg in typing.get_args(hint) if arg is not type(None))
    return _convert(inner, value, path)


def _convert_mapping(hint: Any, value: Any, path: str) -> Any:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{path} is {value!r}; it must be a mapping")
    inner = typing.get_args(hint)[1]
    items = typing.cast("Mapping[Any, Any]", value).items()
    for key in value:
        if key is None or isinstance(key, bool):
            raise ConfigError(
                f"a key of {path} is {key!r}, as YAML reads yes, no, on, off and null; it must be text: "
                "quote it"
            )
    return {str(key): _convert(inner, item, _join(path, str(key))) for key, item in items}


def _convert_tuple(hint: Any, value: Any, path: str) -> Any:
    if not isinstance(value, list | tuple):
        raise ConfigError(f"{path} is {value!r}; it must be a list")
    inner = typing.get_args(hint)[0]
    items = typing.cast("list[Any]", value)
    return tuple(_convert(inner, item, f"{path}[{index}]") for index, item in enumerate(items))


def _convert_scalar(hint: Any, value: Any, path: str) -> Any:
    if hint is datetime:
        return _convert_datetime(value, path)
    if hint is Path and isinstance(value, str):
        return Path(value)
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return _convert_number(value, path)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise ConfigError(f"{path} is {value!r}; it must be {_NAMES.get(hint, str(hint))}")
    return value


def _convert_number(value: float, path: str) -> float:
    """Return a number with which can be reckoned: neither nan nor infinite, nor beyond what a float holds."""
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ConfigError(f"{path} is {value}; it must be a finite number")
    return number


def _convert_datetime(value: Any, path: str) -> datetime:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError as error:
            raise ConfigError(
                f"{path} is {value!r}; it must be a time such as 2026-03-21T17:00:00+00:00"
            ) from error
    if isinstance(value, datetime):
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    raise ConfigError(f"{path} is {value!r}; it must be a time such as 2026-03-21T17:00:00+00:00")


_NAMES: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    str: "text",
    bool: "true or false",
    Path: "a path",
}

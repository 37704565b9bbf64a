"""Building a frozen dataclass from a mapping, such as a run file's section, with errors that help."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

T = TypeVar("T")


def from_mapping(cls: type[T], section: str, values: Mapping[str, object]) -> T:
    """Build `cls`, a dataclass of ints, floats, bools, strings and tuples of floats.

    Args:
        cls: The dataclass; keys that `values` lacks keep its defaults.
        section: What errors call the mapping, e.g. `model`.
        values: Keys are field names.

    Raises:
        ValueError: A key is unknown, missing, or its value has the wrong type; one line.
    """
    hints = get_type_hints(cls)
    known = [field.name for field in fields(cls) if field.init]  # pyright: ignore[reportArgumentType]
    check_known(section, values, known)
    built = {name: _checked(f"{section}.{name}", value, hints[name]) for name, value in values.items()}
    try:
        return cls(**built)
    except TypeError as error:
        missing = sorted(set(known) - set(values))
        raise ValueError(
            f"{section} lacks a key; it must have all of {', '.join(missing)}: add it"
        ) from error


def check_known(section: str, values: Mapping[str, object], known: list[str]) -> None:
    """Raise ValueError for the first key of `values` that is not in `known`."""
    for name in values:
        if name not in known:
            raise ValueError(f"{section}.{name} is no key; it must be one of {', '.join(known)}: remove it")


def require(holds: bool, key: str, value: object, must: str) -> None:
    """Raise ValueError(`key is value; it must be must`) unless `holds`."""
    if not holds:
        raise ValueError(f"{key} is {value!r}; it must be {must}")


def _checked(key: str, value: object, hint: Any) -> object:
    if hint is float:
        require(_is_number(value), key, value, "a number (write 1.0e-8, not 1e-8, in YAML)")
        return float(value)  # pyright: ignore[reportArgumentType]
    if get_origin(hint) is tuple:
        size = len(get_args(hint))
        holds = isinstance(value, list | tuple) and len(value) == size and all(_is_number(x) for x in value)
        require(holds, key, value, f"a list of {size} numbers")
        return tuple(float(x) for x in value)  # pyright: ignore[reportGeneralTypeIssues]
    name = {int: "a whole number", bool: "true or false", str: "text"}[hint]
    holds = isinstance(value, hint) and (hint is not int or not isinstance(value, bool))
    require(holds, key, value, name)
    return value


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)

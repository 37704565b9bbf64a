"""Makes policies and signals of a user's own, which the run file names by where to import them."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from curtail_dist.errors import ConfigError, CurtailError


def find_own(key: str, kind: str) -> Callable[..., Any]:
    """Import what `kind` (MODULE:NAME) names; `key` is where the run file says so.

    Raises ConfigError where there is no such thing.
    """
    module, _, name = kind.partition(":")
    try:
        found = getattr(importlib.import_module(module), name, None)
    except Exception as error:  # the user's own module may fail in any way
        raise ConfigError(
            f"{key} is {kind!r}, and {module} cannot be imported ({_told(error)}); it must be installed, "
            "or lie in a directory of PYTHONPATH"
        ) from error
    if not callable(found):
        raise ConfigError(f"{key} is {kind!r}; there must be a {name} in {module} that can be called")
    return found


def make_own(
    key: str, kind: str, options: Mapping[str, Any], *, members: Sequence[str], **given: object
) -> Any:
    """Call what `kind` names and return what it makes.

    Args:
        key: Where the run file says so, for errors.
        kind: MODULE:NAME.
        options: Handed over as keywords.
        members: What there must be in what is made.
        given: Keywords that are handed over besides; options must not name them.

    Raises:
        ConfigError: There is no such thing, it fails, or what it makes is something else.
    """
    maker = find_own(key, kind)
    twice = sorted(set(options) & set(given))
    if twice:
        raise ConfigError(
            f"{key} is {kind!r}, which gets {', '.join(twice)} anyway; leave it out of the options"
        )
    try:
        made = maker(**given, **options)
    except CurtailError:
        raise
    except Exception as error:  # the user's own code may fail in any way
        raise ConfigError(
            f"{key} is {kind!r}, which fails ({_told(error)}); mend it, or give the options that it takes"
        ) from error
    missing = [member for member in members if not hasattr(made, member)]
    if missing:
        raise ConfigError(
            f"{key} is {kind!r}, and what it makes, of type {type(made).__name__}, has no "
            f"{', no '.join(missing)}; it must have {', '.join(members)}"
        )
    return made


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"

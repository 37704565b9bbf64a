"""JSON pointers (RFC 6901)."""

from typing import Any, cast

from curtail_dist.energy.providers.answers import ProviderFailure


def resolve(document: Any, pointer: str) -> Any:
    """Return the part of a document that a pointer names. Raises ProviderFailure where there is none."""
    found = document
    for token in pointer.split("/")[1:]:
        name = token.replace("~1", "/").replace("~0", "~")
        if isinstance(found, dict) and name in found:
            found = cast("dict[str, Any]", found)[name]
        elif isinstance(found, list) and name.isdigit() and int(name) < len(cast("list[Any]", found)):
            found = cast("list[Any]", found)[int(name)]
        else:
            raise ProviderFailure(f"its answer has nothing at {pointer}, since there is no {name!r}")
    return found

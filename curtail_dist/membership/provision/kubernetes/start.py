"""What a pod is told of its start: an annotation of its template, which it reads as CURTAIL_START."""

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

START_VARIABLE = "CURTAIL_START"
POD_VARIABLE = "CURTAIL_POD_UID"
TOLD = 128 + 15
"""For ranks that were told to end and whose pod was gone before anybody saw its code."""


@dataclass(frozen=True, kw_only=True)
class Start:
    """One start of a site."""

    id: str = ""
    """As no other's; empty where nobody ordered it: the pod came with its node."""
    variables: Mapping[str, str]
    """For the ranks' environment."""


def start_text(variables: Mapping[str, str]) -> str:
    """Return the annotation of a new start."""
    return json.dumps({"id": uuid.uuid4().hex[:12], "variables": dict(variables)}, sort_keys=True)


def read_start(text: str) -> Start:
    """Read an annotation; nothing there is a start that nobody ordered. Raises ValueError."""
    if not text:
        return Start(variables={})
    told = json.loads(text)
    variables = {str(name): str(value) for name, value in told["variables"].items()}
    return Start(id=str(told["id"]), variables=variables)

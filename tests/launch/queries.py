"""Reads PromQL as far as it takes to tell which metrics, labels and functions a query names."""

import re
from dataclasses import dataclass, field

_LISTS = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^()]*)\)")
_SELECTOR = re.compile(r"([a-zA-Z_:][\w:]*)\s*\{([^{}]*)\}")
_MATCHER = re.compile(r'\s*([a-zA-Z_]\w*)\s*(?:=~|!~|!=|=)\s*"[^"]*"\s*')
_WORDS = {"and", "or", "unless", "bool", "offset"}
FUNCTIONS = {"sum", "max", "min", "rate", "increase", "time", "min_over_time"}
"""Those that our queries use; another one is to be looked up before it is added."""


@dataclass
class Query:
    """What a query names."""

    metrics: dict[str, set[str]] = field(default_factory=dict)
    """Metric -> labels that it is matched by."""
    labels: set[str] = field(default_factory=set)
    """What it is grouped or joined by."""


def read_query(text: str) -> Query:
    """Raises ValueError for what is no query as far as this understands it."""
    found = Query()
    if text.count("(") != text.count(")") or text.count("{") != text.count("}") or text.count('"') % 2:
        raise ValueError(f"{text!r} is not closed")
    rest = re.sub(r"\[[^\]]*\]", " ", text)
    for match in _LISTS.finditer(rest):
        found.labels |= {label.strip() for label in match[1].split(",") if label.strip()}
    rest = _LISTS.sub(" ", rest)
    for match in _SELECTOR.finditer(rest):
        matchers = [one for one in match[2].split(",") if one.strip()]
        read = [_MATCHER.fullmatch(one) for one in matchers]
        if not all(read):
            raise ValueError(f"{match[0]!r} has a matcher that is none")
        found.metrics.setdefault(match[1], set()).update(one[1] for one in read if one)
    rest = _SELECTOR.sub(r" ", rest)
    for match in re.finditer(r"\b([a-zA-Z_:][\w:]*)\s*(\()?", rest):
        if match[2] and match[1] not in FUNCTIONS:
            raise ValueError(f"{match[1]} is no function that is known here")
        if not match[2] and match[1] not in _WORDS:
            found.metrics.setdefault(match[1], set())
    return found

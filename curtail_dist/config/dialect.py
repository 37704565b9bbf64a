"""YAML as run files are written: 1.1, and numbers with an exponent as everybody writes them, 1e-3.

YAML 1.1 takes `1e-3` for text, since it wants a point and a signed exponent; YAML 1.2 takes it for a number.
What is written is quoted by the same rule, so that text which looks like such a number stays text.

A key that stands twice in one mapping is refused, as YAML has it: the first of the two would be lost.
"""

import re
from typing import Any

import yaml

_MERGE = "tag:yaml.org,2002:merge"
_FLOAT = "tag:yaml.org,2002:float"
_EXPONENT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)[eE][-+]?[0-9]+\Z")


class _Loader(yaml.SafeLoader):
    """Reads plain values alone."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        first: dict[tuple[str, Any], yaml.Mark] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == _MERGE:
                continue
            mark = first.setdefault((key.tag, key.value), key.start_mark)
            if mark is not key.start_mark:
                raise yaml.MarkedYAMLError(
                    problem=f"the key {key.value} stands there twice, first in line {mark.line + 1}; "
                    "leave one, or put the two together",
                    problem_mark=key.start_mark,
                )
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """Writes plain values alone."""


for _one in (_Loader, _Dumper):
    _one.add_implicit_resolver(_FLOAT, _EXPONENT, list("-+.0123456789"))


def load(text: str) -> Any:
    """Return the value of a document. Raises yaml.YAMLError."""
    return yaml.load(text, Loader=_Loader)


def dump(value: Any) -> str:
    """Return a document from which `load` gives the same value."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False)

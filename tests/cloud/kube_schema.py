"""Whether an object is what the official client's models say of its kind: fields, types, what is required."""

import re
from typing import Any

from kubernetes import client

_QUANTITIES = {"limits", "requests", "capacity", "size_limit", "hard"}
_PLAIN = {"str": str, "int": int, "bool": bool, "float": float}
_GROUPS = {
    "v1": "V1",
    "apps/v1": "V1",
    "batch/v1": "V1",
    "policy/v1": "V1",
    "networking.k8s.io/v1": "V1",
    "rbac.authorization.k8s.io/v1": "V1",
}


def faults_of(found: dict[str, Any]) -> list[str]:
    """Return what is wrong with an object, nothing where all is right."""
    kind = found.get("kind", "")
    model = getattr(client, f"{_GROUPS.get(found.get('apiVersion', ''), '?')}{kind}", None)
    if model is None:
        return [f"there is no kind {kind!r} in {found.get('apiVersion')!r}"]
    return _model(found, model, kind)


def _model(value: Any, model: Any, path: str) -> list[str]:
    if not isinstance(value, dict):
        return [f"{path} is {value!r}; it must be a mapping"]
    if not hasattr(model, "openapi_types"):
        return []
    names = {alias: name for name, alias in model.attribute_map.items()}
    faults = [f"{path}.{key} is unknown" for key in value if key not in names]
    for name, field in getattr(model, "model_fields", {}).items():
        alias = field.serialization_alias or name
        if field.is_required() and value.get(alias) is None:
            faults.append(f"{path}.{alias} is missing")
    for key, item in value.items():
        if key in names:
            faults += _value(item, model.openapi_types[names[key]], f"{path}.{key}", names[key])
    return faults


def _value(value: Any, kind: str, path: str, name: str) -> list[str]:
    if listed := re.fullmatch(r"[Ll]ist\[(.+)\]", kind):
        if not isinstance(value, list):
            return [f"{path} is {value!r}; it must be a list"]
        parts = [_value(one, listed[1], f"{path}[{index}]", name) for index, one in enumerate(value)]
        return [fault for part in parts for fault in part]
    if mapped := re.fullmatch(r"[Dd]ict[\[(]str, (.+)[\])]", kind):
        if not isinstance(value, dict):
            return [f"{path} is {value!r}; it must be a mapping"]
        parts = [_value(one, mapped[1], f"{path}.{key}", name) for key, one in value.items()]
        return [fault for part in parts for fault in part]
    if kind in _PLAIN:
        quantity = name in _QUANTITIES and isinstance(value, int) and not isinstance(value, bool)
        right = isinstance(value, _PLAIN[kind]) and (kind == "bool" or not isinstance(value, bool))
        return [] if right or quantity else [f"{path} is {value!r}; it must be a {kind}"]
    model = getattr(client, kind, None)
    return [] if model is None else _model(value, model, path)

"""Writes configuration.md: every key of the run file, from the dataclasses that read it."""

import ast
import dataclasses
import inspect
import re
import textwrap
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from curtail_launch.settings import TrainOptions

from curtail_dist.config import RunConfig
from curtail_dist.config.reader import build
from curtail_dist.errors import ConfigError

HEAD = """# The run file

Every key, made from the dataclasses that read it (`python docs/site/generate.py`). Unknown keys are
errors, and so are numbers that are not finite. Relative paths start at the run file. Any key can be set
for one command: `--set outer.lr=0.5`. The effective configuration is written to `config.yaml` in the run
directory. Units stand in a key's name (`_s` seconds, `_w` watts, `_h` hours, `_g_per_kwh`) and in its
type; seconds are run time unless a key says *real time*. "Must be" is what the check says that refuses
another value.
"""
UNITS = {
    "Seconds": "number, s",
    "Watts": "number, W",
    "Joules": "number, J",
    "Grams": "number, g",
    "GramsCO2PerKWh": "number, g CO2/kWh",
    "float": "number",
    "int": "whole number",
    "str": "text",
    "bool": "true or false",
    "Path": "path",
    "datetime": "time",
    "Any": "anything",
    "Implementation": "text",
}
_UUID = "00000000-0000-4000-8000-000000000000"
_PRODUCTION = {"path": "wind.csv"}
_SIGNALS: tuple[dict[str, Any], ...] = (
    {"kind": "constant", "value": 40},
    {"kind": "trace", "path": "a.csv"},
    {"kind": "watttime", "region": "A"},
    {"kind": "prometheus", "url": "http://a", "query": "a"},
    {"kind": "http", "url": "http://a", "value_at": "/a"},
)
_SITE = {"signal": _SIGNALS[0], "power": {"train_w": 2, "idle_w": 1}}
SAMPLES: Mapping[str, tuple[dict[str, Any], ...]] = {
    "RunSection": ({"name": "a", "directory": "."},),
    "DataConfig": ({"manifest": "a"},),
    "SiteConfig": (_SITE,),
    "SignalConfig": _SIGNALS,
    "PowerConfig": (
        {"train_w": 2, "idle_w": 1},
        {"train_w": 2, "idle_w": 1, "capped_w": 1, "capped_speed": 0.5},
    ),
    "TlsConfig": ({"ca": "a"},),
    "CommandConfig": ({"start": ["a"], "stop": ["a"], "poll": ["a"]},),
    "KubernetesConfig": ({"name": "a"},),
    "ExalsiusConfig": ({"cluster": "a", "nodes": [_UUID]},),
    "MeterConfig": (
        {},
        {"kind": "nvml"},
        {"kind": "prometheus", "covers": "a", "url": "http://a", "query": "a", "unit": "watts"},
        {"kind": "constant", "covers": "a", "watts": 5},
    ),
    "PriceConfig": ({"per_kwh": 0.1}, {"path": "a.csv"}),
    "MicrogridConfig": ({"train_w": 2, "production": _PRODUCTION},),
    "ProductionConfig": (_PRODUCTION,),
    "StorageConfig": ({"capacity_wh": 10, "initial_soc": 0.5},),
    "TrainOptions": ({"tokenizer": "a", "total_tokens": 1},),
}
"""Values of each class that its checks take, from which wrong ones are made."""
WRONG: tuple[Any, ...] = (-1, 0, 2, 1.5, float("nan"), 10**9, "?", "", (), (-1,), ("",), ("?",))
_CONDITION = re.compile(r"left out|given|only for|with provisioner|where |a mapping$|a list$")
"""What a check says of keys that do not go together, or the reader of a type: not of the value alone."""


def page() -> str:
    """Return the page."""
    own = "## `train`, as `curtail_launch.train` reads it\n"
    sections = dict[type, str]()
    _find(RunConfig, "", sections)
    told = [part for kind, path in sections.items() for part in _section(kind, path, sections)]
    return "\n".join([HEAD, *told, own, *_table(TrainOptions, "train", {})])


def _find(kind: type, path: str, sections: dict[type, str]) -> None:
    """Note where each class stands first in the run file."""
    sections[kind] = path
    for where, inner in _inner(kind, path):
        if inner not in sections:
            _find(inner, where, sections)


def _section(kind: type, path: str, sections: Mapping[type, str]) -> Iterator[str]:
    if path:
        yield f"## `{path}`\n"
    yield f"{_inline(inspect.getdoc(kind) or '')}\n"
    yield from _table(kind, path, sections)


def _inner(kind: type, path: str) -> Iterator[tuple[str, type]]:
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        for found in _classes(hints[field.name]):
            many = "Mapping" in str(hints[field.name])
            yield f"{_join(path, field.name)}{'.NAME' if many else ''}", found


def _classes(hint: Any) -> Iterator[type]:
    if dataclasses.is_dataclass(hint):
        yield typing.cast("type", hint)
    for inner in typing.get_args(hint):
        yield from _classes(inner)


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _table(kind: type, path: str, sections: Mapping[type, str]) -> Iterator[str]:
    notes, types = _source(kind)
    hints = typing.get_type_hints(kind)
    rows = ["| key | type | default | |", "|---|---|---|---|"]
    for field in dataclasses.fields(kind):
        linked = next(_classes(hints[field.name]), None)
        typed = _typed(types[field.name]) if linked is None else _link(types[field.name], sections[linked])
        must = _must(kind, field.name)
        told = notes.get(field.name) or (
            "" if linked is None else (inspect.getdoc(linked) or "").split("\n\n")[0]
        )
        check = f" Must be {must}." if must else ""
        rows.append(
            f"| `{_join(path, field.name)}` | {typed} | {_default(field, told)} | {_inline(told + check)} |"
        )
    yield "\n".join(rows) + "\n"


def _source(kind: type) -> tuple[dict[str, str], dict[str, str]]:
    """Return each field's docstring and its type as written."""
    body = typing.cast("ast.ClassDef", ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]).body
    notes, types = dict[str, str](), dict[str, str]()
    for before, after in zip(body, [*body[1:], None], strict=True):
        if isinstance(before, ast.AnnAssign) and isinstance(before.target, ast.Name):
            types[before.target.id] = ast.unparse(before.annotation).replace("'", "")
            if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                notes[before.target.id] = inspect.cleandoc(str(after.value.value))
    return notes, types


def _typed(written: str) -> str:
    plain = written.removesuffix(" | None")
    if found := re.fullmatch(r"tuple\[(.+), \.\.\.\]", plain):
        return f"list of {_typed(found[1])}"
    if found := re.fullmatch(r"Mapping\[str, (.+)\]", plain):
        return f"mapping to {_typed(found[1])}"
    return UNITS[plain]


def _link(written: str, path: str) -> str:
    anchor = f"[section](#{re.sub('[^a-z0-9_-]', '', path.lower())})"
    return (
        f"mapping to {anchor}"
        if "Mapping" in written
        else f"list of {anchor}"
        if "tuple" in written
        else anchor
    )


def _default(field: "dataclasses.Field[Any]", told: str) -> str:
    if field.default_factory is not dataclasses.MISSING:
        made = field.default_factory()
        return "its own" if dataclasses.is_dataclass(made) else f"`{made}`"
    if field.default is dataclasses.MISSING:
        return "-" if "Default:" in told else "must be given"
    if field.default is None or field.default in ("", ()):
        return "-"
    value = {True: "true", False: "false"}.get(field.default) if isinstance(field.default, bool) else None
    return f"`{value or field.default}`"


def _must(kind: type, name: str) -> str:
    """Return what the check of a field says of a wrong value, or nothing if any will do."""
    field_type = next(one for one in dataclasses.fields(kind) if one.name == name)
    for sample in SAMPLES.get(kind.__name__, ({},)):
        for wrong in WRONG:
            if not _fits(field_type, kind, wrong):
                continue
            said = _said(kind, {**sample, name: wrong})
            of, _, must = said.partition("; it must be ")
            if must and of.split(" is ")[0].split(".")[-1] == name and not _CONDITION.search(must):
                return must
    return ""


def _fits(field: "dataclasses.Field[Any]", kind: type, wrong: Any) -> bool:
    hint = typing.get_type_hints(kind)[field.name]
    kinds = {hint, *typing.get_args(hint)} - {type(None)}
    if float in kinds:
        return isinstance(wrong, int | float)
    return type(wrong) in kinds or (isinstance(wrong, tuple) and typing.get_origin(hint) is tuple)


def _said(kind: type, values: dict[str, Any]) -> str:
    try:
        build(kind, values, "")
    except (ConfigError, ValueError) as error:
        return str(error)
    return ""


def _inline(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")

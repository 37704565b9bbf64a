"""Which values of a run file are paths, and what they are relative to: the run file's own directory.

A path that begins with ~ is in a home directory, as in a shell.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

_PATHS = (
    "run.directory",
    "data.manifest",
    "state.url",
    "coordination.tls.ca",
    "coordination.tls.cert",
    "coordination.tls.key",
    "coordination.password_file",
    "security.secret_file",
    "sites.*.provisioner.compile_cache",
    "sites.*.provisioner.slots_directory",
    "sites.*.provisioner.slurm.template",
    "sites.*.provisioner.kubernetes.kubeconfig",
    "sites.*.price.path",
)
_SIGNALS = ("sites.*.signal", "sites.*.average", "baselines.*")
_OF_A_SIGNAL = ("path", "password_file", "token_file", "microgrid.production.path")
_FALLBACKS = 4
"""How many signals may stand behind one another."""


def absolute(tree: Mapping[str, Any], base: Path) -> dict[str, Any]:
    """Return plain values with their paths made absolute, starting at `base`; URLs stay as they are."""
    found: Any = dict(tree)
    fallbacks = [".fallback" * depth for depth in range(_FALLBACKS)]
    signals = [f"{one}{back}.{key}" for one in _SIGNALS for back in fallbacks for key in _OF_A_SIGNAL]
    for path in (*_PATHS, *signals):
        found = _changed(found, path.split("."), base)
    return found


def located(path: str, base: Path) -> Path:
    """Return where a path of a run file in `base` is."""
    return base / os.path.expanduser(path)  # noqa: PTH111 - Path's own raises for a user that is not known


def _changed(value: Any, keys: Sequence[str], base: Path) -> Any:
    """Return a value with what stands at `keys` below it made absolute, where it is there and is text."""
    if not keys:
        return str(located(value, base)) if isinstance(value, str) and value and "://" not in value else value
    if not isinstance(value, Mapping):
        return value
    section = cast("Mapping[str, Any]", value)
    first, *rest = keys
    chosen = section if first == "*" else {first}
    return {key: _changed(item, rest, base) if key in chosen else item for key, item in section.items()}

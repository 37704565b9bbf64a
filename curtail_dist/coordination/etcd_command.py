"""The command line of an etcd that is a cluster by itself, and the environment it runs in."""

import uuid
from collections.abc import Mapping
from pathlib import Path

from curtail_dist.config import TlsConfig

_KEPT_REVISIONS = 1000
"""History that etcd keeps for watches that fell behind; every five minutes it drops what is older."""
_KEPT_REQUESTS = 10_000
"""Applied requests that etcd holds in memory and in its log before it writes a snapshot of its own."""
_DISK_BYTES = 512 * 1024**2
"""Size of the database at which etcd refuses writes: far above what the kept history of a run takes."""


def etcd_command(
    binary: Path, data: Path, client: str, peer: str, *, election_ms: int, tls: TlsConfig | None
) -> list[str]:
    """Return how to start `binary` on the directory `data`.

    Args:
        binary: etcd 3.4 or later.
        data: Its data directory, made where it is not there.
        client: HOST:PORT to listen on for clients.
        peer: HOST:PORT to listen on for other members, of which there are none.
        election_ms: Its election timeout in milliseconds.
        tls: With it both ports speak TLS and want certificates of the same authority.
    """
    scheme = "http" if tls is None else "https"
    client, peer = f"{scheme}://{client}", f"{scheme}://{peer}"
    options = {
        "name": "curtail",
        "data-dir": str(data),
        "listen-client-urls": client,
        "advertise-client-urls": client,
        "listen-peer-urls": peer,
        "initial-advertise-peer-urls": peer,
        "initial-cluster": f"curtail={peer}",
        # Ignored on a data directory that holds a cluster; on any other the cluster gets an id of its own.
        "initial-cluster-token": uuid.uuid4().hex,
        "auto-compaction-mode": "revision",
        "auto-compaction-retention": str(_KEPT_REVISIONS),
        "snapshot-count": str(_KEPT_REQUESTS),
        "quota-backend-bytes": str(_DISK_BYTES),
        "heartbeat-interval": str(max(1, election_ms // 10)),
        "election-timeout": str(election_ms),
        "log-level": "warn",
        **(_tls_options(tls) if tls is not None else {}),
    }
    return [str(binary), *(f"--{name}={value}" for name, value in options.items())]


def _tls_options(tls: TlsConfig) -> dict[str, str]:
    options: dict[str, str] = {}
    for prefix in ("", "peer-"):
        options[f"{prefix}cert-file"] = str(tls.cert)
        options[f"{prefix}key-file"] = str(tls.key)
        options[f"{prefix}trusted-ca-file"] = str(tls.ca)
        options[f"{prefix}client-cert-auth"] = "true"
    return options


def etcd_environment(inherited: Mapping[str, str]) -> dict[str, str]:
    """Drop the settings that etcd takes from its environment: the command line is all there is."""
    return {
        name: value
        for name, value in inherited.items()
        if not name.startswith("ETCD_") or name == "ETCD_UNSUPPORTED_ARCH"
    }

"""What `--rdzv-conf` may hold: how etcd is reached, and torch's own options, which pass."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from curtail_dist.config import TlsConfig
from curtail_dist.coordination.access import Access, open_access
from curtail_dist.security.secret import ENVIRONMENT, RunSecret, parse_secret, read_secret
from curtail_dist.units import Seconds

_CALL_TIMEOUT_S = 5
_OURS = ("read_timeout", "ca", "cert", "key", "user", "password_file", "secret_file")
_TORCHS = (
    "join_timeout",
    "last_call_timeout",
    "close_timeout",
    "heartbeat_timeout",
    "keep_alive_interval",
    "keep_alive_max_attempt",
    "cas_backoff_max_seconds",
    "timeout",
    "is_host",
    "rank",
)
"""What torch's elastic handler takes, and what torchrun adds for other backends."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """How one node's rendezvous reaches etcd, and what it knows that strangers do not."""

    timeout_s: Seconds
    access: Access
    secret: RunSecret | None


def read_options(given: Mapping[str, object], environment: Mapping[str, str] = os.environ) -> Options:
    """Read the options of a rendezvous, and the files that they name.

    Raises ValueError for an option that nobody knows or that is wrong, ConfigError for a file.
    """
    for name in given:
        if name not in _OURS and name not in _TORCHS:
            close = get_close_matches(name, (*_OURS, *_TORCHS), n=1)
            hint = (
                f"did you mean {close[0]}?" if close else f"known are {', '.join(sorted((*_OURS, *_TORCHS)))}"
            )
            raise ValueError(f"--rdzv-conf has {name}, which nobody reads; {hint}")
    said = {name: str(given[name]).strip() for name in _OURS if name in given}
    secret = None
    if "secret_file" in said:
        secret = read_secret(Path(said["secret_file"]))
    elif ENVIRONMENT in environment:
        secret = parse_secret(environment[ENVIRONMENT], ENVIRONMENT)
    password_file = Path(said["password_file"]) if "password_file" in said else None
    return Options(
        timeout_s=_timeout(said.get("read_timeout", str(_CALL_TIMEOUT_S))),
        access=open_access(_tls(said), said.get("user", ""), password_file),
        secret=secret,
    )


def _timeout(text: str) -> Seconds:
    if not text.isdigit() or int(text) == 0:
        raise ValueError(f"--rdzv-conf read_timeout is {text}; it must be a whole number above 0, of seconds")
    return float(text)


def _tls(said: Mapping[str, str]) -> TlsConfig | None:
    given = [name for name in ("cert", "key") if name in said]
    if "ca" not in said:
        if given:
            raise ValueError(f"--rdzv-conf has {given[0]} without ca; name the authority's certificate, too")
        return None
    if len(given) == 1:
        raise ValueError(f"--rdzv-conf has {given[0]} alone; a client's certificate takes both, cert and key")
    cert, key = (Path(said[name]) if given else None for name in ("cert", "key"))
    return TlsConfig(ca=Path(said["ca"]), cert=cert, key=key)

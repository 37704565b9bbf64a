"""What the run file says of how to reach etcd."""

from dataclasses import dataclass
from pathlib import Path

from curtail_dist.config.hosts import is_host_and_port
from curtail_dist.config.sections import require
from curtail_dist.units import Seconds


@dataclass(frozen=True, kw_only=True)
class TlsConfig:
    """Files by which etcd and a client of it know each other; PEM."""

    ca: Path
    """Certificate of the authority that signed etcd's."""
    cert: Path | None = None
    """This client's certificate, where etcd asks for one."""
    key: Path | None = None
    """Its private key."""

    def __post_init__(self) -> None:
        given = (self.cert is None) == (self.key is None)
        require(
            given, "coordination.tls.key", self.key, "given where coordination.tls.cert is, and only there"
        )


@dataclass(frozen=True, kw_only=True)
class CoordinationConfig:
    """How to reach etcd."""

    endpoints: tuple[str, ...] = ("127.0.0.1:2379",)
    """HOST:PORT of etcd's client API. The first that answers is used."""
    lease_ttl_s: Seconds = 2.0
    """Asked time to live of a member's lease; etcd grants at least 2."""
    timeout_s: Seconds = 5.0
    """Deadline of one call to the store."""

    tls: TlsConfig | None = None
    """How the connection to etcd is encrypted. Default: it is not."""
    user: str = ""
    """etcd's user, where its authentication is on."""
    password_file: Path | None = None
    """File that holds the user's password, and nothing else."""

    def __post_init__(self) -> None:
        require(
            bool(self.endpoints), "coordination.endpoints", self.endpoints, "a list of at least one HOST:PORT"
        )
        for endpoint in self.endpoints:
            must = "HOST:PORT, without http:// or a path, the port from 1 to 65535"
            require(is_host_and_port(endpoint), "coordination.endpoints", endpoint, must)
        require(
            self.lease_ttl_s >= 2, "coordination.lease_ttl_s", self.lease_ttl_s, "at least 2 (etcd's least)"
        )
        given = bool(self.user) == (self.password_file is not None)
        key, must = "coordination.password_file", "given where coordination.user is, and only there"
        require(given, key, self.password_file, must)
        require(self.timeout_s > 0, "coordination.timeout_s", self.timeout_s, "above 0")

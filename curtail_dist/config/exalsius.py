"""What the run file says of a site whose machines Exalsius adds to a cluster."""

from dataclasses import dataclass
from uuid import UUID

from curtail_dist.config.sections import require
from curtail_dist.units import Seconds

TOKEN_VARIABLE = "EXALSIUS_TOKEN"
"""Environment variable that holds the bearer token; it stands in no file."""


@dataclass(frozen=True, kw_only=True)
class ExalsiusConfig:
    """Which machines are a site's, and to which cluster they are added while it takes part."""

    cluster: str
    """The cluster's id. Its DaemonSet starts the site's ranks on the machines."""
    nodes: tuple[str, ...]
    """Ids of the machines, all of which come and go together."""
    url: str = "https://api.exalsius.ai/v1"
    """Base of Exalsius' API."""
    poll_s: Seconds = 10.0
    """Real time between two looks at the cluster's machines."""
    timeout_s: Seconds = 10.0
    """Real time for one answer."""
    accept_s: Seconds = 120.0
    """Real time in which an order to add the machines must be taken. It is given again until then."""

    def __post_init__(self) -> None:
        plain = bool(self.cluster) and not set(self.cluster) & set("/?#% ")
        require(plain, "exalsius.cluster", self.cluster, "the id of a cluster")
        distinct = len(set(self.nodes)) == len(self.nodes) > 0
        require(distinct, "exalsius.nodes", list(self.nodes), "distinct ids of machines, at least one")
        for node in self.nodes:
            require(_is_uuid(node), "exalsius.nodes", node, "a UUID in lower case, with hyphens")
        # A token crosses the network with each call: plain HTTP is for a double on this machine.
        safe = self.url.startswith(("https://", "http://127.0.0.1:", "http://localhost:"))
        require(safe, "exalsius.url", self.url, "an https:// address")
        for key in ("poll_s", "timeout_s", "accept_s"):
            require(getattr(self, key) > 0, f"exalsius.{key}", getattr(self, key), "above 0")


def _is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False

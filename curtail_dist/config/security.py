"""What the run file says of who may take part."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class SecurityConfig:
    """Who may take part in the run, and who may read what its sites tell each other."""

    secret_file: Path | None = None
    """File that holds the run's secret, the same at all sites: nobody without it can join, read state or
    enter a group, and what sites tell each other is encrypted. Default: what the environment holds as
    CURTAIL_RUN_SECRET; where that is not set there is no secret, and the network is trusted."""

"""This machine's address for the other sites: as the run file says it, or found."""

import socket
from collections.abc import Mapping, Sequence
from dataclasses import replace

from curtail_dist.config import RunConfig
from curtail_dist.config.sites import AUTO_ADDRESS, ENV_ADDRESS
from curtail_dist.errors import ConfigError
from curtail_dist.security.gate import listen


def with_address(config: RunConfig, name: str, variables: Mapping[str, str]) -> RunConfig:
    """Return the configuration with this machine's own address for site `name`. Raises ConfigError."""
    site = config.site(name)
    try:
        found = own_address(site.address, config.coordination.endpoints, variables)
    except ConfigError as error:
        raise ConfigError(f"sites.{name}.address is {site.address}; {error}") from error
    return replace(config, sites={**config.sites, name: replace(site, address=found)})


def check_listens(config: RunConfig, name: str) -> None:
    """Raise ConfigError unless this machine can listen at the address of site `name`, which stands there."""
    address = config.site(name).address
    try:
        listen(address).close()
    except OSError as error:
        why = (error.strerror or str(error)).partition(" (while")[0]
        raise ConfigError(
            f"sites.{name}.address is {address}, where this machine cannot listen ({why}); it must be an "
            "address of the machine that runs the site: give one of `ip address`, or auto, or start the site "
            "where the address is"
        ) from error


def own_address(said: str, endpoints: Sequence[str], variables: Mapping[str, str]) -> str:
    """Return the address that `said`, as `SiteConfig.address` has it, means on this machine.

    Args:
        said: An address or a host name, which is given back; `auto`; or `env:VARIABLE`.
        endpoints: etcd's, HOST:PORT. No packet is sent to them.
        variables: The process's environment.

    Raises:
        ConfigError: The variable is not there or empty, or this machine has no way to the first endpoint.
    """
    if said == AUTO_ADDRESS:
        return _towards(endpoints[0])
    if not said.startswith(ENV_ADDRESS):
        return said
    variable = said.removeprefix(ENV_ADDRESS)
    value = variables.get(variable, "").strip()
    if not value:
        state = "empty" if variable in variables else "not set"
        raise ConfigError(
            f"{variable} is {state} in the environment; it must hold this machine's address: set it where "
            "the site's ranks are started, or give the address itself"
        )
    return value


def _towards(endpoint: str) -> str:
    """Return the address from which this machine speaks to `endpoint`: a route is looked up, nothing sent."""
    host, _, port = endpoint.rpartition(":")
    try:
        (family, _, _, _, there), *_ = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_DGRAM)
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect(there)
            return str(probe.getsockname()[0])
    except OSError as error:
        raise ConfigError(
            f"there is no way from here to etcd's first endpoint, {endpoint} ({error.strerror or error}): "
            "mend coordination.endpoints, or give the address itself"
        ) from error

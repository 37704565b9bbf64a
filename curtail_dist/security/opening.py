"""Which wire a run's processes use, and what is to be said where it protects nothing."""

import ipaddress

from curtail_dist.config.run import RunConfig
from curtail_dist.config.sites import AUTO_ADDRESS
from curtail_dist.security.secret import ENVIRONMENT, run_secret
from curtail_dist.security.wire import PlainWire, Wire


def open_wire(config: RunConfig) -> Wire:
    """Return the secure wire where the run has a secret, the plain one else. Raises ConfigError."""
    secret = run_secret(config)
    if secret is None:
        return PlainWire()
    from curtail_dist.security.secret_wire import SecretWire  # here: most runs of one machine need no TLS

    return SecretWire(secret, config.run.name)


def exposure(config: RunConfig, wire: Wire) -> str | None:
    """Return what strangers can do to this run, where that is anything, and what to do about it."""
    first = config.coordination.endpoints[0].rpartition(":")[0]
    here = {AUTO_ADDRESS} if is_here(first) else set[str]()  # it is the address that speaks to etcd
    addresses = {name: site.address for name, site in config.sites.items() if site.address not in here}
    far = [f"{name} at {address}" for name, address in addresses.items() if not is_here(address)]
    if wire.secure or not far:
        return None
    return (
        f"run {config.run.name} has no secret, and sites are reached over a network ({', '.join(far)}): "
        "whoever reaches their ports can read the model's state, join groups and break rounds off. Make a "
        f"secret with `curtail secret --out FILE` and name it as security.secret_file (or set {ENVIRONMENT}) "
        "at every site; or keep all ports inside a tunnel such as WireGuard: docs/security.md"
    )


def is_here(address: str) -> bool:
    """Whether an address can only mean this machine."""
    try:
        return ipaddress.ip_address(address.strip("[]")).is_loopback
    except ValueError:
        return address == "localhost"

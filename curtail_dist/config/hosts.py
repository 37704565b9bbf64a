"""Which text can name a machine on a network, alone or with a port."""

import ipaddress
import re

_NAME = re.compile(r"\w(?:[\w.-]*[\w.])?")


def is_host(text: str) -> bool:
    """Whether it can be a host name or an address: no scheme, no port, no path."""
    if _NAME.fullmatch(text):
        return True
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def is_host_and_port(text: str) -> bool:
    """Whether it can be HOST:PORT; an IPv6 address may stand in brackets there."""
    host, _, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    return is_host(host[1:-1] if bracketed else host) and _is_port(port)


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and 0 < int(text) < 2**16

"""The addresses at which a process listens, as the kernel says."""

import ipaddress
from contextlib import suppress
from pathlib import Path

LISTENING = "0A"


def listening(pid: int) -> set[tuple[str, int]]:
    """Address and port of each TCP socket at which a process listens."""
    own = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # it may be closed while it is looked at
            own.add(str(link.readlink()))
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == LISTENING and f"socket:[{words[9]}]" in own:
                address, port = words[1].split(":")
                found.add((str(_address(address)), int(port, 16)))
    return found


def beyond_loopback(pid: int) -> set[int]:
    """Ports of a process that other machines can reach."""
    return {port for address, port in listening(pid) if not ipaddress.ip_address(address).is_loopback}


def _address(written: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The kernel writes 32-bit words in the machine's own order (little-endian here)."""
    words = bytes.fromhex(written)
    turned = b"".join(words[place : place + 4][::-1] for place in range(0, len(words), 4))
    found = ipaddress.ip_address(turned)
    mapped = getattr(found, "ipv4_mapped", None)
    return mapped or found

"""Sites in network namespaces, joined at a hub by links of a limited rate.

Each site has one interface, `eth0`, whose other end is a port of a bridge in a namespace of its own. A token
bucket (tbf) at each end limits what the site sends and what it is sent. The namespaces have no names: each
lives as long as the process that holds it and those that entered it. Its holder ends when its input closes,
so nothing is left behind, however the process that built the network ends.
"""

import ctypes
import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Self

BURST_S = 0.001
BURST_LEAST = 65_536
"""Bytes that pass at once, a packet of the largest size; above it what the rate gives in BURST_S."""
QUEUE_S = 0.02
"""How much a link queues before it drops, in time at its rate."""
_CLONE_NEWNET = 0x40000000
_PR_SET_PDEATHSIG = 1
_ENDS_S = 5.0


class Network:
    """A star of namespaces; a context manager that owns them and their links."""

    def __init__(
        self,
        sites: int,
        rate_bit_s: float,
        *,
        up: Mapping[int, float] = MappingProxyType({}),
        down: Mapping[int, float] = MappingProxyType({}),
    ) -> None:
        """Have so many sites, each with so many bits a second in each direction, headers included.

        `up` and `down` are those of sites that send, or are sent, at another rate.
        """
        self.sites = sites
        self.rate_bit_s = rate_bit_s
        self._up, self._down = up, down
        self._holders: list[subprocess.Popen[bytes]] = []
        self._stack = ExitStack()

    @staticmethod
    def why_not() -> str | None:
        """Return why no such network can be made here; None if it can."""
        missing = [name for name in ("ip", "tc", "nsenter", "unshare") if shutil.which(name) is None]
        if missing:
            return f"{', '.join(missing)} not found (apt-get install iproute2 util-linux)"
        if os.geteuid() != 0:
            return "network namespaces need root"
        bridge, bucket = "ip link add name br0 type bridge", "tbf rate 1mbit burst 9kb latency 1ms"
        command = f"{bridge} && tc qdisc add dev lo root {bucket}"
        tried = subprocess.run(
            ["unshare", "--net", "sh", "-c", command], capture_output=True, text=True, check=False
        )
        return f"a namespace, bridge or tbf is refused: {tried.stderr.strip()}" if tried.returncode else None

    def address(self, site: int) -> str:
        """Address of a site."""
        return f"10.77.{site // 250}.{site % 250 + 1}"

    def __enter__(self) -> Self:
        """Make it. On an error nothing is left."""
        try:
            hub = self._hold()
            _run(hub, "ip link add name br0 type bridge")
            _run(hub, "ip link set br0 up")
            for site in range(self.sites):
                self._join(hub, self._hold(), site)
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove it; whoever entered a namespace must have ended."""
        self._stack.close()

    def _hold(self) -> int:
        """Make a namespace; return the id of the process that holds it."""
        holder = self._stack.enter_context(_Holder())
        self._holders.append(holder.process)
        return holder.process.pid

    def _join(self, hub: int, site: int, index: int) -> None:
        _run(hub, f"ip link add name port{index} type veth peer name eth0 netns {site}")
        _run(hub, f"ip link set port{index} master br0 up")
        _run(site, "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6 || true")
        _run(site, "ip link set lo up")
        _run(site, f"ip address add {self.address(index)}/16 dev eth0")
        _run(site, "ip link set eth0 up")
        up, down = (rates.get(index, self.rate_bit_s) for rates in (self._up, self._down))
        for pid, device, bit_s in ((site, "eth0", up), (hub, f"port{index}", down)):
            burst = max(BURST_LEAST, int(bit_s / 8 * BURST_S))
            queue = burst + int(bit_s / 8 * QUEUE_S)
            _run(pid, f"tc qdisc add dev {device} root tbf rate {int(bit_s)}bit burst {burst} limit {queue}")

    def _site(self, site: int) -> int:
        return self._holders[1 + site].pid

    def sent_bytes(self, site: int) -> int:
        """Return what a site put on its wire so far, all headers and acknowledgements included."""
        shown = _run(self._site(site), "tc -s -j qdisc show dev eth0")
        found: list[dict[str, Any]] = json.loads(shown)
        return int(found[0]["bytes"])

    def congestion_control(self) -> str:
        """Return the name of the congestion control that the sites' connections use."""
        return _run(self._site(0), "cat /proc/sys/net/ipv4/tcp_congestion_control").strip()

    def namespace(self, site: int) -> str:
        """Return the path by which a process enters a site's namespace (see `enter`)."""
        return f"/proc/{self._site(site)}/ns/net"


def enter(namespace: str) -> None:
    """Move this process, which must have one thread as yet, into a namespace. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    with Path(namespace).open("rb") as opened:
        if libc.setns(opened.fileno(), _CLONE_NEWNET):
            code = ctypes.get_errno()
            raise OSError(code, f"{namespace} could not be entered: {os.strerror(code)}")


def die_with_parent() -> None:
    """Let the kernel kill this process when the thread that started it ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, 9)


class _Holder:
    """A process that holds a namespace; it ends with its input, or with this context."""

    def __enter__(self) -> Self:
        self.process = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", "echo; exec cat"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        if not self.process.stdout.read(1):  # it says so once it is in a namespace of its own
            self.process.communicate()
            raise OSError("no network namespace could be made")
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.process.communicate(timeout=_ENDS_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()


def _run(pid: int, command: str) -> str:
    """Run a command in the namespace that a process holds; return what it printed. Raises OSError."""
    words = ["nsenter", f"--net=/proc/{pid}/ns/net", "sh", "-c", command]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"{command!r} failed: {done.stderr.strip()}")
    return done.stdout

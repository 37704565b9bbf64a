"""A run as its store shows it, members that give their state in small chunks, and who fetches it ahead."""

import threading
from contextlib import closing

import torch
from line import Line
from versions import KEYS, WAIT_S, with_record

from curtail_dist.config import RunConfig
from curtail_dist.coordination.memory import MemoryStore
from curtail_dist.errors import StoreUnavailable
from curtail_dist.membership.records import Epoch, Member, Presence
from curtail_dist.runtime.prefetch import Prefetch
from curtail_dist.security import PlainWire
from curtail_dist.state.transfer import StateServer
from curtail_dist.state.version import Version

CHUNK = 4096
CHUNKS = 64
SENT = CHUNK + 32
"""Bytes that a chunk and its hash take."""
SITE = {"signal": {"kind": "constant", "value": 1.0}, "power": {"train_w": 1.0, "idle_w": 0.5}}


def make(number):
    """Return a version of CHUNKS chunks, and its record."""
    generator = torch.Generator().manual_seed(number)
    tensors = {"parameter/w": torch.randn(CHUNKS, CHUNK // 4, generator=generator)}
    return with_record(Version(number=number, tensors=tensors))


class Giver(StateServer):
    """A member's state server that says when it was asked."""

    def __init__(self, held):
        self.held = held
        self._heard = threading.Condition()
        self.asked = []
        """Number of the version held at each request, None for none."""
        super().__init__(run="r", host="127.0.0.1", wire=PlainWire(), current=self._show, chunk_bytes=CHUNK)

    def wait_for(self, number, *, times=1):
        with self._heard:
            assert self._heard.wait_for(lambda: self.asked.count(number) >= times, WAIT_S)

    def _show(self):
        with self._heard:
            self.asked.append(self.held and self.held.number)
            self._heard.notify_all()
        return self.held


class Store(MemoryStore):
    """A store that can be away; says when it was asked."""

    def __init__(self):
        super().__init__()
        self.away = False
        self.missed = threading.Event()

    def list(self, prefix):
        if self.away:
            self.missed.set()
            raise StoreUnavailable("no answer")
        return super().list(prefix)


class Run:
    """A run as its store shows it, and the prefetch of a process of site `me`."""

    def __init__(self, folder, stack):
        self._folder = folder
        self._stack = stack
        self.store = stack.enter_context(Store())
        self.url = str(folder / "snapshots")

    def give(self, held):
        return self._stack.enter_context(Giver(held))

    def line(self, giver, **how):
        return self._stack.enter_context(closing(Line(giver.port, **how)))

    def live(self, **givers):
        """Have these sites, each with its server, be the epoch's members and live."""
        members = [
            Member(site=site, incarnation=site, host="127.0.0.1", group_port=1, state_port=giver.port)
            for site, giver in sorted(givers.items())
        ]
        for member in members:
            self.store.put(KEYS.member(member.site), Presence(member=member).encode())
        self.store.put(KEYS.epoch, Epoch(number=1, members=tuple(members), reason="founded").encode())

    def commit(self, record):
        self.store.put(KEYS.head, record.encode())

    def fetch(self, *, started=True, timeout_s=WAIT_S, stall_s=WAIT_S):
        config = RunConfig.from_mapping(
            {
                "run": {"name": "r", "directory": str(self._folder)},
                "sites": {"me": SITE},
                "data": {"manifest": str(self._folder / "manifest.json")},
                "train": {"stall_s": stall_s},
                "state": {"url": self.url, "transfer_timeout_s": timeout_s},
            }
        )
        prefetch = Prefetch(self.store, config, site="me", wire=PlainWire())
        self._stack.callback(prefetch.close)
        if started:
            prefetch.start()
        return prefetch


def ended():
    """Wait for the prefetch's thread to end by itself."""
    for thread in threading.enumerate():
        if thread.name == "prefetch":
            thread.join(timeout=WAIT_S)
            assert not thread.is_alive()

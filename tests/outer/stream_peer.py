"""A member of groups over streams in a process of its own, which does what it is told through a pipe.

It sends the port of its meeting, then answers these:

    ("form", name, rank, ports)     leave the group there is and form this one; "ready"
    ("gather", sizes)               take part in a gather; "done" or "lost"
"""

import contextlib
from multiprocessing.connection import Connection
from typing import Any

import torch

from curtail_dist.errors import PeerLost
from curtail_dist.outer.meeting import StreamMeeting
from curtail_dist.outer.streams import StreamExchange, form_streams
from curtail_dist.security.secret import RunSecret
from curtail_dist.security.secret_wire import SecretWire
from curtail_dist.security.wire import PlainWire, Wire

HOST = "127.0.0.1"
WIRES = {"plain": PlainWire, "secret": lambda: SecretWire(RunSecret(bytes(range(32))), "test")}


def live(orders: Connection, kind: str) -> None:
    """Obey until the pipe ends."""
    wire: Wire = WIRES[kind]()
    with contextlib.ExitStack() as stack, contextlib.suppress(EOFError):
        meeting = stack.enter_context(StreamMeeting(HOST, wire))
        orders.send(meeting.port)
        member: StreamExchange | None = None
        while True:
            verb, *rest = orders.recv()
            if verb == "form":
                if member is not None:
                    member.close()
                member = _formed(meeting, wire, *rest)
                stack.callback(member.close)
                orders.send("ready")
            elif member is not None:
                orders.send(_gathered(member, *rest))


def _formed(meeting: StreamMeeting, wire: Wire, name: str, rank: int, ports: list[int]) -> StreamExchange:
    return form_streams(
        name=name,
        rank=rank,
        size=len(ports),
        meeting=meeting,
        peers=[(HOST, port) for port in ports],
        timeout=60.0,
        alive=lambda rank: True,
        wire=wire,
    )


def _gathered(member: StreamExchange, sizes: Any) -> str:
    try:
        member.gather(torch.zeros(sizes[member.rank], dtype=torch.uint8), sizes)
    except PeerLost:
        return "lost"
    return "done"

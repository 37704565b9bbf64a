"""The dashboard as an ASGI application: the page, and a stream of what has changed since.

`GET /events` answers with server-sent events. `picture` holds all that the page shows, or, to a page that
names a revision in Last-Event-ID, what came after it; `log` holds further lines, newest first; `reckoning`
a new summary. An id is `BOOT.GENERATION.REVISION`: another boot or generation gets all of it anew.
"""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from importlib import resources
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from curtail_dist.dashboard.follow import Follower
from curtail_dist.dashboard.log import Entry
from curtail_dist.dashboard.reckoning import Reckoner
from curtail_dist.report.palette import (
    FAINT,
    INK,
    LOST,
    MUTED,
    OPTIMUM,
    PHASE_COLOURS,
    RUN,
    SITE_COLOURS,
    WINDOW,
)
from curtail_dist.units import Seconds

FILES = {
    "/": ("page.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
    "/chart.js": ("chart.js", "text/javascript"),
    "/model.js": ("model.js", "text/javascript"),
    "/log.js": ("log.js", "text/javascript"),
}
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
        "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
LOOK_S: Seconds = 0.2
"""How often a stream looks for something new."""
BEAT_S: Seconds = 5.0
"""A stream without news says that it lives."""
FIRST_LINES, MORE_LINES = 300, 2_000
"""Log lines with the first picture, and in each message after it."""
PAINT_S: Seconds = 0.3
"""Between them: the page draws the picture before it takes in thousands of lines."""
MOST_STREAMS = 32
MOST_WAIT_S: Seconds = 600.0
"""For what was there at the beginning to be read."""


class Streams:
    """The streams that are open. `closing` ends them all; set by who serves, read in the loop."""

    def __init__(self) -> None:
        """None is open."""
        self.open = 0
        self.closing = False


def build_app(
    follower: Follower, reckoner: Reckoner, streams: Streams, *, hosts: frozenset[str]
) -> Starlette:
    """The application. `hosts` are the names by which it may be asked for; empty: any."""
    boot = secrets.token_hex(4)

    async def events(request: Request) -> Response:
        if streams.open >= MOST_STREAMS:
            full = f"{streams.open} pages are open; there must be fewer than {MOST_STREAMS}: close one"
            return PlainTextResponse(full, status_code=503, headers=HEADERS)
        stream = _Stream(boot, follower, reckoner, streams)
        messages = stream.messages(request.headers.get("last-event-id", ""))
        return StreamingResponse(messages, media_type="text/event-stream", headers=HEADERS)

    async def palette(request: Request) -> Response:
        return Response(_palette(), media_type="text/css", headers=HEADERS)

    pages = [Route(path, _guarded(_file(name, kind), hosts)) for path, (name, kind) in FILES.items()]
    made = [Route("/palette.css", _guarded(palette, hosts)), Route("/events", _guarded(events, hosts))]
    return Starlette(routes=[*pages, *made])


class _Stream:
    """What one open page is sent, and what it has."""

    def __init__(self, boot: str, follower: Follower, reckoner: Reckoner, streams: Streams) -> None:
        self._boot = boot
        self._follower = follower
        self._reckoner = reckoner
        self._streams = streams
        self._summaries = 0
        self._has = (0, 0)
        """Generation and revision that the page has."""

    async def messages(self, last_id: str) -> AsyncIterator[str]:
        self._streams.open += 1
        try:
            self._has = self._read_id(last_id)
            async for message in self._messages():
                yield message
        finally:
            self._streams.open -= 1

    async def _messages(self) -> AsyncIterator[str]:
        yield "retry: 500\n\n"
        loop = asyncio.get_running_loop()
        deadline = loop.time() + MOST_WAIT_S
        while not (self._follower.version[2] or self._streams.closing or loop.time() > deadline):
            await asyncio.sleep(LOOK_S / 4)
        sent: object = None
        beat = loop.time()
        while not self._streams.closing:
            version = self._follower.version
            if version != sent:
                sent, beat = version, loop.time()
                async for message in self._picture():
                    yield message
            count, summary = self._reckoner.told
            if count != self._summaries:
                self._summaries, beat = count, loop.time()
                yield _message("reckoning", summary)
            if loop.time() - beat > BEAT_S:
                beat = loop.time()
                yield ": alive\n\n"
            await asyncio.sleep(LOOK_S)

    async def _picture(self) -> AsyncIterator[str]:
        told, entries = await run_in_threadpool(self._follower.changes, *self._has)
        self._has = told["generation"], told["rev"]
        last = ".".join((self._boot, *map(str, self._has)))
        more = range(FIRST_LINES, len(entries), MORE_LINES)
        # The id comes with the last of the messages: a page that is cut off before gets them again.
        first = {**told, "log": [entry.line() for entry in entries[:FIRST_LINES]]}
        yield await run_in_threadpool(_message, "picture", first, "" if more else last)
        if more:
            await asyncio.sleep(PAINT_S)
        for at in more:
            part = entries[at : at + MORE_LINES]
            yield await run_in_threadpool(_lines, part, last if at == more[-1] else "")

    def _read_id(self, text: str) -> tuple[int, int]:
        boot, _, rest = text.partition(".")
        generation, _, rev = rest.partition(".")
        known = boot == self._boot and generation.isdecimal() and rev.isdecimal()
        return (int(generation), int(rev)) if known else (0, 0)


def _message(event: str, contents: Any, last_id: str = "") -> str:
    named = f"id: {last_id}\n" if last_id else ""
    return f"event: {event}\n{named}data: {json.dumps(contents, allow_nan=False, separators=(',', ':'))}\n\n"


def _lines(entries: Sequence[Entry], last_id: str) -> str:
    return _message("log", [entry.line() for entry in entries], last_id)


_Endpoint = Callable[[Request], Awaitable[Response]]


def _guarded(endpoint: _Endpoint, hosts: frozenset[str]) -> _Endpoint:
    """Refuse a page of elsewhere whose name was made to lead here: it would read what only this host may."""

    async def guarded(request: Request) -> Response:
        if hosts and (request.url.hostname or "") not in hosts:
            text = f"asked for as {request.url.hostname!r}; it must be one of {', '.join(sorted(hosts))}"
            return PlainTextResponse(text, status_code=421, headers=HEADERS)
        return await endpoint(request)

    return guarded


def _file(name: str, kind: str) -> _Endpoint:
    async def page(request: Request) -> Response:
        contents = resources.files("curtail_dist.dashboard").joinpath(name).read_bytes()
        return Response(contents, media_type=kind, headers=HEADERS)

    return page


def _palette() -> str:
    """The colours of the report's pictures as custom properties; page.css says what the dark ones are."""
    named = {"ink": INK, "muted": MUTED, "faint": FAINT, "window": WINDOW, "lost": LOST, "run": RUN}
    named |= {"optimum": OPTIMUM, **PHASE_COLOURS}
    named |= {f"site-{place}": colour for place, colour in enumerate(SITE_COLOURS)}
    return ":root {\n" + "".join(f"  --{name}: {colour};\n" for name, colour in named.items()) + "}\n"

"""The web chat as an ASGI application: the page, what the model is, and answers as they are drawn.

`POST /chat/completions` with {"messages": [{"role", "content"}, ...]} answers with server-sent events,
{"token": text} for each piece and {"done": true} at the end. One answer is drawn at a time; others wait their
turn, and beyond `MOST_WAITING` are refused. Who goes away ends the drawing of their answer.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing
from importlib import resources
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from nanochat.chat import Speaker
from nanochat.saved import Saved
from nanochat.web.requests import MOST_BYTES, Asked, Defaults, read_request

MOST_WAITING = 8
FILES = {
    "/": ("page.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
}
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src data:; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


def build_app(saved: Saved, defaults: Defaults) -> Starlette:
    """The application over a model, which is on its device already."""
    turns = _Turns()

    async def health(request: Request) -> Response:
        facts = {"ready": True, "model": saved.path.name, "parameters": saved.model.parameter_count()}
        return JSONResponse({**facts, "waiting": turns.taken, "max_tokens": defaults.max_tokens})

    async def complete(request: Request) -> Response:
        try:
            asked = read_request(await _body(request), defaults)
            pieces = _answer(saved, asked)
        except (ValueError, RecursionError) as error:  # the latter: of JSON too deep to be written out again
            return JSONResponse({"error": " ".join(str(error).split())}, status_code=400)
        if turns.taken > MOST_WAITING:
            full = f"{turns.taken} answers are being drawn or wait; there must be fewer: try again"
            return JSONResponse({"error": full}, status_code=503)
        return _Answer(turns, pieces)

    pages = [Route(path, _file(name, kind)) for path, (name, kind) in FILES.items()]
    asked = [Route("/health", health), Route("/chat/completions", complete, methods=["POST"])]
    return Starlette(routes=[*pages, *asked])


def _answer(saved: Saved, asked: Asked) -> Iterator[str]:
    """The answer's pieces, each drawn when it is asked for. Raises ValueError for what cannot be answered."""
    speaker = Speaker(saved.model, saved.tokenizer, sampling=asked.sampling, most=asked.max_tokens)
    return speaker.go_on(asked.messages[0].content) if asked.complete else speaker.reply(asked.messages)


async def _body(request: Request) -> bytes:
    """The request's body, or a little more than the most that is read of one.

    Raises:
        ValueError: It did not come to its end; nobody is there to be told.
    """
    body = b""
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > MOST_BYTES:
                break
    except ClientDisconnect as error:
        raise ValueError(
            f"the request ended after {len(body)} bytes; it must be whole: send it again"
        ) from error
    return body


class _Turns:
    """Lets one answer be drawn at a time, in the order in which they were asked for."""

    def __init__(self) -> None:
        self.taken = 0
        """Answers that are drawn or wait; `_Answer` counts itself."""
        self._lock = asyncio.Lock()

    async def events(self, pieces: Iterator[str]) -> AsyncGenerator[str]:
        """Yield the pieces as events, in turn."""
        async with self._lock, aclosing(_events(pieces)) as events:
            async for event in events:
                yield event


class _Answer(StreamingResponse):
    """An answer that has its place from when it is made, before anything is awaited, until it is over.

    Otherwise requests that come together would all find room, since none of them waits yet.
    """

    def __init__(self, turns: _Turns, pieces: Iterator[str]) -> None:
        """Take a place; whoever makes an answer sends it."""
        self._turns = turns
        self._events = turns.events(pieces)
        super().__init__(self._events, media_type="text/event-stream", headers=HEADERS)
        turns.taken += 1

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, and give the place back, however it ends."""
        try:
            async with aclosing(self._events):
                await super().__call__(scope, receive, send)
        finally:
            self._turns.taken -= 1


async def _events(pieces: Iterator[str]) -> AsyncGenerator[str]:
    end = object()
    try:
        # A token takes a thread some time; the loop goes on, and sees who goes away, between two of them.
        while (piece := await run_in_threadpool(next, pieces, end)) is not end:
            yield _event({"token": piece})
    except (RuntimeError, ValueError) as error:
        yield _event({"error": " ".join(str(error).split())})
        return
    yield _event({"done": True})


def _event(contents: dict[str, Any]) -> str:
    return f"data: {json.dumps(contents)}\n\n"


def _file(name: str, kind: str) -> Callable[[Request], Awaitable[Response]]:
    async def page(request: Request) -> Response:
        contents = resources.files("nanochat.web").joinpath(name).read_bytes()
        return Response(contents, media_type=kind, headers={**HEADERS, "Cache-Control": "no-cache"})

    return page

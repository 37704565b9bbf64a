"""The web chat as an application, in one process: who comes together, who goes away, what is too deep."""

import asyncio
import json

import pytest
from web_server import write_root

from nanochat.generate import Sampling
from nanochat.saved import load_newest
from nanochat.web.app import MOST_WAITING, build_app
from nanochat.web.requests import Defaults

ASKED = json.dumps({"messages": [{"role": "user", "content": "hello"}]}).encode()


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return load_newest(write_root(tmp_path_factory.mktemp("root")))


@pytest.fixture
def app(saved):
    return build_app(saved, Defaults(sampling=Sampling(temperature=0), max_tokens=2_000))


class Asking:
    """A request, and what came back of its answer; it stays until `leave`."""

    def __init__(self, app, *parts, whole=True):
        self.app = app
        self.parts = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
        if whole:
            self.parts[-1]["more_body"] = False
        else:
            self.parts.append({"type": "http.disconnect"})
        self.gone = asyncio.Event()
        self.told = asyncio.Event()
        self.status = None
        self.body = b""

    async def play(self):
        scope = {"type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1"}
        scope |= {"method": "POST", "path": "/chat/completions", "query_string": b"", "headers": []}
        await self.app(scope, self.receive, self.send)

    async def receive(self):
        if self.parts:
            return self.parts.pop(0)
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message):
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.told.set()
        else:
            self.body += message.get("body", b"")

    def leave(self):
        self.gone.set()


def answered(app, *parts, whole=True):
    """Status and body of the answer to one request."""

    async def ask():
        asking = Asking(app, *parts, whole=whole)
        await asyncio.wait_for(asking.play(), 30)
        return asking.status, asking.body

    return asyncio.run(ask())


def test_of_many_that_come_together_one_is_answered_and_eight_wait(app):
    async def ask():
        asking = [Asking(app, ASKED) for _ in range(30)]
        playing = [asyncio.create_task(one.play()) for one in asking]
        await asyncio.wait_for(asyncio.gather(*(one.told.wait() for one in asking)), 30)
        statuses = [one.status for one in asking]
        for one in asking:
            one.leave()
        await asyncio.wait_for(asyncio.gather(*playing), 30)
        after = Asking(app, ASKED)
        playing = asyncio.create_task(after.play())
        await asyncio.wait_for(after.told.wait(), 30)
        after.leave()
        await asyncio.wait_for(playing, 30)
        return statuses, after.status

    statuses, after = asyncio.run(ask())
    assert statuses == [200] * (1 + MOST_WAITING) + [503] * (29 - MOST_WAITING)
    assert after == 200, "those that went away gave their places back"


def test_who_goes_away_while_it_still_asks_is_no_error_of_ours(app):
    status, body = answered(app, ASKED[:10], whole=False)
    assert status == 400 and b"the request ended after 10 bytes; it must be whole" in body


@pytest.mark.parametrize("deep", [300, 900, 980, 5_000, 100_000])
@pytest.mark.parametrize("around", ["{}", '{{"messages": {}}}', '{{"messages": [{}]}}', '{{"complete": {}}}'])
def test_json_that_is_too_deep_is_a_bad_request(app, deep, around):
    status, body = answered(app, around.format("[" * deep + "]" * deep).encode())
    assert status == 400 and json.loads(body)["error"]

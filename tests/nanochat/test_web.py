"""The web chat over a real server: its answers in pieces and in turn, and what it refuses."""

import json
import re
import threading
import time

import httpx
import pytest
from web_server import MANY, MOST, served, spoken, until, waiting, write_root

from nanochat import verb
from nanochat.generate import Sampling
from nanochat.web.__main__ import main
from nanochat.web.requests import Defaults, read_request

pytestmark = [pytest.mark.integration, pytest.mark.slow]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_root(tmp_path_factory.mktemp("root"))


@pytest.fixture(scope="module")
def server(root):
    with served(root, MOST) as address:
        yield address


@pytest.fixture(scope="module")
def patient_server(root):
    """One whose answers take a while."""
    with served(root, MANY) as address:
        yield address


def body(*texts, **more):
    messages = [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(texts)]
    return {"messages": messages, **more}


def streamed(server, asked):
    """The events of an answer."""
    with httpx.stream("POST", f"{server}/chat/completions", json=asked, timeout=50) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in response.iter_lines() if line]
    assert all(line.startswith("data: ") for line in lines)
    return [json.loads(line.removeprefix("data: ")) for line in lines]


@pytest.mark.parametrize("complete", [False, True])
def test_an_answer_comes_in_pieces_and_is_the_speakers(server, root, complete):
    events = streamed(server, body("hello", max_tokens=20, complete=complete))
    assert events[-1] == {"done": True} and len(events) > 5
    assert "".join(event["token"] for event in events[:-1]) == spoken(
        root, "hello", most=20, complete=complete
    )


def test_what_was_said_before_counts(server, root):
    asked = body("hello", "well", "and?", max_tokens=15)
    text = "".join(event.get("token", "") for event in streamed(server, asked))
    assert text == spoken(root, "hello", "well", "and?", most=15) != spoken(root, "and?", most=15)


def test_who_goes_away_ends_the_drawing(patient_server):
    began = time.monotonic()
    streamed(patient_server, body("hello"))
    whole_s = time.monotonic() - began
    began = time.monotonic()
    for _ in range(3):
        url = f"{patient_server}/chat/completions"
        with httpx.stream("POST", url, json=body("hello"), timeout=50) as response:
            lines = response.iter_lines()  # held: when it is gone, the answer is closed
            next(lines)
            assert waiting(patient_server) >= 1
    until(lambda: waiting(patient_server) == 0)
    assert time.monotonic() - began < 1.5 * whole_s, "three whole answers take three times as long"


def test_answers_are_drawn_one_after_the_other_and_too_many_are_refused(patient_server):
    url, found = f"{patient_server}/chat/completions", []

    def ask():
        found.append(streamed(patient_server, body("hello", max_tokens=3)))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    with httpx.stream("POST", url, json=body("hello"), timeout=50) as response:
        lines = response.iter_lines()
        next(lines)
        for thread in threads:
            thread.start()
        until(lambda: waiting(patient_server) == 9)
        refused = httpx.post(url, json=body("hello"), timeout=50)
        assert refused.status_code == 503 and "try again" in refused.json()["error"]
        assert found == [], "they wait for the first"
    for thread in threads:
        thread.join(timeout=50)
    assert len(found) == 8 and all(events[-1] == {"done": True} for events in found)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (b"{", "the request is no JSON"),
        (b"[]", "the request is 'list'; it must be an object"),
        ({"messages": []}, "messages is 0; it must be 1 to 200 messages"),
        ({"messages": [{"role": "user"}]}, "it must be an object with role and content"),
        ({"messages": [{"role": "root", "content": ""}]}, "the role of a message is 'root'"),
        (body("a", "b"), "the role of the last message is 'assistant'"),
        (body("a", "b", "c", complete=True), "the number of messages is 3"),
        (body("a", complete="yes"), "complete is 'yes'"),
        (body("a", max_tokens=301), "max_tokens is 301; it must be in [1, 300]"),
        (body("a", temperature=-1), "temperature is -1"),
        (body("a", temperature=True), "temperature is True"),
        (body("a", top_k=1.5), "top_k is 1.5"),
        (body("a", seeed=1), "seeed is no key"),
        (body("a " * 3_000), "the positions left for a reply"),
        (b" " * 300_000, "it must be at most 256000 bytes"),
    ],
)
def test_a_bad_request_is_told_what_is_wrong(server, asked, message):
    content = asked if isinstance(asked, bytes) else json.dumps(asked)
    response = httpx.post(f"{server}/chat/completions", content=content, timeout=50)
    assert response.status_code == 400
    assert message in response.json()["error"] and "\n" not in response.json()["error"]


def test_the_page_comes_with_a_policy_and_from_here_alone(server):
    page = httpx.get(server)
    assert page.headers["content-security-policy"].startswith("default-src 'self'")
    assert "http" not in re.sub(r"<!doctype.*?>", "", page.text)
    for name in ("page.css", "page.js"):
        assert httpx.get(f"{server}/{name}").status_code == 200
    assert httpx.get(f"{server}/health").json()["parameters"] > 1_000


def test_a_request_that_says_little_has_the_defaults():
    defaults = Defaults(sampling=Sampling(temperature=0.5, top_k=7, seed=3), max_tokens=9)
    asked = read_request(json.dumps(body("hi")).encode(), defaults)
    assert (asked.sampling, asked.max_tokens, asked.complete) == (defaults.sampling, 9, False)
    asked = read_request(
        json.dumps(body("hi", temperature=0, top_k=0, seed=1, max_tokens=2)).encode(), defaults
    )
    assert (asked.sampling, asked.max_tokens) == (Sampling(temperature=0.0, top_k=0, seed=1), 2)


def test_wrong_arguments_are_one_line(root, server, capsys):
    taken = server.rsplit(":", 1)[1]
    for arguments, message in (
        (["--port", "70000"], "--port is 70000; it must be in [0, 65535]"),
        (["--max-tokens", "0"], "--max-tokens is 0"),
        (["--port", taken, "--device", "cpu"], "where nothing can listen"),
    ):
        assert verb.run(main, [str(root), *arguments]) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1

"""The web chat over a real server, and in a real browser."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import torch

from nanochat import verb
from nanochat.chat import Speaker
from nanochat.checkpoint import checkpoint_path, save
from nanochat.conversation import Message
from nanochat.generate import Sampling
from nanochat.model import GPTConfig, build_model, plain
from nanochat.saved import load_newest
from nanochat.tok_train import tokenizer_path
from nanochat.tokenizer import train_tokenizer
from nanochat.web.__main__ import main
from nanochat.web.requests import Defaults, read_request

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
MOST = 300
pytestmark = [pytest.mark.integration, pytest.mark.slow]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A model that says something else after each prompt, with a long way to go."""
    root = tmp_path_factory.mktemp("root")
    tokenizer = train_tokenizer(
        [Path(__file__).read_text()], vocab_size=400, doc_cap=20_000, max_chars=20_000
    )
    tokenizer.save(tokenizer_path(root))
    config = GPTConfig(n_layer=2, n_embd=64, n_head=2, n_kv_head=2, vocab_size=400, sequence_length=256)
    model = build_model(config, seed=1)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.2 * torch.randn(p.shape, generator=torch.Generator().manual_seed(3)))
        model.head.weight[list(tokenizer.bpe.special_tokens.values())] = 0  # no answer ends by itself
    save(
        checkpoint_path(root, 3), model, {}, {"model": plain(config), "tokenizer": tokenizer.hash, "step": 3}
    )
    return root


@contextmanager
def served(root, most):
    """The address of a real server whose answers are so long."""
    options = ["--port", "0", "--max-tokens", str(most), "--temperature", "0", "--device", "cpu"]
    process = subprocess.Popen(
        [sys.executable, "-m", "nanochat.web", str(root), *options],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        line = process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert found, line
        yield found[0]
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) in (0, 130)
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def server(root):
    with served(root, MOST) as address:
        yield address


@pytest.fixture(scope="module")
def patient_server(root):
    """One whose answers take a while."""
    with served(root, 2_400) as address:
        yield address


def spoken(root, *messages, most=MOST, complete=False):
    saved = load_newest(root)
    speaker = Speaker(saved.model, saved.tokenizer, sampling=Sampling(temperature=0), most=most)
    pieces = (
        speaker.go_on(messages[0])
        if complete
        else speaker.reply([Message(("user", "assistant")[i % 2], text) for i, text in enumerate(messages)])
    )
    return "".join(pieces)


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


def until(holds):
    """Wait until something holds; fail after a while."""
    deadline = time.monotonic() + 30
    while not (found := holds()):
        assert time.monotonic() < deadline
        threading.Event().wait(0.02)
    return found


def waiting(server):
    return httpx.get(f"{server}/health").json()["waiting"]


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


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("there is no chromium on PATH: `make browser` installs it")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def opened(browser, address):
    """A page, on whose console nothing goes wrong."""
    page = browser.new_page()
    page.set_default_timeout(30_000)
    problems = []
    page.on("console", lambda message: message.type == "error" and problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(address)
    yield page
    page.close()
    assert problems == []


@pytest.fixture
def page(browser, server):
    with opened(browser, server) as page:
        yield page


def say_in(page, text):
    page.get_by_label("Your message").fill(text)
    page.keyboard.press("Enter")


def done(page, count):
    page.wait_for_function(
        "count => document.querySelectorAll('article').length === count"
        " && !document.querySelector('.drawing')",
        arg=count,
    )


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_conversation_in_the_browser(page, root):
    say_in(page, "hello")
    done(page, 2)
    first = page.locator("article.assistant").first.inner_text()
    expected = spoken(root, "hello")
    assert first == expected
    say_in(page, "and then?")
    done(page, 4)
    assert page.locator("article.assistant").nth(1).inner_text() == spoken(
        root, "hello", expected, "and then?"
    )
    page.get_by_role("button", name="New conversation").click()
    assert page.locator("article").count() == 0
    assert "parameters" in page.locator("#model").inner_text()


def test_an_answer_can_be_stopped(browser, patient_server, root):
    with opened(browser, patient_server) as page:
        say_in(page, "hello")
        page.locator("article.assistant span").filter(has_text=re.compile(".")).wait_for()
        page.get_by_role("button", name="Stop").click()
        done(page, 2)
        cut, whole = page.locator("article.assistant").inner_text(), spoken(root, "hello", most=2_400)
        assert whole.startswith(cut) and len(cut) < len(whole)
        until(lambda: waiting(patient_server) == 0)
        assert page.get_by_role("button", name="Send").is_visible()


def test_a_text_is_gone_on_with_and_markup_stays_text(page, root):
    page.get_by_label("Mode").select_option("complete")
    text = "<img src=x onerror=document.title='broken'>"
    say_in(page, text)
    done(page, 1)
    assert page.locator("article").inner_text() == text + spoken(root, text, complete=True)
    assert page.locator("article img").count() == 0 and page.title() == "nanochat"


def test_shift_enter_begins_a_line_and_what_is_refused_is_kept(page):
    box = page.get_by_label("Your message")
    box.fill("one")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("two")
    assert box.input_value() == "one\ntwo"
    page.evaluate("() => { window.fetch = () => Promise.reject(new Error('no server')); }")
    page.keyboard.press("Enter")
    page.locator("#problem").filter(has_text="no server").wait_for()
    assert box.input_value() == "one\ntwo"

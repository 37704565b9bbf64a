"""The web chat's page as people see it, in a real Chromium."""

import re
from contextlib import contextmanager

import pytest
from chromium import CHROMIUM, launched, problems_of
from playwright.sync_api import expect
from web_server import MANY, MOST, served, spoken, until, waiting, write_root

pytestmark = [
    pytest.mark.system,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on PATH: `make browser` installs it"),
]


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


@pytest.fixture(scope="module")
def browser():
    with launched() as browser:
        yield browser


@contextmanager
def opened(browser, address):
    """A page, on whose console nothing goes wrong."""
    page = browser.new_page()
    page.set_default_timeout(30_000)
    problems = problems_of(page)
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
    expect(page.locator("article")).to_have_count(count, timeout=30_000)
    expect(page.locator(".drawing")).to_have_count(0, timeout=30_000)


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
        cut, whole = page.locator("article.assistant").inner_text(), spoken(root, "hello", most=MANY)
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

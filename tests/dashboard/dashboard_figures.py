"""How fast the dashboard is, as people see it in a real Chromium: for its tests, and for its benchmark."""

import re
import time
from contextlib import contextmanager

from chromium import problems_of
from dashboard_runs import Pen, founded, served, site_started, write_run
from playwright.sync_api import expect

SCROLL_AND_FILTER = """async () => {
  const lines = document.getElementById("lines"), text = document.getElementById("by-text");
  const frame = () => new Promise(requestAnimationFrame), took = { scroll: [], filter: [] };
  for (let i = 0; i < 110; i++) {
    const began = performance.now();
    lines.scrollTop = lines.scrollHeight;
    lines.dispatchEvent(new Event("scroll"));
    lines.getBoundingClientRect();
    await frame();
    took.scroll.push(performance.now() - began);
  }
  took.rows = lines.querySelectorAll("tbody tr").length;
  for (const value of ["s", "si", "sit", "site-03", "nothing has this", ""]) {
    const began = performance.now();
    text.value = value;
    text.dispatchEvent(new Event("input"));
    lines.getBoundingClientRect();
    took.filter.push(performance.now() - began);
    await frame();
  }
  return took;
}"""


@contextmanager
def opened(browser, address, *, quiet=True, **settings):
    """A page that has its picture, on whose console nothing goes wrong."""
    context = browser.new_context(**settings)
    page = context.new_page()
    page.set_default_timeout(30_000)
    problems = problems_of(page)
    page.goto(address)
    page.locator("html[data-rev]").wait_for(state="attached")
    yield page
    context.close()
    assert problems == [] or not quiet


def drawn(page):
    """How many bands have something on them."""
    return page.evaluate(
        """() => [...document.querySelectorAll("canvas")].filter((canvas) =>
             canvas.width && canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height)
               .data.some((byte) => byte)).length"""
    )


def first_pictures(browser, folder):
    """Write 10 MB of events; return their megabytes, and after how long a page had its picture, in seconds.

    First the command is given and a page is opened as soon as the address is told: the time from the command,
    then those from the opening of that page and of three others after it.
    """
    write_run(folder, sites=3, events=44_000)
    size = sum(file.stat().st_size for file in (folder / "events").iterdir()) / 1e6
    assert 9 < size < 12
    began = time.monotonic()
    with served(folder) as (address, _):
        seen = []
        for _ in range(4):
            with opened(browser, address) as page:
                seen = seen or [time.monotonic() - began]
                page.wait_for_timeout(100)
                seen.append(page.evaluate("performance.getEntriesByName('picture')[0].startTime") / 1000)
                assert drawn(page) == 3 + 5
    return size, seen


def new_events(browser, folder):
    """Return after how many seconds each of five events is on the page of a run that goes on."""
    pen = Pen(folder, "texas")
    founded(pen, name="live")
    site_started(pen)
    took = []
    with served(folder) as (address, _), opened(browser, address) as page:
        for count in range(1, 6):
            began = time.monotonic()
            pen.write(60.0 * count, "ranks_died", reason=f"reason {count}")
            page.get_by_text(f"reason {count};").wait_for()
            took.append(time.monotonic() - began)
        expect(page.locator("#sites td.bad")).to_have_text("5")
    return took


def scrolling_and_filtering(browser, address):
    """Scroll through 10,000 events of ten sites and filter them; return what each took, in milliseconds."""
    with opened(browser, address) as page:
        page.get_by_label("Kind", exact=True).select_option("*")
        expect(page.locator("#count")).to_have_text(re.compile(r"^10,\d+ of 10,\d+$"), timeout=30_000)
        assert page.locator("#sites tbody tr").count() == 10
        took = page.evaluate(SCROLL_AND_FILTER)
    assert took["rows"] > 9_000, "one can scroll to the oldest"
    return took["scroll"], took["filter"]

"""Measures how fast the dashboard is in a real Chromium: its first picture, a new event, its log.

    make bench-dashboard

10 MB of events of three sites; five events, one after the other; 10,000 events of ten sites.
"""

import argparse
import tempfile
from pathlib import Path

from chromium import launched
from dashboard_figures import first_pictures, new_events, scrolling_and_filtering
from dashboard_runs import served, write_run
from thinlink.record import conditions, save, spread


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("results") / "dashboard.json")
    parser.add_argument("--repetitions", type=int, default=3)
    args = parser.parse_args()
    before = conditions()
    whole, first, later, events = [], [], [], []
    with launched() as browser, tempfile.TemporaryDirectory() as place:
        for number in range(args.repetitions):
            size, seen = first_pictures(browser, Path(place) / f"large-{number}")
            whole.append(seen[0])
            first.append(seen[1])
            later += seen[2:]
            events += new_events(browser, Path(place) / f"live-{number}")
        ten = Path(place) / "ten"
        write_run(ten, sites=10, events=10_400)
        with served(ten) as (address, _):
            scroll, letter = scrolling_and_filtering(browser, address)
    run = {"megabytes": round(size, 1), "repetitions": args.repetitions}
    case = {
        "first_picture_s": spread(later),
        "first_picture_of_a_server_just_started_s": spread(first),
        "from_the_command_to_the_first_picture_s": spread(whole),
        "new_event_s": spread(events),
        "scroll_by_a_hundred_ms": spread(scroll),
        "letter_in_the_filter_ms": spread(letter),
    }
    for name, found in case.items():
        print(f"{name}: {found['median']:.3g}, {found['least']:.3g} to {found['most']:.3g}")
    save(args.out, {"run": run, "cases": [case]}, before=before)


if __name__ == "__main__":
    main()

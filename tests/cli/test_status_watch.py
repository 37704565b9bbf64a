"""`curtail status` on a real etcd: once and again and again, on a terminal and into a pipe."""

import json
import os
import re
import termios
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from statusrun import found, run_file, write_events

from curtail_dist.cli.main import main
from curtail_dist.config import RunConfig
from curtail_dist.coordination import EmbeddedEtcd, open_store

pytestmark = pytest.mark.integration
DEADLINE_S = 30.0
ESCAPES = re.compile(r"\x1b\[[?0-9;]*[A-Za-z]")


@pytest.fixture(scope="module")
def etcd() -> Iterator[EmbeddedEtcd]:
    with EmbeddedEtcd(election_timeout_ms=200) as server:
        yield server


def put(file: Path, *, done: int) -> None:
    with open_store(RunConfig.from_yaml(file).coordination) as store:
        found(store, done=done)


class Terminal:
    """A terminal of 80 columns. Owns its two ends, and a thread that reads what is written, until `close`."""

    def __init__(self) -> None:
        self._master, slave = os.openpty()
        termios.tcsetwinsize(slave, (24, 80))
        self.stdout = os.fdopen(slave, "w", encoding="utf-8")
        self._written = bytearray()
        self._reader = threading.Thread(target=self._read, name="terminal", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._master, 65_536)
            except OSError:  # Linux's end of a terminal whose other end was closed.
                return
            if not data:
                return
            self._written += data

    @property
    def written(self) -> str:
        return bytes(self._written).decode(errors="replace")

    def close(self) -> str:
        self.stdout.close()
        self._reader.join(DEADLINE_S)
        os.close(self._master)
        return self.written


def test_into_a_pipe_a_watch_prints_whole_looks_without_control_characters(
    tmp_path: Path, etcd: EmbeddedEtcd, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("FORCE_COLOR", "1")
    file = run_file(tmp_path, endpoint=etcd.endpoint)
    put(file, done=100)
    assert main(["status", "--config", str(file), "--json", "--watch"]) == 0
    line = capsys.readouterr().out
    facts = json.loads(line)
    assert line.count("\n") == 1
    assert (facts["finished"], facts["active"]) == (True, ["texas"])
    assert main(["status", "--config", str(file), "--watch"]) == 0
    shown = capsys.readouterr().out
    assert "day: complete; epoch 3" in shown
    assert all(c.isprintable() or c == "\n" for c in shown)


def watched(file: Path, monkeypatch: pytest.MonkeyPatch, **environment: str) -> str:
    """Watch on a terminal, finish the run when three looks were seen, and return all that was written."""
    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal.stdout)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    def finish() -> None:
        deadline = time.monotonic() + DEADLINE_S / 3
        while terminal.written.count("40 of 100 rows") < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        put(file, done=100)

    other = threading.Thread(target=finish, name="finisher")
    other.start()
    assert main(["status", "--config", str(file), "--watch", "--every", "0.05"]) == 0
    other.join(DEADLINE_S)
    return terminal.close()


def test_on_a_terminal_a_watch_draws_over_itself_and_leaves_the_last_picture(
    tmp_path: Path, etcd: EmbeddedEtcd, monkeypatch: pytest.MonkeyPatch
):
    file = run_file(tmp_path, endpoint=etcd.endpoint)
    put(file, done=40)
    write_events(tmp_path)
    monkeypatch.delenv("NO_COLOR", raising=False)
    during, _, after = watched(file, monkeypatch, TERM="xterm").partition("\x1b[?1049l")
    assert during.startswith("\x1b[?1049h")
    assert during.count("40 of 100 rows") >= 3
    # Nothing is ever wiped: each look begins at the corner and is as large as the screen.
    assert not {"\x1b[2J", "\x1b[2K", "\x1b[K", "\x1b[0K", "\x1b[J"} & set(ESCAPES.findall(during))
    assert "\x1b[32m" in during
    assert "day: complete; epoch 3" in after
    assert "100 of 100 rows" in after


def test_a_terminal_that_can_do_nothing_gets_one_look_after_the_other(
    tmp_path: Path, etcd: EmbeddedEtcd, monkeypatch: pytest.MonkeyPatch
):
    file = run_file(tmp_path, endpoint=etcd.endpoint)
    put(file, done=40)
    written = watched(file, monkeypatch, TERM="dumb")
    assert written.count("40 of 100 rows") >= 3
    assert "day: complete" in written
    assert ESCAPES.findall(written) == []


def test_a_terminal_that_wants_no_colours_gets_none(
    tmp_path: Path, etcd: EmbeddedEtcd, monkeypatch: pytest.MonkeyPatch
):
    file = run_file(tmp_path, endpoint=etcd.endpoint)
    put(file, done=40)
    write_events(tmp_path)
    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal.stdout)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    assert main(["status", "--config", str(file)]) == 0
    written = terminal.close()
    assert "1 of 2 sites active" in written
    assert set(ESCAPES.findall(written)) <= {"\x1b[0m", "\x1b[1m", "\x1b[2m"}


@pytest.mark.parametrize("every", ["0", "-1", "nan", "often"])
def test_the_time_between_looks_must_be_one(tmp_path: Path, capsys: pytest.CaptureFixture[str], every: str):
    assert main(["status", "--config", str(run_file(tmp_path)), "--watch", "--every", every]) == 2
    assert f"it is {every}; it must be seconds" in capsys.readouterr().err

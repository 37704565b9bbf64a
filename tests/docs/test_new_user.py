"""A new user's walk: the README's "Your own script", typed in a fresh copy, says what it shows."""

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from curtail_launch.demo.ending import ending_lines
from pages import ROOT

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(240)]
DEADLINE_S = 200
HOME = "/home/you/curtail_dist"
README = (ROOT / "README.md").read_text(encoding="utf-8")


def transcript(name: str) -> list[tuple[str, list[str]]]:
    """Each command of a transcript of the README, and the lines that it shows after it."""
    (text,) = re.findall(rf"<!-- walk: {name} -->\n```console\n(.*?)```", README, re.S)
    commands = text.removeprefix("$ ").split("\n$ ")
    return [(first, rest) for first, *rest in (command.splitlines() for command in commands)]


def normal(line: str, home: Path) -> str:
    """A line in which numbers and the place of the copy do not matter."""
    return re.sub(r"\d[\d,.]*\d|\d", "#", line.replace(str(home), HOME)).rstrip()


def shown_in(shown: list[str], said: list[str], home: Path) -> bool:
    """Whether what was said is what is shown, where `...` stands for any lines."""
    lines = [".*" if line == "..." else re.escape(normal(line, home)) + "\n" for line in shown]
    return re.fullmatch("".join(lines), "".join(normal(line, home) + "\n" for line in said), re.S) is not None


class Terminals:
    """The terminals of a user, a command in each; all are closed at the end."""

    def __init__(self, home: Path) -> None:
        self.home, self.folder = home, home
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        self._open: list[tuple[subprocess.Popen[bytes], Path, str]] = []

    def type(self, command: str) -> None:
        """Begin a command. Only etcd's port is another, so that no two walks meet."""
        words = shlex.split(command)
        if words[:2] == ["curtail", "etcd"]:
            words += ["--port", str(self._port)]
        if "--config" in words:
            words += ["--set", f'coordination.endpoints=["127.0.0.1:{self._port}"]']
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        out = self.home / f"terminal-{len(self._open)}.txt"
        with out.open("wb") as file:
            started = subprocess.Popen(
                [shutil.which(words[0], path=path) or words[0], *words[1:]],
                cwd=self.folder,
                env={**os.environ, "PATH": path},
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        self._open.append((started, out, command))

    def said(self, command: str) -> list[str]:
        return next(out for _, out, of in self._open if of == command).read_text().splitlines()

    def wait_for_a_line(self, command: str) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while not self.said(command):
            assert time.monotonic() < deadline, self.all()
            time.sleep(0.05)

    def wait_for_all_but(self, *going_on: str) -> None:
        deadline = time.monotonic() + DEADLINE_S
        for process, _, command in self._open:
            if command not in going_on:
                process.wait(max(0.1, deadline - time.monotonic()))
                assert process.returncode == 0, self.all()

    def all(self) -> str:
        logs = [out for _, out, _ in self._open] + sorted(self.home.rglob("*.log"))
        return "\n".join(f"== {one}\n{one.read_text(errors='replace')[-3000:]}" for one in logs)

    def close(self) -> None:
        for process, _, _ in reversed(self._open):
            if process.poll() is None:
                process.terminate()
                process.wait(60)


@pytest.fixture
def terminals(tmp_path):
    shutil.copytree(ROOT / "examples", tmp_path / "examples", ignore=shutil.ignore_patterns("runs", "*.pt"))
    opened = Terminals(tmp_path)
    yield opened
    opened.close()


def test_the_readmes_own_script_trains_at_two_sites_and_says_what_is_shown(terminals):
    steps = transcript("own")
    for command, _ in steps:
        if command.startswith("cd "):
            terminals.folder = terminals.home / command.removeprefix("cd ")
            continue
        if not command.startswith(("curtail etcd", "curtail site")):
            terminals.wait_for_all_but("curtail etcd")
        terminals.type(command)
        if command == "curtail etcd":
            terminals.wait_for_a_line(command)
    terminals.wait_for_all_but("curtail etcd")
    for command, shown in steps:
        if shown:
            said = terminals.said(command)
            assert shown_in(shown, said, terminals.home), f"{command}\n" + "\n".join(said)
    rows = "rows: 1,024 of 1,024 done once, 0 lost, 0 done twice"
    assert any(line.startswith(rows) for line in terminals.said("curtail report runs/own-loop"))
    assert "step 0: loss" in terminals.all()
    assert_the_demos_ending_is_shown_as_it_is(terminals.folder / "runs" / "own-loop" / "summary.json")


def assert_the_demos_ending_is_shown_as_it_is(summary: Path) -> None:
    """The demo itself is played by tests/launch; here only that its last lines are those of the README."""
    ((command, shown),) = transcript("demo")
    assert command == "make demo"
    ending = ending_lines(json.loads(summary.read_text()), Path(HOME) / "runs" / "demo")
    assert [line.split()[0] for line in shown[2:]] == [line.split()[0] for line in ending]
    assert shown[-1] == ending[-1]


def test_a_walk_that_goes_otherwise_is_noticed(tmp_path):
    shown = ["run 7 done", "...", f"in {HOME}/runs"]
    assert shown_in(shown, ["run 8 done", "a", "b", f"in {tmp_path}/runs"], tmp_path)
    assert shown_in(shown, ["run 1,024.5 done", f"in {tmp_path}/runs"], tmp_path)
    assert not shown_in(shown, ["run 8 failed", "a", f"in {tmp_path}/runs"], tmp_path)
    assert not shown_in(shown, ["run 8 done", f"in {tmp_path}/runs", "and more"], tmp_path)

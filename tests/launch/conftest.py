"""A demo's material, made once, and demos as processes of their own."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
import yaml
from curtail_launch.demo.script import Material, Wishes, prepare

SILENCE_S = 180.0
"""A demo may be slow, as its machine is, but it has something to say at least this often."""


@pytest.fixture(scope="session")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    """Corpus and tokenizer of the smallest demo."""
    return prepare(Wishes(out=tmp_path_factory.mktemp("material"), day="short", minutes=0.2))


@dataclass
class Demo:
    """A demo under way, or over; what it started is remembered."""

    out: Path
    process: subprocess.Popen[str]
    output: Path
    started: set[psutil.Process] = field(default_factory=set)

    def wait(self, until: Callable[[], bool] = lambda: False) -> None:
        """Wait until something holds or the demo is over."""
        said, deadline = "", time.monotonic() + SILENCE_S
        while self.process.poll() is None and not until():
            heard = self.said
            if heard != said:
                said, deadline = heard, time.monotonic() + SILENCE_S
            assert time.monotonic() < deadline, f"the demo says nothing any more:\n{said}"
            try:
                self.started |= set(psutil.Process(self.process.pid).children(recursive=True))
            except psutil.NoSuchProcess:
                return
            time.sleep(0.1)

    @property
    def said(self) -> str:
        return self.output.read_text()

    def left_behind(self) -> list[str]:
        """Processes that outlived the demo: those it started, and any that names its directory."""
        named = [
            one
            for one in psutil.process_iter(["pid", "cmdline"])
            if str(self.out) in " ".join(one.info["cmdline"] or []) and one.pid != os.getpid()
        ]
        found: list[str] = []
        for one in {*self.started, *named}:
            with suppress(psutil.NoSuchProcess):  # it ends, or is a zombie, while it is looked at
                if one.is_running() and one.status() != psutil.STATUS_ZOMBIE:
                    found.append(f"{one.pid} {' '.join(one.cmdline())}")
        return found

    def ports_open(self) -> list[str]:
        """Of etcd's and the clock's ports, those where somebody still answers."""
        tree = yaml.safe_load((self.out / "run.yaml").read_text())
        endpoints = [*tree["coordination"]["endpoints"], tree["clock"]["endpoint"]]
        assert all(re.fullmatch(r"[\d.]+:\d+", endpoint) for endpoint in endpoints)
        return [endpoint for endpoint in endpoints if self._answers(endpoint)]

    @staticmethod
    def _answers(endpoint: str) -> bool:
        host, _, port = endpoint.partition(":")
        with socket.socket() as probe:
            probe.settimeout(2.0)
            return probe.connect_ex((host, int(port))) == 0


@pytest.fixture(scope="module")
def start_demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Demo]]:
    """Start a short demo with more arguments; it is not alive any more when the module ends."""
    demos: list[Demo] = []

    def start(*arguments: str) -> Demo:
        out = tmp_path_factory.mktemp("demo") / "run"
        command = [sys.executable, "-m", "curtail_dist.cli.main", "demo"]
        command += ["--day", "short", "--minutes", "0.2", "--out", str(out), *arguments]
        output = out.with_name("output.txt")
        with output.open("w") as file:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
        demos.append(Demo(out=out, process=process, output=output))
        return demos[-1]

    yield start
    for demo in demos:
        if demo.process.poll() is None:
            demo.process.send_signal(signal.SIGINT)
            try:
                demo.process.wait(60)
            except subprocess.TimeoutExpired:
                demo.process.kill()
                demo.process.wait()

"""`curtail dashboard` as a process: what it refuses, how it ends, and that it changes nothing."""

import hashlib
import signal
import time

import httpx
import pytest
from dashboard_runs import served, write_run

from curtail_dist.cli.main import main

pytestmark = pytest.mark.integration


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{}/nowhere"], "is no directory; give the directory of a run"),
        (["{}", "--from", "{}/nowhere"], "is no directory"),
        ([], "a RUN_DIR or --config RUN.yaml says which run; give one of them"),
        (["{}", "--config", "run.yaml"], "give one of them"),
        (["{}", "--set", "run.seed=2"], "--set is run.seed=2, which is of a run file"),
        (["{}", "--port", "70000"], "--port is 70000; it must be in [0, 65535]"),
        (["{}", "--host", "0.0.0.0"], "has no password; it must be a loopback address"),
        (["{}", "--host", "192.0.2.1", "--without-password"], "where nothing can listen"),
    ],
)
def test_wrong_arguments_are_one_line_and_exit_2(tmp_path, capsys, arguments, message):
    assert main(["dashboard", *(argument.format(tmp_path) for argument in arguments)]) == 2
    error = capsys.readouterr().err.splitlines()
    assert message in error[-1]
    assert len(error) == (2 if "--without-password" in arguments else 1)


def hashes(directory):
    return {
        file: hashlib.sha256(file.read_bytes()).hexdigest() for file in directory.rglob("*") if file.is_file()
    }


def test_ctrl_c_ends_it_at_once_although_a_page_is_open_and_it_has_written_nothing(tmp_path):
    write_run(tmp_path, sites=2, events=300)
    before = hashes(tmp_path)
    with (
        served(tmp_path) as (address, process),
        httpx.stream("GET", f"{address}/events", timeout=20) as response,
    ):
        assert "picture" in next(line for line in response.iter_lines() if line.startswith("event"))
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        assert time.monotonic() - began < 3.0
        assert process.stderr.read() == ""
    assert hashes(tmp_path) == before


def test_an_address_that_others_reach_comes_with_a_loud_warning(tmp_path):
    with served(tmp_path, "--host", "0.0.0.0", "--without-password") as (_, process):
        process.kill()
        assert "NO PASSWORD" in process.stderr.read()

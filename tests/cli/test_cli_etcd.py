import os
import signal
import subprocess
import sys
import threading

import pytest

from curtail_dist.cli.etcd import watch
from curtail_dist.cli.main import main
from curtail_dist.config import CoordinationConfig
from curtail_dist.coordination import EmbeddedEtcd, open_store
from curtail_dist.errors import CoordinationError, StoreUnavailable

pytestmark = pytest.mark.integration


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_the_local_etcd_serves_until_it_is_interrupted(tmp_path, number: int, code: int):
    command = [sys.executable, "-m", "curtail_dist.cli.main", "etcd", "--data-dir", str(tmp_path / "data")]
    with subprocess.Popen([*command, "--port", "0"], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            endpoint = line.split()[3].rstrip(";")
            with open_store(CoordinationConfig(endpoints=(endpoint,), timeout_s=2.0)) as store:
                store.put("/a", b"1")
                process.send_signal(number)
                assert process.wait(20) == code
                with pytest.raises(StoreUnavailable):
                    store.get("/a")
        finally:
            process.kill()
    assert (tmp_path / "data").is_dir()


@pytest.mark.parametrize("port", ["65536", "-1"])
def test_a_port_that_is_none_is_the_users_mistake(port: str, capsys):
    assert main(["etcd", "--port", port]) == 2
    assert capsys.readouterr().err == f"curtail: --port is {port}; it must be in [0, 65535]\n"


def test_a_data_directory_that_cannot_be_written_is_the_users_mistake(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["etcd", "--port", "0", "--data-dir", str(tmp_path / "file" / "data")]) == 2
    said = capsys.readouterr().err
    assert "file/data, beside which its log data.log cannot be written (File exists); name another" in said
    assert said.count("\n") == 1


class AskedAfter(threading.Event):
    """Asked to stop after a number of looks."""

    def __init__(self, looks: int) -> None:
        super().__init__()
        self.left = looks

    def wait(self, timeout: float | None = None) -> bool:
        self.left -= 1
        return self.left < 0


def test_an_etcd_that_does_not_answer_for_a_while_is_left_to_serve_on():
    asked = AskedAfter(2)
    with EmbeddedEtcd() as etcd:
        os.kill(etcd.pid, signal.SIGSTOP)  # a disk that is busy for seconds, a machine that slept
        try:
            watch(etcd, asked)
        finally:
            os.kill(etcd.pid, signal.SIGCONT)
        with open_store(CoordinationConfig(endpoints=(etcd.endpoint,), timeout_s=20.0)) as store:
            assert store.put("/a", b"1") > 0
    assert asked.left < 0


def test_an_etcd_that_has_ended_by_itself_is_told_with_its_log(tmp_path):
    with EmbeddedEtcd(tmp_path / "data") as etcd:
        os.kill(etcd.pid, signal.SIGKILL)
        os.waitid(os.P_PID, etcd.pid, os.WEXITED | os.WNOWAIT)
        with pytest.raises(CoordinationError, match="etcd has ended with code -9; correct what its log says"):
            watch(etcd, AskedAfter(1))

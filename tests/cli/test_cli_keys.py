"""`curtail keys`: certificates that work, and users in etcd who reach one run's keys alone."""

import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from curtail_dist.cli.main import main
from curtail_dist.config import RunConfig
from curtail_dist.coordination import CoordinationStore, EmbeddedEtcd, EtcdStore, open_store
from curtail_dist.coordination.access import open_access
from curtail_dist.coordination.certificates import client_tls, server_tls, write_keys
from curtail_dist.coordination.users import ROOT
from curtail_dist.errors import CoordinationError, StoreUnavailable

SITE = {"signal": {"kind": "constant", "value": 10.0}, "power": {"train_w": 100.0, "idle_w": 10.0}}
FILES = ["ca-key.pem", "ca.pem", "client-key.pem", "client.pem", "etcd-key.pem", "etcd.pem"]
DEADLINE_S = 10.0


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys") / "new"
    write_keys(folder, ["127.0.0.1"], days=1)
    return folder


@pytest.fixture
def etcd(keys: Path) -> Iterator[EmbeddedEtcd]:
    with EmbeddedEtcd(tls=server_tls(keys), election_timeout_ms=200) as server:
        yield server


def run_file(folder: Path, name: str, etcd: str, keys: Path) -> Path:
    tls = client_tls(keys)
    tree = {
        "run": {"name": name},
        "sites": {"a": SITE},
        "data": {"manifest": "manifest.json"},
        "coordination": {
            "endpoints": [etcd],
            "tls": {"ca": str(tls.ca), "cert": str(tls.cert), "key": str(tls.key)},
            "user": f"user-{name}",
            "password_file": f"{name}.password",
        },
    }
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def role(file: Path, root_file: Path, *more: str) -> int:
    return main(["keys", "role", "--config", str(file), "--root-password-file", str(root_file), *more])


def store_of(file: Path) -> CoordinationStore:
    return open_store(RunConfig.from_yaml(file).coordination)


def test_new_keys_are_for_their_owner_alone_and_never_overwritten(tmp_path, capsys):
    folder = tmp_path / "keys"
    assert main(["keys", "new", str(folder), "--host", "etcd.example", "--host", "10.0.0.5"]) == 0
    said = capsys.readouterr().out
    assert "keep ca-key.pem where no site is" in said
    assert sorted(path.name for path in folder.iterdir()) == FILES
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert main(["keys", "new", str(folder), "--host", "etcd.example"]) == 2
    assert "holds ca.pem, ca-key.pem, etcd.pem" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_one_file_of_old_keys_is_enough_to_refuse(tmp_path, capsys):
    (tmp_path / "client-key.pem").write_text("precious")
    assert main(["keys", "new", str(tmp_path), "--host", "a"]) == 2
    assert "holds client-key.pem already; name another directory" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["client-key.pem"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--host", "https://a"], "--host is 'https://a'; it must be a host's name or address alone"),
        (["--host", "a:2379"], "--host is 'a:2379'"),
        (["--host", "a", "--days", "0"], "--days is 0; it must be in [1, 36500]"),
        (["--host", "a", "--days", "99999999"], "--days is 99999999; it must be in [1, 36500]"),
        ([], "--host"),
    ],
)
def test_a_wrong_word_is_the_users_error(tmp_path, capsys, words, said):
    assert main(["keys", "new", str(tmp_path / "keys"), *words]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "keys").exists()


@pytest.mark.integration
def test_etcd_serves_by_new_keys_alone(tmp_path, keys):
    command = [sys.executable, "-m", "curtail_dist.cli.main", "etcd", "--tls", str(keys), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            endpoint = process.stdout.readline().split()[3].rstrip(";")
            with EtcdStore((endpoint,), DEADLINE_S, access=open_access(client_tls(keys))) as store:
                store.put("/a", b"1")
            with EtcdStore((endpoint,), DEADLINE_S) as store, pytest.raises(CoordinationError, match="TLS"):
                store.get("/a")
        finally:
            process.terminate()
            assert process.wait(20) == 0


@pytest.mark.integration
def test_a_run_reaches_its_own_keys_and_no_others(etcd, keys, tmp_path, capsys):
    root_file = tmp_path / "root.password"
    files = {name: run_file(tmp_path, name, etcd.endpoint, keys) for name in ("a", "ab")}
    assert role(files["a"], root_file) == 0
    assert "authentication is off: everybody reaches all keys" in capsys.readouterr().out
    assert role(files["a"], root_file, "--enable-auth") == 0
    assert role(files["ab"], root_file) == 0
    said = capsys.readouterr()
    for file in (root_file, tmp_path / "a.password", tmp_path / "ab.password"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert file.read_text().strip() not in said.out + said.err
    own = {
        "a": ["/curtail/a/head", "/curtail/rendezvous/a.x", "/curtail/rendezvous/a.x/keys/k"],
        "ab": ["/curtail/ab/head", "/curtail/rendezvous/ab.x"],
    }
    foreign = [*own["ab"], "/curtail/a", "/curtail/rendezvous/a", "/curtail/rendezvous/", "/a", "\0a"]
    with store_of(files["a"]) as store, store_of(files["ab"]) as other:
        for key in own["ab"]:
            other.put(key, b"secret")
        for key in own["a"]:
            store.put(key, b"1")
            assert store.get(key).value == b"1"
        assert [entry.key for entry in store.list("/curtail/a/").entries] == ["/curtail/a/head"]
        assert store.list("/curtail/rendezvous/a.").entries
        assert store.watch("/curtail/a/", revision=1).next(DEADLINE_S)
        for key in foreign:
            for call in (
                lambda key=key: store.get(key),
                lambda key=key: store.put(key, b"2"),
                lambda key=key: store.delete(key),
                lambda key=key: store.list(key),
                lambda key=key: store.watch(key, revision=1).next(DEADLINE_S),
            ):
                with pytest.raises(CoordinationError, match="permission denied") as raised:
                    call()
                assert not isinstance(raised.value, StoreUnavailable)
        # What every handle asks for, to see that the store is the one of before, is there to be read alone.
        assert store.get("\0") is None
        with pytest.raises(CoordinationError, match="permission denied"):
            store.put("\0", b"")
        assert other.get("/curtail/ab/head").value == b"secret"


@pytest.mark.integration
def test_doing_it_again_mends_what_differs(etcd, keys, tmp_path):
    root_file = tmp_path / "root.password"
    file = run_file(tmp_path, "a", etcd.endpoint, keys)
    assert role(file, root_file, "--enable-auth") == 0
    root = open_access(client_tls(keys), ROOT, root_file)
    with EtcdStore((etcd.endpoint,), DEADLINE_S, access=root) as store, store_of(file) as own:
        own.put("/curtail/a/head", b"1")
        gateway = store._gateway
        wide = {"permType": "READWRITE", "key": "YQ==", "range_end": "eg=="}
        gateway.call("auth/role/grant", {"name": "curtail.a", "perm": wide}, repeatable=True)
        assert own.get("between") is None
        (tmp_path / "a.password").unlink()
        assert role(file, root_file, "--enable-auth") == 0
        # The handle that is open takes the new password from its file.
        assert own.get("/curtail/a/head").value == b"1"
        with pytest.raises(CoordinationError, match="permission denied"):
            own.get("between")


@pytest.mark.integration
def test_what_cannot_be_done_is_said_and_leaves_no_new_password(etcd, keys, tmp_path, capsys):
    root_file = tmp_path / "root.password"
    file = run_file(tmp_path, "a", etcd.endpoint, keys)
    common = ["keys", "role", "--config", str(file)]
    assert main([*common, "--enable-auth"]) == 2
    assert "--root-password-file is missing" in capsys.readouterr().err
    assert role(file, root_file, "--enable-auth") == 0
    other = run_file(tmp_path, "b", etcd.endpoint, keys)
    capsys.readouterr()
    assert role(other, tmp_path / "nowhere") == 2
    assert "nowhere cannot be read" in capsys.readouterr().err
    wrong = tmp_path / "wrong"
    wrong.touch(mode=0o600)
    wrong.write_text("guess")
    assert role(other, wrong) == 1
    assert "invalid user ID or password" in capsys.readouterr().err
    assert not (tmp_path / "b.password").exists()
    # Another run's user would get this run's keys on top of its own.
    assert role(other, root_file, "--set", "coordination.user=user-a") == 2
    assert "user-a has the roles curtail.a; it must have curtail.b alone" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "sets", "said"),
    [
        ("a.b", [], "run.name is 'a.b'; for a role of its own it must have no '.'"),
        ("rendezvous", [], "run.name is 'rendezvous'"),
        ("a", ["coordination.user=root"], "coordination.user is 'root'"),
        ("a", ["coordination.user=''", "coordination.password_file=null"], "coordination.user is ''"),
    ],
)
def test_a_run_that_cannot_have_a_role_is_told_why(tmp_path, keys, capsys, name, sets, said):
    file = run_file(tmp_path, name, "127.0.0.1:1", keys)
    assert role(file, tmp_path / "root", *(word for one in sets for word in ("--set", one))) == 2
    assert said in capsys.readouterr().err


def test_help_imports_no_cryptography():
    code = (
        "import sys; from curtail_dist.cli.main import main; main(['keys', '--help']); "
        "sys.exit('cryptography' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL, timeout=30).returncode == 0

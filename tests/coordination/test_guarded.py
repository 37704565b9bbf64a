"""An etcd behind TLS and a password: who gets in, who does not and learns why, and what a restart costs."""

import http.client
import json
import logging
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from guarded import PASSWORD, TIMEOUT_S, Guarded, guarded_etcd, private_file, sign

from curtail_dist.config import CoordinationConfig, TlsConfig
from curtail_dist.coordination import EmbeddedEtcd, EtcdStore, open_store
from curtail_dist.coordination.access import Access, PasswordFile, open_access, tls_context
from curtail_dist.coordination.answers import NoAnswer
from curtail_dist.coordination.certificates import client_tls, server_tls, write_keys
from curtail_dist.coordination.gateway import Gateway, encode
from curtail_dist.coordination.login import Login
from curtail_dist.coordination.users import ensure_role, ensure_user, run_grants
from curtail_dist.errors import ConfigError, CoordinationError, StoreUnavailable, UserError

pytestmark = pytest.mark.integration

DEADLINE_S = 10.0
SOON_S = 3.0


def refusal(endpoint: str, access: Access | None) -> CoordinationError:
    """What a first call raises: an error that does not ask to be tried again, and comes at once."""
    began = time.monotonic()
    with (
        EtcdStore((endpoint,), TIMEOUT_S, access=access) as store,
        pytest.raises(CoordinationError) as raised,
    ):
        store.get("a")
    assert not isinstance(raised.value, StoreUnavailable)
    assert time.monotonic() - began < SOON_S
    assert "\n" not in str(raised.value)
    return raised.value


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Guarded]:
    """A server that the test may break."""
    with guarded_etcd(tmp_path) as etcd:
        yield etcd


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificates of another authority."""
    keys = tmp_path_factory.mktemp("stranger") / "keys"
    write_keys(keys, ["127.0.0.1"], days=1)
    return keys


def test_the_run_file_opens_it(guarded, tmp_path):
    config = CoordinationConfig(
        endpoints=(guarded.endpoint,),
        tls=client_tls(guarded.keys),
        user="root",
        password_file=guarded.root_file,
    )
    with open_store(config) as store:
        assert store.get("a") is None


def test_a_wrong_password_is_refused_once_and_for_all(guarded, tmp_path):
    wrong = private_file(tmp_path / "wrong", "guess")
    error = refusal(guarded.endpoint, guarded.access(password_file=wrong))
    assert "invalid user ID or password" in str(error)
    assert "correct the user, or what its password file holds" in str(error)
    assert "guess" not in str(error)


def test_a_watch_with_a_wrong_password_ends_with_that_error(guarded, tmp_path):
    wrong = private_file(tmp_path / "wrong", "guess")
    with guarded.store(password_file=wrong) as store:
        watch = store.watch("/a", revision=1)
        with pytest.raises(CoordinationError, match="invalid user ID or password") as raised:
            watch.next(DEADLINE_S)
    assert not isinstance(raised.value, StoreUnavailable)


def test_an_unknown_authority_is_not_trusted(guarded, stranger):
    error = refusal(guarded.endpoint, open_access(client_tls(stranger)))
    assert "its certificate is not to be trusted: " in str(error)
    assert "the authority's certificate must be that of who signed etcd's" in str(error)


def test_an_expired_certificate_is_not_trusted(stranger, tmp_path):
    expired = sign(stranger, tmp_path / "expired", days=-1)
    with pytest.raises(CoordinationError, match=r"certificate has expired\); .*must be valid"):
        EmbeddedEtcd(tls=expired, election_timeout_ms=200).start()


def test_a_certificate_for_another_host_is_not_trusted(stranger):
    server = EmbeddedEtcd(host="127.0.0.2", tls=server_tls(stranger), election_timeout_ms=200)
    with pytest.raises(CoordinationError, match=r"not valid for '127\.0\.0\.2'\); .*name the host"):
        server.start()


def test_without_tls_one_learns_that_it_speaks_tls(guarded):
    error = refusal(guarded.endpoint, None)
    assert "it speaks TLS" in str(error)
    assert "give the files for TLS" in str(error)


def test_with_tls_one_learns_that_it_does_not(etcd, stranger):
    error = refusal(etcd.endpoint, open_access(client_tls(stranger)))
    assert "it does not speak TLS" in str(error)
    assert "leave tls out" in str(error)


def test_a_client_without_a_certificate_is_told_so(guarded):
    ca_alone = open_access(TlsConfig(ca=guarded.keys / "ca.pem"))
    with (
        EtcdStore((guarded.endpoint,), TIMEOUT_S, access=ca_alone) as store,
        pytest.raises(CoordinationError, match="refuses this client's certificate, or wants one"),
    ):
        store.get("a")


def test_a_user_of_a_certificate_is_no_user(guarded, tmp_path):
    # Where etcd would take a user from a common name, its JSON gateway refuses the whole connection.
    named = sign(guarded.keys, tmp_path / "named", common_name="root")
    for access in (open_access(named), open_access(named, "root", guarded.root_file)):
        assert "use a client certificate without a common name" in str(refusal(guarded.endpoint, access))


@pytest.mark.parametrize("headers", [{}, {"Accept": "application/json"}], ids=["bare", "accept"])
@pytest.mark.parametrize("path", ["kv/range", "auth/user/list", "auth/disable"])
def test_a_certificate_alone_opens_nothing(guarded, path, headers):
    host, _, port = guarded.endpoint.rpartition(":")
    context = tls_context(client_tls(guarded.keys))
    with closing(
        http.client.HTTPSConnection(host, int(port), timeout=TIMEOUT_S, context=context)
    ) as connection:
        body = json.dumps({"key": encode("a")} if path == "kv/range" else {})
        connection.request("POST", f"/v3/{path}", body=body, headers=headers)
        answer = json.loads(connection.getresponse().read())
    assert answer["code"] in (3, 7, 9, 16), answer
    assert "error" in answer


def test_nobody_is_named_where_etcd_wants_a_user(guarded):
    error = refusal(guarded.endpoint, open_access(client_tls(guarded.keys)))
    assert "name a user who may do this, and the user's password file" in str(error)


def test_a_user_is_named_where_etcd_knows_none(etcd, guarded):
    error = refusal(etcd.endpoint, Access(user="root", password=PasswordFile(guarded.root_file)))
    assert "authentication is not enabled" in str(error)
    assert "curtail keys role --enable-auth" in str(error)


def test_old_tls_is_not_spoken(guarded):
    context = tls_context(client_tls(guarded.keys))
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert (context.check_hostname, context.verify_mode) == (True, ssl.CERT_REQUIRED)


@pytest.mark.fault
def test_a_restart_voids_tokens_and_nobody_notices(own, root):
    with own.store() as store:
        watch = store.watch(root, revision=store.list(root).revision + 1)
        lease = store.grant(60.0)
        first = store.put(f"{root}a", b"1", lease=lease)
        assert [change.revision for change in watch.next(DEADLINE_S)] == [first]
        own.server.restart()
        second = store.put(f"{root}a", b"2", lease=lease)
        assert [change.revision for change in watch.next(DEADLINE_S)] == [second]
        lease.keep_alive()
        lease.revoke()
        assert [change.entry for change in watch.next(DEADLINE_S)] == [None]


@pytest.mark.fault
def test_a_watch_alone_gets_itself_a_new_token_after_a_restart(own, root):
    with own.store() as store:
        watch = store.watch(root, revision=store.list(root).revision + 1)
        own.server.restart()
        with own.store() as other:
            revision = other.put(f"{root}a", b"")
        assert [change.revision for change in watch.next(DEADLINE_S)] == [revision]


def test_a_changed_password_is_taken_from_its_file(guarded, root, tmp_path):
    file = private_file(tmp_path / "password", "old")
    with closing(guarded.gateway()) as gateway, guarded.store("changing", file) as store:
        ensure_role(gateway, "curtail.changing", run_grants("changing"))
        ensure_user(gateway, "changing", "old", "curtail.changing")
        store.put("/curtail/changing/a", b"")
        # A change of the password voids the user's tokens.
        ensure_user(gateway, "changing", "new", "curtail.changing")
        file.write_text("new")
        assert store.get("/curtail/changing/a") is not None
        ensure_user(gateway, "changing", "newest", "curtail.changing")
        with pytest.raises(CoordinationError, match="invalid user ID or password") as raised:
            store.get("/curtail/changing/a")
        assert not isinstance(raised.value, StoreUnavailable)


def test_a_key_of_others_is_refused_to_reads_writes_and_watches(guarded, tmp_path):
    file = private_file(tmp_path / "password", "x")
    with closing(guarded.gateway()) as gateway, guarded.store("alone", file) as store:
        ensure_role(gateway, "curtail.alone", run_grants("alone"))
        ensure_user(gateway, "alone", "x", "curtail.alone")
        assert store.get("/curtail/alone/a") is None
        for call in (
            lambda: store.get("/curtail/other/a"),
            lambda: store.list("/curtail/"),
            lambda: store.put("/curtail/other/a", b""),
            lambda: store.delete("/curtail/other/a"),
            lambda: store.watch("/curtail/other/", revision=1).next(DEADLINE_S),
        ):
            with pytest.raises(CoordinationError, match=r"permission denied.*`curtail keys role`") as raised:
                call()
            assert not isinstance(raised.value, StoreUnavailable)


def test_threads_that_lost_a_token_ask_for_one_together(tmp_path):
    login = Login("u", PasswordFile(private_file(tmp_path / "password", "x")))
    until, asked, gate = time.monotonic() + DEADLINE_S, [], threading.Barrier(8)

    def ask(user: str, password: str) -> str:
        asked.append((user, password))
        return f"token {len(asked)}"

    def renew(refused: str | None) -> str:
        gate.wait(DEADLINE_S)
        return login.token("e", ask, refused=refused, until=until)

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(renew, [None] * 8)) == {"token 1"}
        assert set(pool.map(renew, ["token 1"] * 8)) == {"token 2"}
    login.forget("token 1")
    assert login.token("e", ask, refused=None, until=until) == "token 2"
    login.forget("token 2")
    assert login.token("e", ask, refused=None, until=until) == "token 3"
    assert asked == [("u", "x")] * 3


def test_a_thread_does_not_wait_for_anothers_login_beyond_its_time(tmp_path):
    login = Login("u", PasswordFile(private_file(tmp_path / "password", "x")))
    begun, over = threading.Event(), threading.Event()

    def slow(_user: str, _password: str) -> str:
        begun.set()
        assert over.wait(DEADLINE_S)
        return "token"

    with ThreadPoolExecutor(1) as pool:
        pending = pool.submit(login.token, "e", slow, refused=None, until=time.monotonic() + DEADLINE_S)
        assert begun.wait(DEADLINE_S)
        with pytest.raises(NoAnswer, match="no token in time"):
            login.token("e", slow, refused=None, until=time.monotonic())
        over.set()
        assert pending.result(DEADLINE_S) == "token"


@pytest.mark.parametrize(
    ("text", "mode", "words"),
    [
        (None, 0, "cannot be read"),
        (" \n", 0o600, "is empty"),
        ("pw", 0o644, "mode 0644"),
        ("pw", 0o620, "0620"),
    ],
)
def test_a_password_file_is_private_and_holds_one(tmp_path, text, mode, words):
    file = tmp_path / "password"
    if text is not None:
        file.write_text(text)
        file.chmod(mode)
    with pytest.raises(ConfigError, match=f"{file}.*{words}") as raised:
        PasswordFile(file)
    assert "pw" not in str(raised.value).replace(str(file), "")


def test_files_that_are_no_certificates_are_named(guarded, tmp_path):
    wrong = tmp_path / "wrong.pem"
    with pytest.raises(ConfigError, match=rf"{wrong}.*No such file.*must be the PEM file of the authority"):
        open_access(TlsConfig(ca=wrong))
    wrong.write_text("no certificate")
    with pytest.raises(ConfigError, match=rf"{wrong}.*must be the PEM file of the authority"):
        open_access(TlsConfig(ca=wrong))
    with pytest.raises(ConfigError, match=rf"{wrong}.*belong together"):
        open_access(TlsConfig(ca=guarded.keys / "ca.pem", cert=wrong, key=wrong))


def test_a_user_and_a_password_come_together(guarded):
    with pytest.raises(ConfigError, match="give both or neither"):
        open_access(None, "somebody", None)
    for given in ({"user": "somebody"}, {"password_file": guarded.root_file}):
        with pytest.raises(ConfigError, match=r"coordination\.password_file"):
            CoordinationConfig(**given)


def test_a_password_in_clear_is_warned_of(guarded, caplog):
    with caplog.at_level(logging.WARNING):
        open_access(None, "somebody", guarded.root_file)
    assert "crosses the network in clear" in caplog.text
    assert PASSWORD not in caplog.text


def test_the_password_is_in_no_repr(guarded):
    assert PASSWORD not in repr(guarded.access())
    assert PASSWORD not in repr(guarded.access().password)


def test_it_speaks_no_word_in_clear_on_any_port(guarded):
    import psutil

    ports = {
        connection.laddr.port
        for connection in psutil.Process(guarded.server.pid).net_connections()
        if connection.status == psutil.CONN_LISTEN
    }
    assert len(ports) == 2
    for port in ports:
        with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S) as wire:
            wire.sendall(b"GET /version HTTP/1.0\r\n\r\n")
            assert not wire.recv(100).startswith(b"HTTP/1.0 200")


def test_beyond_loopback_it_listens_with_tls_alone():
    for host in ("0.0.0.0", "::", "10.0.0.1", "etcd.example"):
        with pytest.raises(UserError, match=rf"listen on {host} without TLS; .*`curtail keys new`"):
            EmbeddedEtcd(host=host)


def test_on_all_addresses_it_serves_with_tls(stranger):
    with EmbeddedEtcd(host="0.0.0.0", tls=server_tls(stranger), election_timeout_ms=200) as server:
        access = open_access(client_tls(stranger))
        with closing(Gateway((server.endpoint,), timeout_s=TIMEOUT_S, access=access)) as gateway:
            assert gateway.call("kv/range", {"key": encode("a")}, repeatable=True)
        server.require_running()
        server.kill()
        with pytest.raises(CoordinationError, match="etcd has ended"):
            server.require_running()


def test_a_good_endpoint_serves_beside_one_that_is_not_trusted(guarded, stranger):
    with (
        EmbeddedEtcd(tls=server_tls(stranger), election_timeout_ms=200) as other,
        EtcdStore((other.endpoint, guarded.endpoint), TIMEOUT_S, access=guarded.access()) as store,
    ):
        assert store.get("a") is None

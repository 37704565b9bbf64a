"""What `--rdzv-conf` may hold, and what is said where it does not hold."""

import base64
from pathlib import Path

import pytest
from torch.distributed.elastic.rendezvous import RendezvousConnectionError, RendezvousParameters

from curtail_dist.coordination import EmbeddedEtcd
from curtail_dist.coordination.certificates import server_tls, write_keys
from curtail_dist.errors import ConfigError
from curtail_dist.rendezvous import create_handler
from curtail_dist.rendezvous.backend import open_backend
from curtail_dist.rendezvous.options import read_options

SECRET = base64.b64encode(b"s" * 32).decode()


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys") / "new"
    write_keys(folder, ["127.0.0.1"], days=1)
    return folder


def private(path: Path, text: str) -> str:
    path.touch(mode=0o600)
    path.write_text(text)
    return str(path)


def parameters(endpoint: str, **more: object) -> RendezvousParameters:
    return RendezvousParameters(
        backend="etcd", endpoint=endpoint, run_id="x", min_nodes=1, max_nodes=1, **more
    )


def test_without_options_it_is_in_clear_as_nobody_and_unsealed():
    options = read_options({}, {})
    assert (options.timeout_s, options.secret) == (5.0, None)
    assert (options.access.context, options.access.user) == (None, "")


def test_every_option_is_read(keys, tmp_path):
    given = {
        "read_timeout": "7",
        "ca": str(keys / "ca.pem"),
        "cert": str(keys / "client.pem"),
        "key": str(keys / "client-key.pem"),
        "user": "run",
        "password_file": private(tmp_path / "password", "pw"),
        "secret_file": private(tmp_path / "secret", SECRET),
    }
    options = read_options(given, {})
    assert options.timeout_s == 7.0
    assert options.access.context is not None
    assert (options.access.user, options.access.password.read()) == ("run", "pw")
    assert options.secret is not None
    assert "pw" not in repr(options).replace(str(tmp_path), "")


def test_torchs_own_options_pass():
    own = ("join", "last_call", "close", "heartbeat")
    given = {
        **{f"{name}_timeout": "9" for name in own},
        "timeout": 900,
        "keep_alive_interval": "1",
        "keep_alive_max_attempt": "2",
        "cas_backoff_max_seconds": "0.1",
        "is_host": "true",
    }
    assert read_options(given, {}).timeout_s == 5.0


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"secretfile": "x"}, r"secretfile, which nobody reads; did you mean secret_file\?"),
        ({"protocol": "https"}, r"protocol, which nobody reads; known are ca, cas_backoff"),
        ({"read_timeout": "0"}, "read_timeout is 0; it must be a whole number above 0"),
        ({"read_timeout": "soon"}, "read_timeout is soon"),
        ({"cert": "x", "key": "y"}, "cert without ca"),
        ({"ca": "x", "key": "y"}, "key alone; a client's certificate takes both"),
    ],
)
def test_a_wrong_option_is_refused(given, words):
    with pytest.raises(ValueError, match=words):
        read_options(given, {})


def test_files_are_looked_at_before_anything_is_asked_of_etcd(keys, tmp_path):
    absent = str(tmp_path / "absent")
    for given in (
        {"ca": absent},
        {"ca": str(keys / "ca.pem"), "cert": absent, "key": absent},
        {"user": "run", "password_file": absent},
        {"secret_file": absent},
        {"secret_file": private(tmp_path / "short", "c2hvcnQ=")},
    ):
        with pytest.raises(ConfigError):
            open_backend(parameters("127.0.0.1:1", **given))
    with pytest.raises(ConfigError, match="give both or neither"):
        read_options({"user": "run"}, {})


def test_the_secret_may_come_from_the_environment_but_its_file_is_first(tmp_path):
    file = private(tmp_path / "secret", base64.b64encode(b"t" * 32).decode())
    of_environment = read_options({}, {"CURTAIL_RUN_SECRET": SECRET}).secret
    of_file = read_options({"secret_file": file}, {"CURTAIL_RUN_SECRET": SECRET}).secret
    assert of_environment.fingerprint != of_file.fingerprint
    assert of_file.fingerprint == read_options({"secret_file": file}, {}).secret.fingerprint


@pytest.mark.integration
def test_it_speaks_tls_and_goes_on_where_an_endpoint_does_not_answer(keys):
    with EmbeddedEtcd(tls=server_tls(keys), election_timeout_ms=200) as etcd:
        names = {"ca": "ca", "cert": "client", "key": "client-key"}
        options = {name: str(keys / f"{file}.pem") for name, file in names.items()}
        handler = create_handler(parameters(f"127.0.0.1:1,{etcd.endpoint}", **options))
        assert not handler.is_closed()
        assert handler.shutdown()
        with pytest.raises(RendezvousConnectionError, match="it speaks TLS"):
            create_handler(parameters(etcd.endpoint)).is_closed()

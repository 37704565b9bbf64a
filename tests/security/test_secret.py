"""The run's secret: what is taken for one, what is derived of it, and that it is shown nowhere."""

import base64
import logging
import pickle
import stat

import pytest
import yaml
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from curtail_dist.cli.main import main
from curtail_dist.config import RunConfig
from curtail_dist.errors import ConfigError
from curtail_dist.security.secret import (
    _SALT,
    ENVIRONMENT,
    RunSecret,
    new_secret,
    parse_secret,
    read_secret,
    run_secret,
)

BYTES = bytes(range(100, 132))
TREE = {
    "run": {"name": "r"},
    "sites": {"a": {"signal": {"kind": "constant", "value": 1}, "power": {"train_w": 1, "idle_w": 1}}},
    "data": {"manifest": "m.json"},
}


def written(folder, text, mode=0o600):
    path = folder / "secret"
    path.write_text(text)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("size", [1, 32, 33, 48, 200])
def test_what_is_derived_is_hkdf(size):
    expected = HKDF(SHA256(), size, _SALT, b"purpose").derive(BYTES)
    assert RunSecret(BYTES).derive("purpose", size) == expected


def test_another_purpose_or_secret_gives_other_bytes():
    secret = RunSecret(BYTES)
    derived = {secret.derive("a"), secret.derive("b"), RunSecret(BYTES + b"!").derive("a")}
    assert len(derived) == 3


@pytest.mark.parametrize("text", [BYTES.hex(), BYTES.hex().upper(), base64.b64encode(BYTES).decode()])
@pytest.mark.parametrize("around", ["{}", "{}\n", " {}\r\n"])
def test_hex_and_base64_are_the_same_secret(tmp_path, text, around):
    secret = read_secret(written(tmp_path, around.format(text)))
    assert secret.derive("x") == RunSecret(BYTES).derive("x")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        ("\n", "is empty"),
        (base64.b64encode(BYTES[:31]).decode(), "has 31 bytes"),
        (BYTES[:31].hex(), "has 31 bytes"),
        ("correct horse battery staple correct horse battery staple", "neither base64 nor hex"),
        ("é" * 60, "neither base64 nor hex"),
        ("A" * 10_000, "neither base64 nor hex"),
    ],
)
def test_what_is_no_secret_is_refused_and_not_shown(tmp_path, text, says):
    with pytest.raises(ConfigError, match=says) as caught:
        read_secret(written(tmp_path, text))
    assert "curtail secret" in str(caught.value)
    assert "secret_file" in str(caught.value)
    assert not text.strip() or text.strip() not in str(caught.value)


@pytest.mark.parametrize(("mode", "fine"), [(0o600, True), (0o400, True), (0o440, True), (0o644, False)])
def test_a_file_that_others_may_read_is_refused(tmp_path, mode, fine):
    path = written(tmp_path, BYTES.hex(), mode)
    if fine:
        assert read_secret(path).fingerprint == RunSecret(BYTES).fingerprint
    else:
        with pytest.raises(ConfigError, match=r"mode 0644.*chmod 600"):
            read_secret(path)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere.*cannot be read"):
        read_secret(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_secret(tmp_path)


def test_the_environment_holds_it_where_no_file_is_named(tmp_path):
    config = RunConfig.from_mapping(TREE)
    assert run_secret(config, {}) is None
    found = run_secret(config, {ENVIRONMENT: BYTES.hex()})
    assert found is not None
    assert found.fingerprint == RunSecret(BYTES).fingerprint
    with pytest.raises(ConfigError, match=f"{ENVIRONMENT} is empty"):
        run_secret(config, {ENVIRONMENT: ""})
    other = written(tmp_path, new_secret())
    named = RunConfig.from_mapping({**TREE, "security": {"secret_file": str(other)}})
    found = run_secret(named, {ENVIRONMENT: BYTES.hex()})
    assert found is not None
    assert found.fingerprint == read_secret(other).fingerprint


def test_it_is_in_no_repr_no_log_no_pickle_and_not_in_the_effective_configuration(tmp_path, caplog):
    path = written(tmp_path, BYTES.hex())
    config = RunConfig.from_mapping({**TREE, "security": {"secret_file": str(path)}})
    secret = run_secret(config)
    with caplog.at_level(logging.DEBUG):
        logging.getLogger("x").warning("%s %r", secret, [secret])
    with pytest.raises(TypeError, match="not written anywhere"):
        pickle.dumps(secret)
    shown = caplog.text + repr(secret) + f"{secret}" + repr(config) + yaml.safe_dump(config.to_mapping())
    assert "hidden" in shown
    assert str(path) in shown
    for leak in (BYTES.hex(), base64.b64encode(BYTES).decode(), repr(BYTES)):
        assert leak not in shown


def test_the_verb_writes_a_secret_for_this_user_alone_and_never_over_another(tmp_path, capsys):
    path = tmp_path / "run.secret"
    assert main(["secret", "--out", str(path)]) == 0
    said = capsys.readouterr().out
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    secret = read_secret(path)
    assert path.read_text().strip() not in said
    assert secret.fingerprint in said
    assert f"secret_file: {path}" in said
    before = path.read_text()
    assert main(["secret", "--out", str(path)]) == 2
    assert "exists" in capsys.readouterr().err
    assert path.read_text() == before
    assert main(["secret", "--out", str(tmp_path / "no" / "place")]) == 2


def test_the_verb_prints_another_secret_each_time(capsys):
    assert main(["secret"]) == 0
    assert main(["secret"]) == 0
    first, second = capsys.readouterr().out.split()
    assert parse_secret(first, "it").fingerprint != parse_secret(second, "it").fingerprint

"""Certificates for an etcd and its clients, by an authority that is made for them alone."""

import ipaddress
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from curtail_dist.config import TlsConfig
from curtail_dist.errors import UserError
from curtail_dist.security.private import write_private

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

CA, CA_KEY = "ca.pem", "ca-key.pem"
SERVER, SERVER_KEY = "etcd.pem", "etcd-key.pem"
CLIENT, CLIENT_KEY = "client.pem", "client-key.pem"
_ALWAYS = ("localhost", "127.0.0.1", "::1")
"""Names by which etcd's own machine reaches it."""
_LONGEST = 36_500
"""Days that a certificate may be valid: far below where dates end."""
_CLOCKS = timedelta(days=1)
"""How far the clocks of hosts may be apart."""


class _Signed(NamedTuple):
    certificate: "x509.Certificate"
    key: "ec.EllipticCurvePrivateKey"


def write_keys(folder: Path, hosts: Sequence[str], *, days: int) -> None:
    """Make an authority, a certificate for etcd at `hosts` and one for its clients, as PEM files in `folder`.

    They are valid for `days`, and only their owner can read them. Raises UserError where one of the files is
    there already, or a host is no name or address; then nothing was written.
    """
    from cryptography.hazmat.primitives import serialization

    if not 1 <= days <= _LONGEST:
        raise UserError(f"--days is {days}; it must be in [1, {_LONGEST}]")
    names = _names(hosts)
    present = [
        name for name in (CA, CA_KEY, SERVER, SERVER_KEY, CLIENT, CLIENT_KEY) if (folder / name).exists()
    ]
    if present:
        raise UserError(
            f"{folder} holds {', '.join(present)} already; name another directory, or take them away"
        )
    authority = _authority(days)
    signed = {
        (CA, CA_KEY): authority,
        (SERVER, SERVER_KEY): _leaf(authority, "curtail etcd", days, names),
        (CLIENT, CLIENT_KEY): _leaf(authority, "curtail client", days, None),
    }
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for (name, key_name), one in signed.items():
            write_private(folder / name, one.certificate.public_bytes(serialization.Encoding.PEM))
            key = one.key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            write_private(folder / key_name, key)
    except OSError as error:
        raise UserError(
            f"{folder} cannot be written to ({error.strerror}); name another directory"
        ) from error


def server_tls(folder: Path) -> TlsConfig:
    """Return the files in `folder` that etcd itself needs."""
    return TlsConfig(ca=folder / CA, cert=folder / SERVER, key=folder / SERVER_KEY)


def client_tls(folder: Path) -> TlsConfig:
    """Return the files in `folder` that a client of etcd needs."""
    return TlsConfig(ca=folder / CA, cert=folder / CLIENT, key=folder / CLIENT_KEY)


def _names(hosts: Sequence[str]) -> "list[x509.GeneralName]":
    """Return the hosts as certificates name them, each once."""
    from cryptography import x509

    names: list[x509.GeneralName] = []
    for host in dict.fromkeys((*hosts, *_ALWAYS)):
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(host)))
        except ValueError:
            if not host or not host.isascii() or any(sign in host for sign in ":/ "):
                raise UserError(f"--host is {host!r}; it must be a host's name or address alone") from None
            names.append(x509.DNSName(host))
    return names


def _authority(days: int) -> _Signed:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    from curtail_dist.security.authority import key_usage

    key = ec.generate_private_key(ec.SECP256R1())
    name = _organization("curtail etcd authority")
    builder = (
        _begun(key, name, name, days)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(key_usage(signs_certificates=True), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
    )
    return _Signed(builder.sign(key, hashes.SHA256()), key)


def _leaf(authority: _Signed, name: str, days: int, names: "list[x509.GeneralName] | None") -> _Signed:
    """Sign a certificate for a server of these names, or for a client of no name.

    None has a common name: etcd takes that of a certificate for a user's name, even its own for calls that
    come through its JSON gateway. A server's is good for a client, since the gateway is one of etcd's own.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID as Usage

    from curtail_dist.security.authority import key_usage

    key = ec.generate_private_key(ec.SECP256R1())
    uses = [Usage.CLIENT_AUTH] if names is None else [Usage.SERVER_AUTH, Usage.CLIENT_AUTH]
    signer = authority.key.public_key()
    builder = (
        _begun(key, _organization(name), authority.certificate.subject, days)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer), critical=False)
    )
    if names is not None:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return _Signed(builder.sign(authority.key, hashes.SHA256()), key)


def _begun(
    key: "ec.EllipticCurvePrivateKey", subject: "x509.Name", issuer: "x509.Name", days: int
) -> "x509.CertificateBuilder":
    from cryptography import x509

    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCKS)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _organization(name: str) -> "x509.Name":
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    return x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, name)])

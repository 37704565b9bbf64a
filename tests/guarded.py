"""An etcd behind TLS and a password, and the etcd of a distribution, for the tests here and elsewhere."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from curtail_dist.config import TlsConfig
from curtail_dist.coordination import EmbeddedEtcd, EtcdStore
from curtail_dist.coordination.access import Access, open_access
from curtail_dist.coordination.certificates import client_tls, server_tls, write_keys
from curtail_dist.coordination.gateway import Gateway
from curtail_dist.coordination.users import ROOT, enable_authentication

TIMEOUT_S = 5.0
PASSWORD = "of-root"
DOWNLOAD_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Guarded:
    """A running etcd that lets nobody in without a certificate and a password."""

    server: EmbeddedEtcd
    keys: Path
    """Directory of the certificates."""
    root_file: Path
    """Root's password."""

    @property
    def endpoint(self) -> str:
        return self.server.endpoint

    def access(self, user: str = ROOT, password_file: Path | None = None) -> Access:
        return open_access(client_tls(self.keys), user, password_file or self.root_file)

    def store(self, user: str = ROOT, password_file: Path | None = None) -> EtcdStore:
        return EtcdStore((self.endpoint,), TIMEOUT_S, access=self.access(user, password_file))

    def gateway(self, user: str = ROOT, password_file: Path | None = None) -> Gateway:
        return Gateway((self.endpoint,), timeout_s=TIMEOUT_S, access=self.access(user, password_file))


def private_file(path: Path, text: str) -> Path:
    path.touch(mode=0o600)
    path.write_text(text)
    return path


@contextmanager
def guarded_etcd(folder: Path) -> Iterator[Guarded]:
    keys, root_file = folder / "keys", private_file(folder / "root.password", f"{PASSWORD}\n")
    write_keys(keys, ["127.0.0.1"], days=1)
    with EmbeddedEtcd(folder / "data", tls=server_tls(keys), election_timeout_ms=200) as server:
        nobody = open_access(client_tls(keys))
        with closing(Gateway((server.endpoint,), timeout_s=TIMEOUT_S, access=nobody)) as gateway:
            enable_authentication(gateway, PASSWORD)
        yield Guarded(server=server, keys=keys, root_file=root_file)


def sign(keys: Path, folder: Path, *, common_name: str = "", days: int = 1) -> TlsConfig:
    """Make another certificate by the authority in `keys`, for a server on loopback and for clients."""
    authority = x509.load_pem_x509_certificate((keys / "ca.pem").read_bytes())
    signer = serialization.load_pem_private_key((keys / "ca-key.pem").read_bytes(), None)
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    names = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)] if common_name else []
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([*names, x509.NameAttribute(NameOID.ORGANIZATION_NAME, "test")]))
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=10))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(signer, hashes.SHA256())
    )
    folder.mkdir(exist_ok=True)
    cert, key_file = folder / "other.pem", folder / "other-key.pem"
    cert.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    plain = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    key_file.write_bytes(key.private_bytes(*plain))
    return TlsConfig(ca=keys / "ca.pem", cert=cert, key=key_file)


def debian_etcd(folder: Path) -> Path:
    """Return the directory of Debian's etcd, unpacked into `folder`; skips the test where that cannot be."""
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        pytest.skip("Debian's etcd-server comes by apt-get and dpkg, which are not here")
    fetch = ["apt-get", "--quiet", "download", "etcd-server"]
    try:
        subprocess.run(fetch, cwd=folder, check=True, capture_output=True, timeout=DOWNLOAD_S)
        (package,) = folder.glob("etcd-server_*.deb")
        unpack = ["dpkg", "-x", package.name, "root"]
        subprocess.run(unpack, cwd=folder, check=True, capture_output=True, timeout=DOWNLOAD_S)
    except (subprocess.SubprocessError, ValueError) as error:
        pytest.skip(f"Debian's etcd-server cannot be had here ({error}); `apt-get update` may help")
    return folder / "root" / "usr" / "bin"

"""The run's own certificate authority, which everybody who knows the secret can compute.

Nobody issues anything: a process derives the authority's key, signs a leaf for itself that lives as long as
the process does, and forgets the key. Whoever shows a leaf of this authority knew the secret.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from curtail_dist.security.secret import RunSecret

_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""Of the group of P-256."""
_SCALAR_BYTES = 48
"""More than the order has, so that no key is likelier than another by more than 2^-128."""
_ALWAYS = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
"""What hosts take for the time decides nothing. A leaf's key lies where the secret does: whoever can take it
could take that."""


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """What a process needs to be taken for one of the run, and to tell who else is; PEM."""

    authority: str
    """Certificate of the run's authority."""
    leaf: bytes = field(repr=False)
    """This process's certificate and its private key."""


def make_credentials(secret: RunSecret, run: str) -> Credentials:
    """Return fresh credentials for one process of a run. Those of another run or secret do not fit them."""
    authority_key = _authority_key(secret, run)
    authority = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "the run's authority")])
    signed_by_itself = (
        _certificate(authority, authority_key.public_key(), authority)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(key_usage(signs_certificates=True), critical=True)
        .add_extension(_subject_id(authority_key.public_key()), critical=False)
        .sign(authority_key, SHA256())
    )
    key = ec.generate_private_key(ec.SECP256R1())
    process = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a process of the run")])
    both = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    issuer_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
    leaf = (
        _certificate(process, key.public_key(), authority)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(key_usage(signs_certificates=False), critical=True)
        .add_extension(both, critical=False)
        .add_extension(_subject_id(key.public_key()), critical=False)
        .add_extension(issuer_id, critical=False)
        .sign(authority_key, SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Credentials(
        authority=signed_by_itself.public_bytes(Encoding.PEM).decode(),
        leaf=leaf.public_bytes(Encoding.PEM) + private,
    )


def _authority_key(secret: RunSecret, run: str) -> ec.EllipticCurvePrivateKey:
    scalar = int.from_bytes(secret.derive(f"authority of run {run}", _SCALAR_BYTES), "big")
    return ec.derive_private_key(scalar % (_ORDER - 1) + 1, ec.SECP256R1())


def _certificate(
    subject: x509.Name, key: ec.EllipticCurvePublicKey, issuer: x509.Name
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_ALWAYS[0])
        .not_valid_after(_ALWAYS[1])
    )


def _subject_id(key: ec.EllipticCurvePublicKey) -> x509.SubjectKeyIdentifier:
    return x509.SubjectKeyIdentifier.from_public_key(key)


def key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    """Return what a key is good for: an authority's, or that of one whom it vouches for."""
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )

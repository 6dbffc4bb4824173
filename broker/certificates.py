"""Certificates for the routes between servers: an installation's certificate authority, and a certificate per
server.

They decide only who may join the cluster; clients authenticate with tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from headway.broker import atomic
from headway.broker.errors import BadIdentity

AUTHORITY_LIFE: Final = timedelta(days=3650)
SERVER_LIFE: Final = timedelta(days=730)
RENEW_BEFORE: Final = timedelta(days=365)
"""A server's certificate is renewed when less than this time is left."""
_SKEW: Final = timedelta(hours=1)
_BOTH_ENDS: Final = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
"""For both directions: either server may open the connection."""
_CERT: Final = "ca.crt"
_KEY: Final = "ca.key"


@dataclass(frozen=True, slots=True)
class Authority:
    """The authority that signs the servers' certificates.

    Attributes:
        certificate: its own, which every server has.
    """

    certificate: x509.Certificate
    _key: ec.EllipticCurvePrivateKey

    @classmethod
    def create_or_load(cls, directory: Path) -> Authority:
        """Return the authority of a directory; create one if there is none.

        Raises:
            BadIdentity: if its files are damaged, or cannot be read or written.
        """
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not (directory / _CERT).exists():
                made = cls._create()
                atomic.write(directory / _KEY, _key_pem(made._key))  # noqa: SLF001  # of this class
                atomic.write(directory / _CERT, made.pem)
            certificate = x509.load_pem_x509_certificate((directory / _CERT).read_bytes())
            key = serialization.load_pem_private_key((directory / _KEY).read_bytes(), password=None)
        except (OSError, ValueError, TypeError) as error:
            raise BadIdentity(
                f"cannot use the certificate authority in {directory}",
                remedy="delete both of its files; all servers then get new certificates",
            ) from error
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
            raise BadIdentity(f"{directory / _KEY} is not the key of {_CERT}", remedy="delete both")
        return cls(certificate, key)

    @property
    def pem(self) -> bytes:
        """Return its certificate as text."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def issue(self, name: str) -> tuple[bytes, bytes]:
        """Create a certificate and its key for the server of this name; return both as text."""
        key = ec.generate_private_key(ec.SECP256R1())
        made = (
            _builder(name, self.certificate.subject, key, SERVER_LIFE)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage(_BOTH_ENDS), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return made.public_bytes(serialization.Encoding.PEM), _key_pem(key)

    def holds(self, pem: bytes, name: str, now: datetime) -> bool:
        """Return whether a certificate is signed by this authority, for that server, and not about to expire."""
        try:
            found = x509.load_pem_x509_certificate(pem)
            found.verify_directly_issued_by(self.certificate)
            names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except Exception:  # an invalid certificate is replaced
            return False
        return name in names.get_values_for_type(x509.DNSName) and found.not_valid_after_utc - now > RENEW_BEFORE

    @classmethod
    def _create(cls) -> Authority:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = _name("Headway routes")
        certificate = (
            _builder("Headway routes", subject, key, AUTHORITY_LIFE)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(key, hashes.SHA256())
        )
        return cls(certificate, key)


def _builder(name: str, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, life: timedelta) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + life)
    )


def _name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )

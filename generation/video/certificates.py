"""The certificate that signs the videos: the operator's, or one that this machine made for itself and that says so.

The key gives access to nothing: it only shows from which machine a file came. Imports no torch.
"""

from __future__ import annotations

import contextlib
import stat
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from migrations.files import create_private, write_private

SELF_MADE_YEARS = 10
RENEW_BEFORE = timedelta(days=30)
_CURVES = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}

Kind = Literal["operator", "self-made"]


class CertificateError(ValueError):
    """A certificate cannot sign; the message says what to do."""


@dataclass(frozen=True)
class Certificate:
    """A chain (the signer's certificate first) and its key, both PEM; `fingerprint` is the signer's, SHA-256 in hex."""

    kind: Kind
    name: str
    fingerprint: str
    not_after: datetime
    algorithm: str  # in C2PA's words: es256, es384, es512, ps256, ed25519
    chain: str
    key: str = field(repr=False)  # PKCS #8


def certificate_of(data_dir: Path, chain: Path | None = None, key: Path | None = None) -> Certificate:
    """Return the operator's certificate if its files are named, else this machine's own. Raises CertificateError."""
    if chain is None and key is None:
        return self_made_certificate(data_dir)
    if chain is None or key is None:
        raise CertificateError(
            "A certificate needs both its chain and its key: set FLOCK_C2PA_CERT and FLOCK_C2PA_KEY."
        )
    try:
        mode = stat.S_IMODE(key.stat().st_mode)
        if mode & 0o077:
            raise CertificateError(f"{key} can be read by others (mode {mode:o}). Run: chmod 600 {key}")
        certificate = _parse("operator", chain.read_bytes(), key.read_bytes())
    except OSError as error:
        raise CertificateError(f"{error.filename} cannot be read ({error.strerror}).") from None
    if certificate.not_after <= datetime.now(UTC):
        raise CertificateError(f"The certificate ended on {certificate.not_after:%Y-%m-%d}; get a new one.")
    return certificate


def self_made_certificate(data_dir: Path) -> Certificate:
    """Return the machine's own certificate: made once, with mode 0600, and renewed before it ends.

    One that has ended already, for instance since the machine was off, is renewed too. Raises CertificateError for a
    damaged file.
    """
    path = data_dir / "certificate.pem"
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        with contextlib.suppress(FileExistsError):  # another worker on this machine was quicker
            create_private(path, _make_certificate())
    certificate = _read_self_made(path)
    if certificate.not_after <= datetime.now(UTC) + RENEW_BEFORE:
        write_private(path, _make_certificate())
        certificate = _read_self_made(path)  # perhaps that of another worker, which renewed it at the same time
    return certificate


def _read_self_made(path: Path) -> Certificate:
    text = path.read_bytes()
    return _parse("self-made", text, text)


def _parse(kind: Kind, chain: bytes, key: bytes) -> Certificate:
    """Return the certificate in PEM files, whether or not it has ended. Raises CertificateError."""
    try:
        certificates = x509.load_pem_x509_certificates(chain)
        private = serialization.load_pem_private_key(key, password=None)
    except (ValueError, TypeError):  # the sentence quotes nothing of their contents
        raise CertificateError("The certificate's chain or key is no PEM file, or the key has a password.") from None
    leaf = certificates[0]
    if _public_bytes(leaf.public_key()) != _public_bytes(private.public_key()):
        raise CertificateError("The key is not that of the chain's first certificate.")
    names = leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return Certificate(
        kind=kind,
        name=str(names[0].value) if names else leaf.subject.rfc4514_string(),
        fingerprint=leaf.fingerprint(hashes.SHA256()).hex(),
        not_after=leaf.not_valid_after_utc,
        algorithm=_algorithm(private),
        chain="".join(each.public_bytes(serialization.Encoding.PEM).decode() for each in certificates),
        key=private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode(),
    )


def _public_bytes(key: object) -> bytes:
    return key.public_bytes(  # type: ignore[attr-defined,no-any-return]  # every kind of public key has it
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _algorithm(key: PrivateKeyTypes) -> str:
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in _CURVES:
        return _CURVES[key.curve.name]
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size >= 2048:
        return "ps256"
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return "ed25519"
    raise CertificateError("C2PA takes keys on P-256, P-384, P-521 or Ed25519, and RSA keys of 2048 bits or more.")


def _make_certificate() -> bytes:
    """Return a new certificate, that of its authority, and its key, all PEM.

    The authority's key is thrown away; there is an authority since C2PA accepts no self-signed signer.
    """
    authority, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    usage = {
        "content_commitment": False,
        "key_encipherment": False,
        "data_encipherment": False,
        "key_agreement": False,
        "encipher_only": False,
        "decipher_only": False,
    }
    root = (
        _certificate_builder("FLock, self-made authority", authority)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(
            x509.KeyUsage(digital_signature=False, key_cert_sign=True, crl_sign=True, **usage), critical=True
        )
        .sign(authority, hashes.SHA256())
    )
    leaf = (
        _certificate_builder("FLock worker, self-made", key)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(
            x509.KeyUsage(digital_signature=True, key_cert_sign=False, crl_sign=False, **usage), critical=True
        )
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False
        )  # C2PA asks for it
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key()), critical=False)
        .sign(authority, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return leaf.public_bytes(pem) + root.public_bytes(pem) + secret


def _certificate_builder(name: str, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    def distinguished_name(common: str) -> x509.Name:
        return x509.Name(
            [
                x509.NameAttribute(NameOID.COMMON_NAME, common),
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, "FLock (self-made, vouched for by nobody)"),
            ]
        )

    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(distinguished_name(name))
        .issuer_name(distinguished_name("FLock, self-made authority"))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))  # clocks differ
        .not_valid_after(now + timedelta(days=365 * SELF_MADE_YEARS))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )

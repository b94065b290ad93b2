"""Who signs the videos: the operator's certificate, or one that this machine made for itself and that says so.

The key opens nothing: it only says which machine a file came from. Imports no torch.
"""

from __future__ import annotations

import contextlib
import os
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

SELF_MADE_YEARS = 10
RENEW_BEFORE = timedelta(days=30)
_CURVES = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}

Kind = Literal["operator", "self-made"]


class CertificateError(ValueError):
    """A certificate cannot sign; str() is a sentence that says what to do."""


@dataclass(frozen=True)
class Certificate:
    """A chain (the signer's first) and its key, both PEM. `fingerprint` is the signer's, SHA-256 in hex."""

    kind: Kind
    name: str
    fingerprint: str
    not_after: datetime
    algorithm: str  # in C2PA's words: es256, es384, es512, ps256, ed25519
    chain: str
    key: str = field(repr=False)  # PKCS #8


def certificate_of(data_dir: Path, chain: Path | None = None, key: Path | None = None) -> Certificate:
    """The operator's certificate where its files are named, else this machine's own. Raises CertificateError."""
    if chain is None and key is None:
        return self_made(data_dir)
    if chain is None or key is None:
        raise CertificateError(
            "A certificate needs both its chain and its key: set FLOCK_C2PA_CERT and FLOCK_C2PA_KEY."
        )
    try:
        mode = stat.S_IMODE(key.stat().st_mode)
        if mode & 0o077:
            raise CertificateError(f"{key} can be read by others (mode {mode:o}). Run: chmod 600 {key}")
        return _certificate("operator", chain.read_bytes(), key.read_bytes())
    except OSError as error:
        raise CertificateError(f"{error.filename} cannot be read ({error.strerror}).") from None


def self_made(data_dir: Path) -> Certificate:
    """The machine's own certificate, made once (mode 0600), and anew before it ends. Raises CertificateError."""
    path = data_dir / "certificate.pem"
    with contextlib.suppress(FileNotFoundError):
        text = path.read_bytes()
        found = _certificate("self-made", text, text)
        if found.not_after > datetime.now(UTC) + RENEW_BEFORE:
            return found
        path.unlink(missing_ok=True)
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = data_dir / f".certificate.{os.getpid()}"
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(_make())
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):  # another worker on this machine was quicker
            path.hardlink_to(draft)
    finally:
        draft.unlink(missing_ok=True)
    text = path.read_bytes()
    return _certificate("self-made", text, text)


def _certificate(kind: Kind, chain: bytes, key: bytes) -> Certificate:
    try:
        certificates = x509.load_pem_x509_certificates(chain)
        private = serialization.load_pem_private_key(key, password=None)
    except (ValueError, TypeError):  # of what is in them, nothing is said
        raise CertificateError("The certificate's chain or key is no PEM file, or the key has a password.") from None
    leaf = certificates[0]
    if _public(leaf.public_key()) != _public(private.public_key()):
        raise CertificateError("The key is not that of the chain's first certificate.")
    if leaf.not_valid_after_utc <= datetime.now(UTC):
        raise CertificateError(f"The certificate ended on {leaf.not_valid_after_utc:%Y-%m-%d}; get a new one.")
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


def _public(key: object) -> bytes:
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


def _make() -> bytes:
    """A key, its certificate, and that of an authority whose key is thrown away: C2PA takes no self-signed signer."""
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
        _begin("FLock, self-made authority", authority)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(
            x509.KeyUsage(digital_signature=False, key_cert_sign=True, crl_sign=True, **usage), critical=True
        )
        .sign(authority, hashes.SHA256())
    )
    leaf = (
        _begin("FLock worker, self-made", key)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(
            x509.KeyUsage(digital_signature=True, key_cert_sign=False, crl_sign=False, **usage), critical=True
        )
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)  # as C2PA asks
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key()), critical=False)
        .sign(authority, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return leaf.public_bytes(pem) + root.public_bytes(pem) + secret


def _begin(name: str, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    def named(common: str) -> x509.Name:
        return x509.Name(
            [
                x509.NameAttribute(NameOID.COMMON_NAME, common),
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, "FLock (self-made, vouched for by nobody)"),
            ]
        )

    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(named(name))
        .issuer_name(named("FLock, self-made authority"))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))  # clocks differ
        .not_valid_after(now + timedelta(days=365 * SELF_MADE_YEARS))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )

"""The paper exchange's identity on this machine: certificate and API keys. Does file I/O.

Both live in the exchange's state folder, readable by their owner alone, and never reach a log.
"""

import datetime
import ipaddress
import json
import os
import secrets
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from don.errors import UsageError
from don.paper.server.signing import ApiKey

CERTIFICATE_FILE = "exchange-cert.pem"
PRIVATE_KEY_FILE = "exchange-key.pem"
API_KEYS_FILE = "api-keys.json"
_LIFETIME = datetime.timedelta(days=397)
_RENEW_BEFORE = datetime.timedelta(days=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """Files of the server's certificate; clients trust `certificate`."""

    certificate: Path
    private_key: Path


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read, all or nothing."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def load_api_keys(folder: Path) -> tuple[ApiKey, ...]:
    """The key pairs that the exchange of this state folder accepts, in the order of its accounts.

    Raises:
        UsageError: if there are none yet or the file is malformed.
    """
    path = folder / API_KEYS_FILE
    try:
        content = json.loads(path.read_text())
        return tuple(
            ApiKey(account=account, key=str(pair["key"]), secret=str(pair["secret"]))
            for account, pair in content.items()
        )
    except FileNotFoundError as error:
        raise UsageError(f"no API keys at {path}: start the paper exchange first") from error
    except (ValueError, KeyError, TypeError, AttributeError):
        # the cause is left out on purpose: it could quote what is in the file
        raise UsageError(
            f"API keys {path} are malformed: delete the file and restart the paper exchange"
        ) from None


def ensure_api_keys(folder: Path, accounts: Sequence[str]) -> tuple[ApiKey, ...]:
    """Key pairs of these accounts; those that are missing are made."""
    path = folder / API_KEYS_FILE
    known = {key.account: key for key in load_api_keys(folder)} if path.exists() else {}
    fresh = [account for account in accounts if account not in known]
    for account in fresh:
        known[account] = ApiKey(
            account=account, key=secrets.token_hex(32), secret=secrets.token_hex(32)
        )
    if fresh:
        content = {key.account: {"key": key.key, "secret": key.secret} for key in known.values()}
        write_private(path, json.dumps(content).encode())
    return tuple(known[account] for account in accounts)


def ensure_certificate(folder: Path, now: datetime.datetime) -> Certificate:
    """The folder's self-signed certificate for localhost; renewed when it runs out.

    It is kept over restarts, so that clients which loaded it can reconnect after one.
    """
    files = Certificate(
        certificate=folder / CERTIFICATE_FILE, private_key=folder / PRIVATE_KEY_FILE
    )
    if not _usable(files, now):
        _make(files, now)
    return files


def server_context(files: Certificate) -> ssl.SSLContext:
    """TLS context of the stream server."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(files.certificate, files.private_key)
    return context


def _usable(files: Certificate, now: datetime.datetime) -> bool:
    if not (files.certificate.exists() and files.private_key.exists()):
        return False
    try:
        certificate = x509.load_pem_x509_certificate(files.certificate.read_bytes())
        server_context(files)
    except (ValueError, ssl.SSLError):
        return False  # damaged: made anew
    return certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc - _RENEW_BEFORE


def _make(files: Certificate, now: datetime.datetime) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Don paper exchange")])
    names = x509.SubjectAlternativeName(
        [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + _LIFETIME)
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    write_private(
        files.private_key,
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )
    write_private(files.certificate, certificate.public_bytes(serialization.Encoding.PEM))

"""A local certificate authority, and the certificate that it issues to the demo's server.

Whoever has the authority's key can pretend to be any server that the authority may name. So the authority may name only
private addresses, local names and this machine, and its key is readable by this user alone.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY_DAYS = 3 * 365
# iOS refuses server certificates of more than 825 days.
SERVER_DAYS = 90
# A phone's clock may be slow.
SLACK = timedelta(days=1)

_PRIVATE_NETWORKS = (
    *("10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16"),
    *("::1/128", "fc00::/7", "fe80::/10"),
)
_LOCAL_NAMES = ("local", "localhost")

Name = x509.DNSName | x509.IPAddress


@dataclass(frozen=True)
class Certificates:
    """Files of certificates, as PEM. `is_new`: whether the authority was made just now."""

    authority: Path
    """What a phone is told to trust."""
    server: Path
    """The server's certificate, and the authority's."""
    server_key: Path
    is_new: bool


@dataclass(frozen=True)
class _Authority:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def issue_certificates(folder: Path, machine: str, hosts: Sequence[str]) -> Certificates:
    """A new certificate for these addresses and names, from the authority kept in `folder`.

    The authority is made if there is none, if it has expired or is damaged, or if it may not name one of the hosts.
    `machine`: a name by which people know the authority on their phone. Raises OSError.
    """
    files = Certificates(folder / "authority.crt", folder / "server.crt", folder / "server.key", is_new=False)
    names = [_name_of(host) for host in dict.fromkeys(hosts)]
    authority, is_new = _keep_authority(folder, machine, names, intermediates=0)
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _issue(authority, key, machine, names)
    _write(files.server_key, _pem_of_key(key), secret=True)
    _write(files.server, _pem(certificate) + _pem(authority.certificate))
    return Certificates(files.authority, files.server, files.server_key, is_new=is_new)


def keep_authority(folder: Path, machine: str, hosts: Sequence[str]) -> bool:
    """Make an authority in `folder` that may issue to these hosts through one intermediate, as a proxy does.

    Returns whether it is new: one that is there and may is kept. Raises OSError.
    """
    return _keep_authority(folder, machine, [_name_of(host) for host in dict.fromkeys(hosts)], intermediates=1)[1]


def _keep_authority(
    folder: Path, machine: str, names: Sequence[Name], *, intermediates: int
) -> tuple[_Authority, bool]:
    """The authority in `folder`, and whether it was made just now."""
    folder.mkdir(parents=True, exist_ok=True)
    certificate_file, key_file = folder / "authority.crt", folder / "authority.key"
    authority = _read_authority(certificate_file, key_file)
    if authority is not None and _is_usable(authority, names, intermediates):
        return authority, False
    authority = _make_authority(machine, names, intermediates)
    _write(key_file, _pem_of_key(authority.key), secret=True)
    _write(certificate_file, _pem(authority.certificate))
    return authority, True


def _read_authority(certificate_file: Path, key_file: Path) -> _Authority | None:
    """The authority; None if there is none or it is damaged."""
    try:
        certificate = x509.load_pem_x509_certificate(certificate_file.read_bytes())
        key = serialization.load_pem_private_key(key_file.read_bytes(), password=None)
        certificate.verify_directly_issued_by(certificate)
    except (FileNotFoundError, ValueError, TypeError, InvalidSignature):
        return None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        return None
    # The file may have been copied without its mode.
    key_file.chmod(0o600)
    return _Authority(certificate, key)


def _is_usable(authority: _Authority, names: Sequence[Name], intermediates: int) -> bool:
    certificate = authority.certificate
    now = datetime.now(UTC)
    if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc - timedelta(days=SERVER_DAYS):
        return False
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.NameConstraints).value
        length = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length
    except x509.ExtensionNotFound:
        return False
    if length is None or length < intermediates:
        return False
    return all(_is_permitted(name, constraints.permitted_subtrees or []) for name in names)


def _is_permitted(name: Name, permitted: Sequence[x509.GeneralName]) -> bool:
    if isinstance(name, x509.DNSName):
        wanted = f".{name.value}"
        return any(isinstance(each, x509.DNSName) and wanted.endswith(f".{each.value}") for each in permitted)
    return any(isinstance(each, x509.IPAddress) and _is_within(name.value, each.value) for each in permitted)


def _is_within(address: object, network: object) -> bool:
    if isinstance(address, ipaddress.IPv4Address) and isinstance(network, ipaddress.IPv4Network):
        return address in network
    return (
        isinstance(address, ipaddress.IPv6Address) and isinstance(network, ipaddress.IPv6Network) and address in network
    )


def _make_authority(machine: str, names: Sequence[Name], intermediates: int) -> _Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    subject = _subject(f"Askew demo on {machine}, {now:%Y-%m-%d}")
    public = key.public_key()
    certificate = (
        _builder(subject, subject, public, now, AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=intermediates), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.NameConstraints(_permitted(names), None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .sign(key, hashes.SHA256())
    )
    return _Authority(certificate, key)


def _permitted(names: Sequence[Name]) -> list[x509.GeneralName]:
    """What the authority may name: private addresses, local names, and these hosts."""
    general: list[x509.GeneralName] = [x509.IPAddress(ipaddress.ip_network(each)) for each in _PRIVATE_NETWORKS]
    general += [x509.DNSName(each) for each in _LOCAL_NAMES]
    for name in names:
        if _is_permitted(name, general):
            continue
        general.append(
            name if isinstance(name, x509.DNSName) else x509.IPAddress(ipaddress.ip_network(str(name.value)))
        )
    return general


def _issue(
    authority: _Authority, key: ec.EllipticCurvePrivateKey, machine: str, names: Sequence[Name]
) -> x509.Certificate:
    public = key.public_key()
    issuer = authority.certificate.subject
    return (
        _builder(_subject(machine), issuer, public, datetime.now(UTC), SERVER_DAYS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), critical=False)
        .sign(authority.key, hashes.SHA256())
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey, now: datetime, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SLACK)
        .not_valid_after(now + timedelta(days=days))
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _subject(common_name: str) -> x509.Name:
    # The standard allows 64 characters.
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64])])


def _name_of(host: str) -> Name:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _pem_of_key(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(path: Path, content: bytes, *, secret: bool = False) -> None:
    """Write a file atomically; a secret one can be read by this user only, from the first moment on."""
    part = path.with_name(f"{path.name}.part")
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if secret else 0o644)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    part.replace(path)

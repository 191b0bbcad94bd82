"""The server's certificate, renewed while it runs: new connections get the new one, open ones live on."""

from __future__ import annotations

import logging
import shutil
import ssl
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from askew_client.errors import AskewError


@dataclass(frozen=True)
class CertificatePair:
    """The files of a certificate with its chain, and of its key, as PEM. `key` None: the key is in the same file."""

    certificate: Path
    key: Path | None

    def check(self, named: CertificatePair | None = None) -> float:
        """Check that the pair can be used; returns when it expires, in seconds since 1970.

        Raises AskewError, which names the files of `named` if this is a copy of them.
        """
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self.certificate, self.key, password=_no_password)
            return expiry_of(self.certificate.read_text())
        except (OSError, ValueError, IndexError) as error:
            files = named or self
            raise AskewError(
                f"Expected a certificate and its key, without a password, as PEM in {files.certificate} and "
                f"{files.key or 'the same file'}: {error}."
            ) from None

    def signature(self) -> tuple[tuple[int, int, int], ...]:
        """What changes when one of the files is replaced. Raises OSError."""
        stats = [path.stat() for path in self._paths()]
        return tuple((each.st_ino, each.st_mtime_ns, each.st_size) for each in stats)

    def copied(self, folder: Path) -> CertificatePair:
        """A copy in `folder`, which does not change while it is examined. Raises OSError."""
        copies = [Path(shutil.copyfile(path, folder / str(number))) for number, path in enumerate(self._paths())]
        return CertificatePair(copies[0], copies[1] if len(copies) > 1 else None)

    def _paths(self) -> list[Path]:
        return [self.certificate] if self.key is None else [self.certificate, self.key]


class RenewedCertificate:
    """Follows a pair of files into the context that new connections use. `expires`: when the one in use does."""

    def __init__(self, pair: CertificatePair) -> None:
        """Raises AskewError if the pair cannot be used."""
        self._pair = pair
        self.expires = pair.check()
        self._loaded = self._seen = self._signature()
        self._said: tuple[object, str] | None = None

    def look(self, context: ssl.SSLContext) -> None:
        """Take a new pair that has not changed since the last look, into `context`. To be called about once a second."""
        now = self._signature()
        is_settled, self._seen = now == self._seen, now
        if now == self._loaded or not is_settled:
            return
        try:
            with tempfile.TemporaryDirectory(prefix="askew-certificate-") as folder:
                copy = self._pair.copied(Path(folder))
                expires = copy.check(named=self._pair)
                if expires < time.time() < self.expires:
                    raise AskewError(f"It expired on {time.strftime('%Y-%m-%d', time.gmtime(expires))}.")
                context.load_cert_chain(copy.certificate, copy.key, password=_no_password)
        except AskewError as error:
            # Looked at again once the files are others.
            self._loaded = now
            self._complain(str(error))
        # The disk of the copy is full, a file is missing or cannot be read yet: the next look may succeed.
        except OSError as error:
            self._complain(f"{error}. It is tried again.")
        else:
            self._loaded, self.expires, self._said = now, expires, None
            log = logging.getLogger("askew.server")
            log.warning("new connections use the renewed certificate of %s", self._pair.certificate)

    def _complain(self, reason: str) -> None:
        """Log once why the files are not used."""
        # The name of the temporary folder differs from look to look.
        said = self._seen, reason.partition("/askew-certificate-")[0]
        if said != self._said:
            self._said = said
            logging.getLogger("askew.server").error(
                "%s or its key was changed and cannot be used, so the earlier certificate stays: %s",
                self._pair.certificate, reason,
            )  # fmt: skip

    def _signature(self) -> tuple[tuple[int, int, int], ...] | None:
        try:
            return self._pair.signature()
        except OSError:
            return None


def expiry_of(pem: str) -> float:
    """When the first certificate of a PEM text expires, in seconds since 1970. Raises ValueError.

    RFC 5280, 4.1: Certificate, TBSCertificate, in it after the optional version: serial number, signature, issuer, validity.
    """
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    start = pem.find(begin)
    if start < 0:
        raise ValueError("no certificate in it")
    der = ssl.PEM_cert_to_DER_cert(pem[start : pem.index(end, start) + len(end)])
    content, _ = _member(_member(der)[0])
    members: list[bytes] = []
    while content and len(members) < 5:
        is_version = content[0] == 0xA0
        value, content = _member(content)
        if not is_version:
            members.append(value)
    not_after = _member(members[3])[1]
    text = _member(not_after)[0].decode("ascii")
    # UTCTime has two digits of the year, until 2049.
    if len(text) == len("YYMMDDHHMMSSZ"):
        text = ("20" if int(text[:2]) < 50 else "19") + text
    month = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")[int(text[4:6]) - 1]
    clock = f"{text[8:10]}:{text[10:12]}:{text[12:14]}"
    return float(ssl.cert_time_to_seconds(f"{month} {text[6:8]} {clock} {text[:4]} GMT"))


def _member(der: bytes) -> tuple[bytes, bytes]:
    """The content of the first member of a DER text, and what follows it."""
    length, start = der[1], 2
    if length & 0x80:
        start += length & 0x7F
        length = int.from_bytes(der[2:start], "big")
    return der[start : start + length], der[start + length :]


def _no_password() -> str:
    raise ValueError("the key asks for a password")

"""API keys: each is shown once, when it is created, and stored as its SHA-256 in DATA/askew.db.

A key is `ask_`, a public id and 256 random bits. The id finds its row and names the key in lists and logs. The key cannot
be computed from its hash, and 256 random bits cannot be guessed, so a plain hash needs neither salt nor stretching.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import re
import secrets
import threading
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import get_args

from askew_client.contract.keys import CreatedKey, CreateKeyRequest, KeyDescription, Scope
from askew_client.contract.problems import ProblemKind
from askew_server.clock import utc_microseconds
from askew_server.errors import Refusal
from askew_server.storage.data_record import KeysRecord, keys_record
from askew_server.storage.errors import DatabaseError
from askew_server.storage.server_database import open_server_database

SCOPES: tuple[Scope, ...] = get_args(Scope)
"""In ascending order: each scope includes those before it."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS keys (
    id TEXT PRIMARY KEY, digest BLOB NOT NULL, name TEXT NOT NULL, scopes TEXT NOT NULL, galleries TEXT,
    requests_per_second REAL, created_at TEXT NOT NULL, expires_at TEXT, revoked_at TEXT
) STRICT;
"""
_COLUMNS = "id, digest, name, scopes, galleries, requests_per_second, created_at, expires_at"
_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"
_ID_LENGTH = 10
_FORM = re.compile(rf"ask_([{_ALPHABET}]{{{_ID_LENGTH}}})_[A-Za-z0-9_-]{{43}}")
_NO_DIGEST = bytes(32)

KeyTableRow = tuple[str, bytes, str, str, str | None, float | None, str, str | None, str | None]
"""A row of the table, its columns in their order."""


@dataclass(frozen=True)
class Key:
    """A key in the store: everything but the key itself. `digest`: its SHA-256."""

    id: str
    digest: bytes
    name: str
    scopes: tuple[Scope, ...]
    galleries: tuple[str, ...] | None
    requests_per_second: float | None
    created_at: str
    expires_at: datetime | None

    def may(self, scope: Scope) -> bool:
        """Whether the key has this scope or one that includes it."""
        return max(SCOPES.index(each) for each in self.scopes) >= SCOPES.index(scope)

    def is_expired(self, now: datetime) -> bool:
        """Whether the key has expired. `now`: with its time zone."""
        return self.expires_at is not None and now >= self.expires_at

    def describe(self) -> KeyDescription:
        """The key as lists show it."""
        return KeyDescription(
            id=self.id,
            name=self.name,
            scopes=list(self.scopes),
            galleries=None if self.galleries is None else list(self.galleries),
            requests_per_second=self.requests_per_second,
            created_at=self.created_at,
            expires_at=None if self.expires_at is None else self.expires_at.isoformat(),
        )


class KeyStore:
    """The keys of one DATA directory. May be used from any thread; a change applies to the next request."""

    def __init__(self, data: Path) -> None:
        """Open the table of keys. Raises AskewError if the database cannot be read."""
        self._data = data
        self._db = open_server_database(data, _SCHEMA)
        self._changing = threading.Lock()
        # A change replaces the whole dictionary, so that a request sees the keys before the change or after it.
        self._keys = self._read()
        self._record = keys_record(data)
        self._record.mend()
        self._is_guarded = self._was_guarded()

    def close(self) -> None:
        """Close the database."""
        with self._changing:
            self._db.close()

    @property
    def guarded(self) -> bool:
        """Whether requests need a key: from the first key on, even if all keys are revoked or have expired."""
        return self._is_guarded

    @property
    def lost(self) -> str | None:
        """A sentence if there were keys, and the database has none, not even a revoked one."""
        with self._changing:
            if not self._is_guarded or self._db.row("SELECT 1 FROM keys LIMIT 1") is not None:
                return None
        return (
            f"{self._data} had keys, but its askew.db has none, so nobody is served. Stop the server, then put back a copy of "
            f"askew.db, or create a key: `askew key create NAME --scope admin --data {self._data}`."
        )

    def create(self, wanted: CreateKeyRequest) -> CreatedKey:
        """Create a key. It is on the disk when this returns. Only this answer holds the key itself."""
        identity = "".join(secrets.choice(_ALPHABET) for _ in range(_ID_LENGTH))
        text = f"ask_{identity}_{secrets.token_urlsafe(32)}"
        key = Key(
            id=identity,
            digest=_digest(text),
            name=wanted.name,
            scopes=tuple(scope for scope in SCOPES if scope in wanted.scopes),
            galleries=None if wanted.galleries is None else tuple(sorted(set(wanted.galleries))),
            requests_per_second=wanted.requests_per_second,
            created_at=utc_microseconds(),
            expires_at=wanted.expires_at,
        )
        row = (
            key.id,
            key.digest,
            key.name,
            json.dumps(key.scopes),
            None if key.galleries is None else json.dumps(key.galleries),
            key.requests_per_second,
            key.created_at,
            None if key.expires_at is None else key.expires_at.isoformat(),
        )
        with self._changing:
            try:
                with self._db.transaction():
                    self._db.execute("INSERT INTO keys VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL)", row)
                    # Before the commit, so that no key is acknowledged whose record is missing.
                    self._note_keys()
            except (DatabaseError, OSError):
                if not self._is_guarded:
                    with suppress(OSError):
                        self._record.write(KeysRecord(had_keys=False))
                raise
            # A copy of askew.db without its log then has the keys, too.
            self._db.checkpoint()
            self._keys = {**self._keys, key.id: key}
            self._is_guarded = True
        return CreatedKey(**key.describe().model_dump(), key=text)

    def describe_all(self) -> list[KeyDescription]:
        """The keys that are not revoked, oldest first."""
        return [key.describe() for key in self._keys.values()]

    def revoke(self, identity: str) -> None:
        """Revoke a key. It stops working with the next request. Raises Refusal (unknown-key)."""
        with self._changing:
            if identity not in self._keys:
                raise Refusal(
                    ProblemKind.UNKNOWN_KEY,
                    f"There is no key with the id {identity[:80]!r}. `askew key list` lists the ids.",
                )
            # The row stays: a server that ever had a key must never again serve requests without one.
            now = utc_microseconds()
            with self._db.transaction():
                self._db.execute("UPDATE keys SET revoked_at = ?, digest = x'' WHERE id = ?", (now, identity))
            self._db.checkpoint()
            self._keys = {each: key for each, key in self._keys.items() if each != identity}

    def ask_for_keys(self) -> None:
        """Serve nobody without a key from now on, though there may be none yet. Raises OSError."""
        with self._changing:
            if not self._is_guarded:
                self._note_keys()
                self._is_guarded = True

    def rows(self) -> list[KeyTableRow]:
        """All rows of the table, revoked keys included, oldest first."""
        with self._changing:
            return self._db.rows(f"SELECT {_COLUMNS}, revoked_at FROM keys ORDER BY created_at, id")

    def take_over(self, rows: list[KeyTableRow]) -> None:
        """Add these rows of another server's table, or replace those of the same ids; a revoked key stays revoked."""
        with self._changing:
            known = {row[0]: row for row in self._db.rows(f"SELECT {_COLUMNS}, revoked_at FROM keys")}
            revoked = {identity for identity, row in known.items() if row[8] is not None}
            changed = [row for row in rows if row != known.get(row[0]) and row[0] not in revoked]
            if not changed:
                return
            with self._db.transaction():
                self._db.execute_many("INSERT OR REPLACE INTO keys VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", changed)
                # Before the commit, so that no key is acknowledged whose record is missing.
                self._note_keys()
            self._db.checkpoint()
            self._keys = self._read()
            self._is_guarded = True

    def _read(self) -> dict[str, Key]:
        rows = self._db.rows(f"SELECT {_COLUMNS} FROM keys WHERE revoked_at IS NULL ORDER BY created_at, id")
        return {row[0]: _key_of(row) for row in rows}

    def _was_guarded(self) -> bool:
        """Whether there ever was a key: by the table, or by the record, which outlives the table."""
        known = self._record.read()
        if self._db.row("SELECT 1 FROM keys LIMIT 1") is not None:
            if known is None or not known.had_keys:
                try:
                    self._note_keys()
                except OSError as error:
                    logging.getLogger("askew.server").warning("that DATA has keys was not recorded: %s", error)
            return True
        return known is not None and known.had_keys

    def _note_keys(self) -> None:
        known = self._record.read()
        if known is None or not known.had_keys:
            self._record.write(KeysRecord(had_keys=True))

    def find(self, text: str) -> Key | None:
        """The key of a text, expired or not. None if the text is not a key, or a revoked one."""
        form = _FORM.fullmatch(text)
        key = self._keys.get(form[1]) if form else None
        # Compared even if the id is unknown, so that an unknown id takes as long as a wrong secret.
        is_known = hmac.compare_digest(_digest(text), _NO_DIGEST if key is None else key.digest)
        return key if is_known else None


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _key_of(row: tuple[str, bytes, str, str, str | None, float | None, str, str | None]) -> Key:
    identity, digest, name, scopes, galleries, rate, created_at, expires_at = row
    return Key(
        id=identity,
        digest=digest,
        name=name,
        scopes=tuple(json.loads(scopes)),
        galleries=None if galleries is None else tuple(json.loads(galleries)),
        requests_per_second=rate,
        created_at=created_at,
        expires_at=None if expires_at is None else datetime.fromisoformat(expires_at),
    )

"""The keys of a primary, which are those of its replicas, too: without them nobody could use a replica that is promoted."""

from __future__ import annotations

from askew_server.auth.keys import KeyStore
from askew_server.replication.wire import KeyRow


def key_rows(keys: KeyStore) -> list[KeyRow]:
    """The rows of the table of keys, revoked ones included. The keys themselves are in none of them."""
    return [
        KeyRow(
            id=identity,
            digest=digest.hex(),
            name=name,
            scopes=scopes,
            galleries=galleries,
            requests_per_second=rate,
            created_at=created_at,
            expires_at=expires_at,
            revoked_at=revoked_at,
        )
        for identity, digest, name, scopes, galleries, rate, created_at, expires_at, revoked_at in keys.rows()
    ]


def take_over_keys(keys: KeyStore, rows: list[KeyRow]) -> None:
    """Have the primary's keys, beside those that were made here. A key that was revoked anywhere stays revoked."""
    keys.take_over(
        [
            (
                row.id,
                bytes.fromhex(row.digest),
                row.name,
                row.scopes,
                row.galleries,
                row.requests_per_second,
                row.created_at,
                row.expires_at,
                row.revoked_at,
            )
            for row in rows
        ]
    )

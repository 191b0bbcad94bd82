"""Aliases: second names of galleries, in DATA/askew.db. When the teacher changes, one write switches all clients."""

from __future__ import annotations

from pathlib import Path

from askew_server.storage.server_database import open_server_database

_SCHEMA = "CREATE TABLE IF NOT EXISTS aliases (alias TEXT PRIMARY KEY, gallery TEXT NOT NULL) STRICT, WITHOUT ROWID;"


class Aliases:
    """The gallery that each alias names. Any thread may read it; only one at a time may change it."""

    def __init__(self, data: Path) -> None:
        """Open the table of aliases. Raises AskewError when the database cannot be read."""
        self._db = open_server_database(data, _SCHEMA)
        # Replaced as a whole, so that a reader sees the aliases either before or after a change.
        self._named: dict[str, str] = dict(self._db.rows("SELECT alias, gallery FROM aliases ORDER BY alias"))

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    def all(self) -> dict[str, str]:
        """The gallery that each alias names, by alias."""
        return dict(self._named)

    def resolve(self, name: str) -> str:
        """The gallery that an alias names; any other name is returned as it is."""
        return self._named.get(name, name)

    def of(self, gallery: str) -> list[str]:
        """The aliases of a gallery, sorted."""
        return sorted(alias for alias, named in self._named.items() if named == gallery)

    def set(self, alias: str, gallery: str) -> str | None:
        """Make an alias name a gallery, and save that; returns the gallery that it named before."""
        previous = self._named.get(alias)
        with self._db.transaction():
            self._db.execute("INSERT OR REPLACE INTO aliases VALUES (?, ?)", (alias, gallery))
        self._named = {**self._named, alias: gallery}
        return previous

    def delete(self, alias: str) -> bool:
        """Delete an alias; returns whether it existed."""
        with self._db.transaction():
            self._db.execute("DELETE FROM aliases WHERE alias = ?", (alias,))
        known = alias in self._named
        self._named = {name: gallery for name, gallery in self._named.items() if name != alias}
        return known

"""Offline packs: read, verified, searched and updated without a server; numpy alone."""

"""How many connections each client keeps, and for how long; both pools share these."""

from __future__ import annotations

import httpx

MAX_CONNECTIONS = 100
"""Requests of one client in progress at once; the next ones wait for their turn."""
IDLE_SECONDS = 10.0
"""A connection that was idle for longer is closed."""
ONE_CONNECTION = httpx.Limits(max_connections=1, max_keepalive_connections=1)

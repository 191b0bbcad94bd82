"""Every call of the API, described once: plain functions that make `Call`s, which both clients send."""

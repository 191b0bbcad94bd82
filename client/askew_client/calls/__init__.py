"""Every call of the API, described once: plain functions that return `Call`s, which both clients send."""

"""The asynchronous client, written by hand. `make unasync` generates `_sync` from it."""

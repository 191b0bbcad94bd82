"""The synchronous client. Everything but `blocking.py` is generated from `_async` by `make unasync`."""

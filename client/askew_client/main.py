"""`python -m askew_client.main` runs the `askew` command, for launchers that expect a module."""

from __future__ import annotations

from askew_client.cli.main import main

if __name__ == "__main__":
    main()

"""Makes the certificate authority of the TLS proxy, or keeps the one that is there. The proxy issues from it.

The authority may name only private addresses, local names and PHONE_HOST, so that a phone that trusts it can be deceived
about no other server, even by someone who has its key.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from certificates import keep_authority


def main() -> None:
    """Write authority.crt and authority.key into the folder of the first argument."""
    folder = Path(sys.argv[1])
    host = os.environ.get("PHONE_HOST") or "127.0.0.1"
    try:
        is_new = keep_authority(folder, host, [host, "localhost", "127.0.0.1"])
    except (OSError, ValueError) as error:
        sys.exit(f"The certificate authority for PHONE_HOST={host} cannot be written to {folder}: {error}.")
    state = "new: phones do not trust it yet" if is_new else "the one that was made before"
    print(f"The authority {folder / 'authority.crt'} is {state}.")


if __name__ == "__main__":
    main()

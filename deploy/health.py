"""The health check of the server image: exit code 0 while the server answers searches.

PORT: as for the entry point. With a certificate (ASKEW_TLS_CERTIFICATE) the server is asked over TLS.
"""

from __future__ import annotations

import os
import ssl
import sys
import urllib.error
import urllib.request

SECONDS = 4


def main() -> int:
    """Ask `/readyz`. Returns 0 if it answers 200; what it answered else goes to stdout, where the engine keeps it."""
    scheme = "https" if os.environ.get("ASKEW_TLS_CERTIFICATE") else "http"
    url = f"{scheme}://127.0.0.1:{os.environ.get('PORT') or '8000'}/readyz"
    # The certificate names the server as its clients know it, never 127.0.0.1.
    trusts_anybody = ssl.create_default_context()
    trusts_anybody.check_hostname = False
    trusts_anybody.verify_mode = ssl.CERT_NONE
    try:
        with urllib.request.urlopen(url, timeout=SECONDS, context=trusts_anybody) as answer:
            return 0 if answer.status == 200 else 1
    except urllib.error.HTTPError as error:
        print(f"{url} answered {error.code}: {error.read(1000).decode(errors='replace')}")
    except OSError as error:
        print(f"{url} did not answer: {error}")
    return 1


if __name__ == "__main__":
    sys.exit(main())

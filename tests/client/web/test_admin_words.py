"""The operator's view has words for whatever the server names."""

from __future__ import annotations

import re

from askew_client.contract.jobs import RESULT_MODELS
from tests.support.paths import ROOT

STRINGS = ROOT / "client" / "web" / "admin" / "src" / "strings.ts"


def test_every_kind_of_job_has_words() -> None:
    table = re.search(r"JOB_KINDS[^=]*= \{(.*?)\};", STRINGS.read_text(encoding="utf-8"), re.DOTALL)
    assert table is not None
    assert set(re.findall(r'^\s*"?([a-z-]+)"?: "', table[1], re.MULTILINE)) == set(RESULT_MODELS)

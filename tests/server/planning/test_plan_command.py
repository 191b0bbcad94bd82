"""The command `askew plan`: what it prints, its prices, and the sentences for numbers that make no plan."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path

import pytest

from tests.support.in_process_cli import call_askew
from tests.support.paths import ROOT

PRICES = """
currency = "EUR"
date = 2026-11-01
machine.per_hour = 2.0
disk.per_gb_month = 0.1
gpu.h100.per_hour = 3.0
"""


def _json(*options: str | Path) -> dict[str, dict[str, object]]:
    done = call_askew("plan", *options, "--json")
    assert done.returncode == 0, done.stderr
    return {figure["name"]: figure for figure in json.loads(done.stdout)["figures"]}


def test_every_line_says_whether_it_is_measured_or_computed_and_explains_itself_if_asked() -> None:
    done = call_askew("plan", "--items", "50_000_000", "--qps", "200")
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("  ")]
    assert len(lines) > 15
    assert all(line.endswith(("measured", "computed")) for line in lines)
    assert "extrapolated" in done.stdout
    assert "docs/milvus.md" in done.stdout
    explained = call_askew("plan", "--items", "1000000", "--gpu", "h100", "--explain").stdout
    assert "= 2 bytes × components × items" in explained
    assert "published: NVIDIA H100" in explained
    assert "measured: python benchmarks/index.py --items 1000000" in explained
    assert "not a measurement of this GPU" in explained


def test_json_has_numbers_with_units_formulas_and_sources() -> None:
    figures = _json("--items", "1000000", "--picture-bytes", "0")
    assert figures["pictures"]["value"] == 0
    assert figures["mapped files of the index"] == {
        "name": "mapped files of the index",
        "value": 1_000_000 * (2_048 + 8),
        "unit": "B",
        "kind": "computed",
        "formula": figures["mapped files of the index"]["formula"],
        "constants": [],
    }
    assert figures["median latency"]["constants"][0]["source"]  # type: ignore[index]


def test_costs_are_those_of_the_prices_that_the_user_fills_in(tmp_path: Path) -> None:
    path = tmp_path / "prices.toml"
    assert call_askew("plan", "--write-prices", path).returncode == 0
    empty = call_askew("plan", "--items", "1000", "--prices", path)
    assert empty.returncode == 1
    assert "are not complete" in empty.stderr
    again = call_askew("plan", "--write-prices", path)
    assert again.returncode == 1
    assert "exists already" in again.stderr
    path.write_text(PRICES)
    options: list[str | Path] = ["--items", "10_000_000", "--qps", "1", "--gpu", "h100", "--prices", path]
    figures = _json(*options)
    machines, cards, disk = (figures[name]["value"] for name in ("machines", "GPUs of one machine", "disk"))
    assert (machines, cards) == (1, 1)
    assert figures["cost of machines"]["value"] == pytest.approx((2 + 3) * 730)
    assert figures["cost of disks"]["value"] == pytest.approx(disk / 1e9 * 0.1)  # type: ignore[operator]
    assert figures["cost"]["unit"] == "EUR/month"
    assert "prices of 2026-11-01" in str(figures["cost of machines"]["formula"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("3.0", "-3.0"), "are not complete"),
        (("2026-11-01", str(date.today() + timedelta(days=2))), "yet to come"),
        (("machine.per_hour", "machine.per_day"), "machine.per_hour"),
        (("h100", "h200"), "Add a table [gpu.h100]"),
        (("= 2.0", "= "), "Expected prices as TOML"),
        (("= 2.0", "= true"), "Expected a number in `machine.per_hour`"),
        (("= 2.0", '= "2.0"'), "Expected a number in `machine.per_hour`"),
        (("= 2.0", "= 1e308"), "Expected a number of at most"),
        (("= 2.0", f"= {'9' * 5000}"), "Expected prices as TOML"),
        (("= 2.0", f"= {'[' * 5000}"), "Expected prices as TOML"),
        (("2026-11-01", "2026-11-01T10:00:00Z"), "a day such as 2026-01-31, got"),
        (("EUR", "\\u001b[1m"), "`currency`"),
    ],
)
def test_prices_that_cannot_be_used_are_refused(tmp_path: Path, change: tuple[str, str], said: str) -> None:
    path = tmp_path / "prices.toml"
    path.write_text(PRICES.replace(*change))
    done = call_askew("plan", "--items", "1000000", "--gpu", "h100", "--prices", path)
    assert done.returncode == 1
    assert said in done.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "Expected the number of photos, got none"),
        (["--items", "1000", "--qps", "nan"], "Expected --qps as a number above 0, got nan"),
        (["--items", "1000", "--qps", "inf"], "up to 1e+18, got a larger one"),
        (["--items", "9" * 400], "up to 1e+18, got a larger one"),
        (["--items", "1000", "--dim", "9" * 400], "up to 1e+18, got a larger one"),
        (["--items", "1000", "--memory", "inf"], "up to 1e+09 GB, got a larger one"),
        (["--items", "1000", "--photos-per-second", "5e-324"], "a number that can be planned with"),
        (["--items", "1000", "--qps", "0"], "Expected --qps as a number above 0, got 0"),
        (["--items", "1000", "--memory", "-1"], "Expected --memory as a number above 0, got -1 GB"),
        (["--items", "1000", "--memory", "0.01"], "0.01 GB are too little"),
        (["--items", "1000", "--payload-bytes", "-1"], "Expected --payload-bytes as a number of 0 or more"),
        (["--items", "1000", "--cores", "0"], "Expected --cores"),
        (["--items", "1000", "--dim", "1"], "2 to 65,536 components"),
        (["--items", "1000", "--gpu", "rtx"], "Expected one of the GPUs a10, a100"),
        (["--items", "9999999999999"], "Is there a zero too many"),
        (["--items", "1000", "--prices", "absent.toml"], "cannot be read"),
    ],
)
def test_what_makes_no_plan_is_refused_with_a_sentence(options: list[str], said: str) -> None:
    done = call_askew("plan", *options)
    assert done.returncode == 1
    assert said in done.stderr


def test_the_table_of_the_documents_is_what_the_command_prints() -> None:
    page = (ROOT / "docs" / "scale.md").read_text()
    rows = [
        [cell.strip() for cell in row.split("|")[1:-1]]
        for row in re.findall(r"^\| [\d,]+000 \|.*$", page, re.MULTILINE)
    ]
    assert len(rows) == 6
    for items, index, memory, disk, machines, median, searches, _ in rows:
        figures = _json("--items", items.replace(",", ""), "--qps", "50")
        shown = {name: figures[name]["value"] for name in figures}
        assert index == shown["index"]
        assert machines == f"{shown['shards']:,} × {shown['replicas']:,}"
        for cell, name, unit in ((memory, "memory", 1e9), (disk, "disk", 1e9), (median, "median latency", 1e-3)):
            number, given = re.fullmatch(r"([\d.,]+) (GB|TB|ms)", cell).groups()  # type: ignore[union-attr]
            scale = 1_000 * unit if given == "TB" else unit
            assert float(number) == pytest.approx(shown[name] / scale, rel=0.03, abs=0.06)  # type: ignore[operator]
        assert float(searches.replace(",", "")) == pytest.approx(shown["searches of one machine"], rel=0.02)


def test_a_file_of_prices_that_cannot_be_written_is_not_left_half_written(tmp_path: Path) -> None:
    path = tmp_path / "prices.toml"
    script = "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (9, 9)); from askew_client.cli.main import main; main()"
    command = [sys.executable, "-c", script, "plan", "--write-prices", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert not path.exists()

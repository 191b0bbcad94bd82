"""Paths in the repository."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
TESTS = ROOT / "tests"
DEMO = ROOT / "demo"
TRAINING_FIXTURES = TESTS / "training" / "fixtures"

MADE_AT_0_1 = ROOT / "tests" / "server" / "fixtures" / "made_at_0.1"
"""Files that Askew 0.1 wrote; make.py among them says how."""

"""Where the repository's files lie, wherever a test stands."""

from __future__ import annotations

from pathlib import Path

TESTS = Path(__file__).parent.parent
ROOT = TESTS.parent
PACKAGE = ROOT / "dssm_lightning"
SCRIPTS = ROOT / "scripts"
CONFIGS = ROOT / "configs"
HELPERS = TESTS / "helpers"
GOLDEN = TESTS / "golden"
EVERY_KIND = TESTS / "configs" / "every_kind.yaml"
"""A config with every kind of feature."""

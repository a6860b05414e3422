"""The command that looks at a config and its data before training."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from dssm_lightning.utils.console import show_text

if TYPE_CHECKING:
    from dssm_lightning.inspection.doctor.findings import Finding


def doctor(config: list[str], json: bool = False, batches: int = 8) -> list[Finding]:
    """Look at a config and its data before training, and say what to change.

    What is wrong is an error: `fit` would fail, or its numbers would mean nothing. The command then ends with status 1.
    A warning is what very likely makes the model worse, and a note what a person should know; both end with status 0.
    Nothing is written but the cache of the encoded data, which `fit` uses.

    Args:
        config: configs; a later one overrides settings of earlier ones.
        json: print the findings as JSON, and nothing else.
        batches: training batches that a copy of the model is trained on, for time and memory; 0 = none.

    Returns:
        the findings, the worst first.
    """
    from json import dumps

    from dssm_lightning.cli.doctor_report import show_findings

    findings = findings_of(config, batches)
    if json:
        show_text(dumps([asdict(finding) for finding in findings], ensure_ascii=False, indent=1))
    else:
        show_findings(findings)
    if any(finding.level == "error" for finding in findings):
        sys.exit(1)
    return findings


def findings_of(config: list[str], batches: int = 8) -> list[Finding]:
    """Return what is found in the configs and their data, the worst first.

    Raises:
        UserError: a file does not exist, or is no YAML; ``batches`` is below 0.
    """
    from dssm_lightning import api
    from dssm_lightning.inspection.doctor.examine import examine
    from dssm_lightning.inspection.doctor.settings import merged
    from dssm_lightning.utils.errors import UserError, require_whole
    from dssm_lightning.utils.yaml_files import read_sections

    require_whole("doctor", "batches", batches, minimum=0)
    for path in config:
        if not Path(path).is_file():
            raise UserError(f"--config {path}: no such file")
    sections = merged([read_sections(Path(path), f"--config {path}") for path in config])
    return examine(sections, lambda: api.load_data(config), lambda: api.load_untrained(config), batches)

"""What was trained leaves: towers and scorer as programs that run without torch, and bundles that have all of it."""

from dssm_lightning.export.bundle import export_bundle
from dssm_lightning.export.flat_columns import example_columns
from dssm_lightning.export.run_facts import RunFacts
from dssm_lightning.export.towers import export_towers
from dssm_lightning.retrieval.bundle.programs import ExportedTowers, Program, ProgramInput, flatten

__all__ = [
    "ExportedTowers",
    "Program",
    "ProgramInput",
    "RunFacts",
    "example_columns",
    "export_bundle",
    "export_towers",
    "flatten",
]

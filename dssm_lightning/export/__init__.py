"""What was trained leaves: towers and scorer as programs that run without torch."""

from dssm_lightning.export.flat_columns import example_columns, flatten
from dssm_lightning.export.programs import ExportedTowers, Program, ProgramInput
from dssm_lightning.export.towers import export_towers

__all__ = ["ExportedTowers", "Program", "ProgramInput", "example_columns", "export_towers", "flatten"]

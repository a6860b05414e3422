"""What is in the user's tables: how files are written, what columns are, and the parts that they play."""

from dssm_lightning.inspection.tables.files_settings import files_settings
from dssm_lightning.inspection.tables.profiling import profile_files, profile_frames

__all__ = ["files_settings", "profile_files", "profile_frames"]

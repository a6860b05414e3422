"""Sources of data. A source returns three raw tables: interactions, queries and candidates."""

from dssm_lightning.data.sources.base import Source
from dssm_lightning.data.sources.emoji import Emoji
from dssm_lightning.data.sources.emoji_styles import EmojiStyles
from dssm_lightning.data.sources.files import Files
from dssm_lightning.data.sources.frames import Frames
from dssm_lightning.data.sources.medquad import MedQuAD
from dssm_lightning.data.sources.movielens import MovieLens
from dssm_lightning.data.sources.synthetic import Synthetic
from dssm_lightning.data.sources.tldr import Tldr

__all__ = ["Emoji", "EmojiStyles", "Files", "Frames", "MedQuAD", "MovieLens", "Source", "Synthetic", "Tldr"]

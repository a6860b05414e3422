"""Features: declarations of columns. A feature is fitted once and has no weights."""

from dssm_lightning.features.base import Feature, feature_from_dict
from dssm_lightning.features.categorical import Categorical, CategoricalList
from dssm_lightning.features.history import History
from dssm_lightning.features.image import Image
from dssm_lightning.features.liked_by import LikedBy
from dssm_lightning.features.numeric import Bucketized, Numeric
from dssm_lightning.features.text.hashed import HashedNgrams, HashedTrigrams, HashedWords
from dssm_lightning.features.text.random_projection import BagOfWordsRandomProjection
from dssm_lightning.features.text.tokens import Tokens
from dssm_lightning.features.text.trigrams import Trigrams, WordTrigrams
from dssm_lightning.features.text.vocabulary_words import Words
from dssm_lightning.features.vector import Vector

__all__ = [
    "BagOfWordsRandomProjection",
    "Bucketized",
    "Categorical",
    "CategoricalList",
    "Feature",
    "HashedNgrams",
    "HashedTrigrams",
    "HashedWords",
    "History",
    "Image",
    "LikedBy",
    "Numeric",
    "Tokens",
    "Trigrams",
    "Vector",
    "WordTrigrams",
    "Words",
    "feature_from_dict",
]

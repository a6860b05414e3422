from dataclasses import dataclass

import pytest

from dssm_lightning import features
from dssm_lightning.features import Categorical, Feature
from dssm_lightning.models import encoders


@pytest.mark.parametrize(
    ("feature", "encoder"),
    [
        (features.Categorical(name="x", num_buckets=3), encoders.Embedding),
        (features.Bucketized(name="x", boundaries=(1.0,)), encoders.Embedding),
        (features.CategoricalList(name="x", num_buckets=3), encoders.EmbeddingBag),
        (features.History(name="x", of="y", item=Categorical(name="y", num_buckets=3)), encoders.EmbeddingBag),
        (features.Numeric(name="x"), encoders.Identity),
        (features.Vector(name="x", length=2), encoders.Linear),
        (features.Image(name="x"), encoders.ConvNet),
    ],
)
def test_a_feature_chooses_its_encoder_and_the_encoder_takes_it(feature, encoder):
    assert encoders.default_encoder(feature) is encoder
    assert encoder(feature).output_dim >= 1


def test_every_kind_of_feature_has_a_default():
    kinds = [getattr(features, name) for name in features.__all__]
    for kind in kinds:
        if isinstance(kind, type) and kind is not Feature:
            bare = object.__new__(kind)  # without values, because only the class matters
            assert issubclass(encoders.default_encoder(bare), encoders.Encoder)


def test_a_users_feature_inherits_a_default_or_needs_a_named_encoder():
    @dataclass(frozen=True, kw_only=True)
    class Country(Categorical):
        pass

    @dataclass(frozen=True, kw_only=True)
    class Sound(Feature):
        pass

    assert encoders.default_encoder(Country(name="c", num_buckets=2)) is encoders.Embedding
    with pytest.raises(ValueError, match=r"'s': Sound .*`encoders`"):
        encoders.default_encoder(Sound(name="s"))

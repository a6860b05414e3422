"""Settings of features that only change the batches of training: encoded data do not depend on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from dssm_lightning.features import Feature, History, LikedBy
from dssm_lightning.features.schema import Schema, Schemas


def without_dropout(schemas: Schemas) -> Schemas:
    """Return the schemas with a dropout of 0, by which a cache is found: all rates share one.

    Example:
        >>> seen = History(name="seen", of="film", dropout=0.5)
        >>> without_dropout(Schemas(Schema((seen,)), Schema(()))).query["seen"].dropout
        0.0
    """
    return _changed(schemas, lambda side, feature: 0.0)


def with_dropout_of(schemas: Schemas, declared: Schemas) -> Schemas:
    """Return the schemas of a cache with the dropout that these features have, which are of the same names.

    Example:
        >>> cached, declared = (History(name="seen", of="film", dropout=rate) for rate in (0.0, 0.5))
        >>> found = with_dropout_of(Schemas(Schema((cached,)), Schema(())), Schemas(Schema((declared,)), Schema(())))
        >>> found.query["seen"].dropout
        0.5
    """
    return _changed(schemas, lambda side, feature: getattr(getattr(declared, side)[feature.name], "dropout", 0.0))


def _changed(schemas: Schemas, rate: Callable[[str, Feature], float]) -> Schemas:
    """Return the schemas with another dropout of what is assembled from the training rows."""

    def of(side: str, feature: Feature) -> Feature:
        return replace(feature, dropout=rate(side, feature)) if isinstance(feature, History | LikedBy) else feature

    sides = {side: Schema(tuple(of(side, each) for each in getattr(schemas, side))) for side in ("query", "candidate")}
    found = Schemas(**sides)
    return schemas if found == schemas else found

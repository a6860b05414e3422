"""What raw numbers and vectors become."""

from __future__ import annotations

from typing import Any

import numpy as np

from dssm_lightning.features.base import Feature
from dssm_lightning.features.few_values import read_number_values
from dssm_lightning.features.raw_numbers import read_numbers
from dssm_lightning.features.raw_values import plain
from dssm_lightning.features.readings import Reading, ReadValue, ids_of, reading_of, value_text
from dssm_lightning.features.value_columns import raw_column
from dssm_lightning.utils.errors import UserError

_SHOWN = 4
"""Numbers of a vector that are shown."""


def read_number(feature: Feature, value: Any, kind: str | None) -> Reading:
    """Return the number, date or time that a feature of numbers reads; none if it is missing.

    Args:
        feature: the feature.
        value: raw.
        kind: the only kind of numbers that is possible; None = any.

    Raises:
        UserError: as for :meth:`~dssm_lightning.features.base.Feature.encode_values`.
    """
    feature.encode_values([value])
    try:
        (number,) = read_number_values([value], kind)
    except UserError:  # the rules of whole columns accept more
        number = read_numbers(feature, raw_column([value], feature.source_column), kind).values[0]
    return reading_of(feature, "numbers", [ReadValue(_text(value), True)] if number == number else [])


def read_bucket(feature: Feature, value: Any, buckets: int) -> Reading:
    """Return the number that a feature reads with the bucket, of ``buckets``, into which it falls.

    Raises:
        UserError: as for :func:`read_number`.
    """
    (bucket,) = ids_of(feature.encode_values([value]))
    text = f"{_text(value)} (bucket {bucket:,} of {buckets:,})"
    return reading_of(feature, "numbers", [ReadValue(text, True)] if bucket else [])


def read_vector(feature: Feature, value: Any, length: int) -> Reading:
    """Return the first numbers of a vector as one value.

    Raises:
        UserError: as for :func:`read_number`.
    """
    row = np.asarray(feature.encode_values([value]))[0]
    text = ", ".join(f"{number:.4g}" for number in row[:_SHOWN].tolist())
    more = f", … ({length:,} numbers)" if length > _SHOWN else ""
    return reading_of(feature, "numbers", [ReadValue(text + more, True)], kept=length)


def _text(value: Any) -> str:
    return value_text(plain(value)).strip()

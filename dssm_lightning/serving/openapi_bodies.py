"""What the served bundles and the server's limits say of the bodies of requests: names, columns, widths and bounds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dssm_lightning.features import Feature, Image, Vector
from dssm_lightning.features.schema import Schema
from dssm_lightning.retrieval.raw_records import columns_of, needed_columns
from dssm_lightning.serving.openapi_schemas import Json
from dssm_lightning.serving.routes.embeddings import SIDES
from dssm_lightning.serving.served_bundle import ServedBundle
from dssm_lightning.serving.settings import Limits

_TEXT: Json = {"type": "string"}


def describe_bodies(components: Json, bundles: Sequence[ServedBundle], limits: Limits) -> None:
    """Write into the schemas of bodies what the bundles and the limits allow, and add those of queries and candidates.

    Args:
        components: the schemas by their names; they are changed.
        bundles: what is served.
        limits: of the server.
    """
    for side, name in (("query", "Query"), ("candidate", "Candidate")):
        forms = [_record(getattr(bundle.retriever.schemas, side), limits) for bundle in bundles]
        distinct = [form for place, form in enumerate(forms) if form not in forms[:place]]
        components[f"{name}Values"] = distinct[0] if len(distinct) == 1 else {"anyOf": distinct}
    fields = _fields(bundles, limits)
    for kind, schema in components.items():
        properties = schema.get("properties", {})
        for field in properties.keys() & fields.keys() if kind.endswith("Body") else ():
            known = {key: properties[field][key] for key in ("description", "default") if key in properties[field]}
            properties[field] = {**fields[field], **known}
            if known.get("default", "") is None and "anyOf" in fields[field]:
                properties[field]["anyOf"] = [
                    *fields[field]["anyOf"],
                    {"type": "string", "nullable": True, "enum": [None]},
                ]
    score = components["ScoreBody"]["properties"]
    score["query"] = {"allOf": [{"$ref": _reference("Query")}], "description": "One query."}


def _fields(bundles: Sequence[ServedBundle], limits: Limits) -> Json:
    """Return the schemas of fields, by their names in whatever body."""
    names = [bundle.name for bundle in bundles]
    models = [model for name in names for model in (name, *(f"{name}:{side}" for side in SIDES))]
    texts = _one_or_several({**_TEXT, "maxLength": limits.max_text}, limits)
    widths = sorted({bundle.manifest.corpus.width for bundle in bundles})
    return {
        "query": _one_or_several({"$ref": _reference("Query")}, limits),
        "candidate": _one_or_several({"$ref": _reference("Candidate")}, limits),
        "candidates": _one_or_several({"$ref": _reference("Candidate")}, limits),
        "k": {"type": "integer", "nullable": True, "minimum": 1, "maximum": limits.max_k},
        "diversity": {"type": "number", "minimum": 0, "maximum": 1},
        "text": {**_TEXT, "maxLength": limits.max_text},
        "filter": {**_TEXT, "nullable": True, "maxLength": limits.max_text},
        "bundle": {**_TEXT, "nullable": True, "enum": [*names, None]},
        "inputs": texts,
        "input": texts,
        "model": {**_TEXT, "enum": models},
        "encoding_format": {**_TEXT, "enum": ["float", "base64"]},
        "prompt_name": {**_TEXT, "nullable": True, "enum": [*SIDES, None]},
        "truncation_direction": {**_TEXT, "nullable": True, "enum": ["right", "Right", None]},
        "dimensions": {"type": "integer", "nullable": True, "enum": [*widths, None]},
    }


def _reference(name: str) -> str:
    return f"#/components/schemas/{name}Values"


def _one_or_several(schema: Json, limits: Limits) -> Json:
    several = {"type": "array", "items": schema, "minItems": 1, "maxItems": limits.max_batch}
    return {"anyOf": [schema, several]}


# -- queries and candidates --------------------------------------------------------------------------------------------


def _record(schema: Schema, limits: Limits) -> Json:
    """Return the schema of the raw values of one query or candidate."""
    columns, needed = columns_of(schema), needed_columns(schema)
    properties: dict[str, Any] = {}
    for column in columns:
        readers = [feature for feature in schema if feature.source_column == column]
        kinds = ", ".join(dict.fromkeys(type(feature).__name__ for feature in readers))
        properties[column] = {**_value(readers, limits), "description": f"Read as {kinds}."}
        if "type" in properties[column] and column not in needed:
            properties[column]["nullable"] = True
    values: Json = {
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
        "minProperties": 1,
    }
    if needed:
        values["required"] = needed
    return {"anyOf": [{**_TEXT, "maxLength": limits.max_text}, values]} if len(columns) == 1 else values


def _value(readers: Sequence[Feature], limits: Limits) -> Json:
    """Return what can be said of a column's values."""
    if any(isinstance(feature, Image) for feature in readers):
        return {**_TEXT, "format": "byte"}
    for feature in readers:
        if isinstance(feature, Vector):
            size = feature.width
            return {"type": "array", "items": {"type": "number"}, "minItems": size, "maxItems": size}
        if feature.reads_text:
            return {**_TEXT, "maxLength": limits.max_text}
    return {}

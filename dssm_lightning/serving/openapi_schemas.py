"""The schemas of bodies and answers in OpenAPI 3.0, which most tools read."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Sequence
from typing import Any

import msgspec

Json = dict[str, Any]
_REFERENCE = "#/components/schemas/{name}"


def schemas_of(kinds: Sequence[Any]) -> tuple[list[Json], Json]:
    """Return the schema of each type, and the components that these refer to, with the fields' docstrings.

    Example:
        >>> from dssm_lightning.serving.openapi_answers import Error
        >>> (schema,), components = schemas_of([Error])
        >>> schema["$ref"], components["Error"]["properties"]["error_type"]["description"]
        ('#/components/schemas/Error', 'One word for a program.')
    """
    schemas, components = msgspec.json.schema_components(kinds, ref_template=_REFERENCE)
    for kind in _structs(kinds):
        for name, text in _field_docs(kind).items():
            properties = components[kind.__name__]["properties"]
            if name in properties:
                properties[name] = {**properties[name], "description": text}
    return [as_openapi_3_0(schema) for schema in schemas], {
        name: as_openapi_3_0(schema) for name, schema in components.items()
    }


def as_openapi_3_0(schema: Any) -> Any:
    """Return a JSON schema of 2020 in the words of OpenAPI 3.0, which knows neither null types nor constants.

    Example:
        >>> as_openapi_3_0({"anyOf": [{"type": "integer"}, {"type": "null"}], "default": None})
        {'type': 'integer', 'nullable': True, 'default': None}
    """
    if isinstance(schema, list):
        return [as_openapi_3_0(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    changed = {name: each if name == "default" else as_openapi_3_0(each) for name, each in schema.items()}
    if changed.get("required") == []:
        del changed["required"]
    if "const" in changed:
        changed["enum"] = [changed.pop("const")]
    if "anyOf" in changed:
        return _nullable(changed)
    return changed


def _nullable(schema: Json) -> Json:
    """Turn the null type of a union into the word ``nullable`` of its first member."""
    members = [each for each in schema["anyOf"] if each != {"type": "null"}]
    others = {name: each for name, each in schema.items() if name != "anyOf"}
    if len(members) == len(schema["anyOf"]):
        return schema
    first = {"allOf": [members[0]]} if "$ref" in members[0] else members[0]
    first = {**first, "nullable": True}
    return {**first, **others} if len(members) == 1 else {"anyOf": [first, *members[1:]], **others}


def _structs(kinds: Sequence[Any]) -> list[type[msgspec.Struct]]:
    """Return all structs that some types refer to."""
    found: dict[type[msgspec.Struct], None] = {}

    def walk(value: Any) -> None:
        if isinstance(value, msgspec.inspect.StructType):
            if value.cls in found:
                return
            found[value.cls] = None
        if isinstance(value, msgspec.Struct):
            for name in value.__struct_fields__:
                walk(getattr(value, name))
        elif isinstance(value, list | tuple):
            for each in value:
                walk(each)

    walk(msgspec.inspect.multi_type_info(kinds))
    return list(found)


def _field_docs(kind: type[msgspec.Struct]) -> dict[str, str]:
    """Return the strings that stand below the fields of a class."""
    try:
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    except (OSError, TypeError):  # the sources are not installed
        return {}
    assert isinstance(tree, ast.ClassDef)
    found = {}
    for field, below in zip(tree.body, tree.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(below, ast.Expr):
            text = ast.literal_eval(below.value) if isinstance(below.value, ast.Constant) else ""
            found[field.target.id] = " ".join(str(text).split())
    return found

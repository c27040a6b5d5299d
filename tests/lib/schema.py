# SPDX-License-Identifier: LGPL-2.1-or-later
"""A validator for the part of JSON Schema that docs/asockctl.schema.json uses. Strict: what the schema does not name fails."""

import re

TYPES = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool, "null": type(None)}
KNOWN = {"$schema", "$id", "$defs", "$ref", "title", "description", "type", "required", "properties", "items", "enum",
         "anyOf", "pattern"}


def is_type(value, names):
    names = [names] if isinstance(names, str) else names
    return any(isinstance(value, TYPES[name]) and (name == "boolean" or not isinstance(value, bool)) for name in names)


def check(value, schema, root, where="$"):
    """The list of mistakes."""
    assert set(schema) <= KNOWN, f"{where}: {set(schema) - KNOWN}"
    if "$ref" in schema:
        return check(value, root["$defs"][schema["$ref"].removeprefix("#/$defs/")], root, where)
    if "anyOf" in schema:
        found = [check(value, each, root, where) for each in schema["anyOf"]]
        return [] if [] in found else min(found, key=len)
    if "enum" in schema and (value not in schema["enum"] or isinstance(value, bool)):
        return [f"{where}: {value!r} is none of {schema['enum']}"]
    if "type" in schema and not is_type(value, schema["type"]):
        return [f"{where}: {value!r} is no {schema['type']}"]
    if "pattern" in schema and not re.search(schema["pattern"], value):
        return [f"{where}: {value!r} is not {schema['pattern']}"]
    wrong = []
    if isinstance(value, dict):
        wrong += [f"{where}: no {name}" for name in schema.get("required", ()) if name not in value]
        for name, each in value.items():
            if name in schema["properties"]:
                wrong += check(each, schema["properties"][name], root, f"{where}.{name}")
            else:
                wrong.append(f"{where}: {name} is not in the schema")
    if isinstance(value, list):
        for i, each in enumerate(value):
            wrong += check(each, schema["items"], root, f"{where}[{i}]")
    return wrong

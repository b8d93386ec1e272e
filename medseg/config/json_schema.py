"""JSON Schemas by which editors complete and check pipelines and fragments; the loader itself does not use them.

An editor sees one file, not what it includes. So a fragment needs nothing at all, and a pipeline needs its sections
only if it includes nothing.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from medseg.config.fields import fields_of
from medseg.config.schema import PipelineConfig

_INCLUDE = {
    "description": "Fragments below this file, later ones over earlier ones; paths are relative to this file.",
    "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
}


def fragment_schema() -> dict[str, Any]:
    """The JSON Schema (draft 7) of a fragment: every section and key, none required."""
    schema: dict[str, Any] = _tidied(PipelineConfig.model_json_schema(mode="validation"))
    schema["properties"] = {"include": _INCLUDE, **schema["properties"]}
    schema["description"] = "A fragment for the include: of a medseg pipeline."
    return {"$schema": "http://json-schema.org/draft-07/schema#", **schema}


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 7) of a pipeline: as a fragment's, with the required keys unless it includes fragments."""
    schema = fragment_schema()
    schema["description"] = "A medseg pipeline."
    sections = {
        name: {"required": required}
        for name, field in PipelineConfig.model_fields.items()
        if field.is_required() and (required := _required(field.annotation))
    }
    complete = {"required": _required(PipelineConfig), "properties": sections}
    schema["anyOf"] = [{"required": ["include"]}, complete]
    return schema


def write_schemas(folder: Path) -> list[Path]:
    """Write ``pipeline.schema.json`` and ``fragment.schema.json`` into a folder and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, schema in (("pipeline", json_schema()), ("fragment", fragment_schema())):
        path = folder / f"{name}.schema.json"
        path.write_text(json.dumps(schema, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        written.append(path)
    return written


def _required(model: Any) -> list[str]:
    return [name for name, field in fields_of(model).items() if field.is_required()]


def _tidied(schema: Any) -> Any:
    """Drop what a partial file cannot satisfy or an editor does not show, in all of a schema.

    ``oneOf`` becomes ``anyOf``, since a part of an optimizer fits several of them; ``prefixItems`` came after draft 7.
    """
    if isinstance(schema, list):
        return [_tidied(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {}
    for key, value in schema.items():
        if key in ("title", "required") and not isinstance(value, dict):
            continue
        if key == "discriminator" or (key == "default" and isinstance(value, dict)):
            continue
        kept[{"oneOf": "anyOf"}.get(key, key)] = _tidied(value)
    if items := kept.pop("prefixItems", None):
        kept["items"] = items[0]
    return kept

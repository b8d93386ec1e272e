import json
from pathlib import Path

import pytest

from medseg.config.json_schema import fragment_schema, json_schema, write_schemas
from medseg.config.schema import PipelineConfig

ROOT = Path(__file__).parents[2]
SHIPPED = sorted([*ROOT.glob("pipelines/**/*.yaml"), *ROOT.glob("configs/**/*.yaml")])


def test_a_pipeline_needs_its_sections_unless_it_includes_fragments():
    including, complete = json_schema()["anyOf"]
    assert including == {"required": ["include"]}
    assert complete["required"] == ["name", "labels", "data", "network"]
    assert complete["properties"]["data"] == {"required": ["manifest", "patch_size"]}


def test_a_fragment_needs_nothing():
    assert '"required"' not in json.dumps(fragment_schema())


def test_every_section_and_include_are_known_and_nothing_else():
    schema = fragment_schema()
    assert list(schema["properties"]) == ["include", *PipelineConfig.model_fields]
    assert schema["additionalProperties"] is False
    assert schema["$defs"]["Training"]["additionalProperties"] is False
    assert schema["$defs"]["NetworkConfig"]["additionalProperties"] is True


def test_descriptions_come_from_the_docstrings():
    mode = json_schema()["$defs"]["DataSettings"]["properties"]["mode"]
    assert mode["description"].startswith("slice (2D)")
    assert mode["enum"] == ["slice", "slab", "patch"]


def test_shipped_schemas_are_up_to_date(tmp_path):
    for fresh in write_schemas(tmp_path):
        shipped = ROOT / "configs" / fresh.name
        assert shipped.read_text() == fresh.read_text(), f"run `medseg schema` to refresh {shipped}"


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_shipped_yaml_names_its_schema_in_the_first_line(path):
    first = path.read_text().splitlines()[0]
    start, found, target = first.partition("$schema=")
    assert (start, found) == ("# yaml-language-server: ", "$schema=")
    kind = "pipeline" if path.is_relative_to(ROOT / "pipelines") else "fragment"
    assert (path.parent / target).resolve() == ROOT / "configs" / f"{kind}.schema.json"

"""From a pipeline YAML to a typed, frozen configuration: schema, loading, and schemas for editors."""

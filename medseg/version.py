"""The one place that says which medseg this is; pyproject.toml must agree, and a test holds that."""

__version__ = "0.1.0"

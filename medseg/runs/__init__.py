"""The pipeline from a config to a reviewed result."""

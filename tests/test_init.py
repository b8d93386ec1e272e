"""What `import medseg` gives."""

from importlib.metadata import version
from pathlib import Path

import pytest

import medseg
from medseg.errors import CheckpointError


def test_version_is_that_of_the_installed_package() -> None:
    assert medseg.__version__ == version("medseg")


def test_exported_names_exist() -> None:
    assert all(hasattr(medseg, name) for name in medseg.__all__)


def test_load_segmenter_is_that_of_inference(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"expected a model folder with model\.json"):
        medseg.load_segmenter(tmp_path, "cpu")

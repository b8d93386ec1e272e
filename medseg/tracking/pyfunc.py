"""A medseg model folder as an MLflow pyfunc: a script that MLflow copies beside the weights and executes on loading.

Nothing is pickled ("models from code"): the copy of this file needs an installed medseg, and the weights are
safetensors. medseg itself never imports this module.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow
import pandas as pd

if TYPE_CHECKING:
    from medseg.inference.segmenter import Segmenter

MODEL_ARTIFACT = "model"  # key of the model folder among the artifacts; model.py writes it


class SegmentationModel(mlflow.pyfunc.PythonModel):  # type: ignore[misc]  # mlflow is not followed by mypy
    """Segments NIfTI files with the recorded weights."""

    _segmenter: Segmenter | None = None

    # The hint is MLflow's word for "do not convert the input"; anything named in the docstring arrives as it was given.
    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> list[str]:
        """Segment each image and write its label map.

        Args:
            context: MLflow's; gives the model folder.
            model_input: a path; a list or array of paths; a mapping, a list of mappings or a DataFrame with the column
                `image` and, optionally, `output`: where to write the segmentation (empty: a new temporary folder, under
                the image's name).
            params: not used.

        Returns:
            Paths of the segmentations, one an image, in order. No image gives an empty list.

        Raises:
            ValueError: an input without `image`.
        """
        segmenter = self._load(Path(context.artifacts[MODEL_ARTIFACT]))
        return [str(segmenter.segment_file(image, output)) for image, output in _jobs(model_input)]

    def _load(self, model_dir: Path) -> Segmenter:
        """Load on first use, so that looking at a recorded model costs neither torch nor memory."""
        if self._segmenter is None:
            import medseg  # the front door: this script lies in model stores that outlive the modules' names

            self._segmenter = medseg.load_segmenter(model_dir)
        return self._segmenter


def _jobs(model_input: Any) -> list[tuple[Path, Path]]:
    if isinstance(model_input, pd.DataFrame):
        rows: list[Any] = model_input.to_dict("records")
    elif isinstance(model_input, str | Path | Mapping):
        rows = [model_input]
    else:
        rows = list(model_input)
    return [_job(row if isinstance(row, Mapping) else {"image": row}) for row in rows]


def _job(row: Mapping[Any, Any]) -> tuple[Path, Path]:
    if "image" not in row:
        raise ValueError(f"expected a column 'image' with the path of a NIfTI file, found {sorted(map(str, row))}")
    image = Path(str(row["image"]))
    output = row.get("output")
    if isinstance(output, str | Path) and str(output):  # pandas fills gaps with NaN
        return image, Path(output)
    stem = image.name.removesuffix(".gz").removesuffix(".nii")
    return image, Path(tempfile.mkdtemp(prefix="medseg_")) / f"{stem}.nii.gz"


mlflow.models.set_model(SegmentationModel())

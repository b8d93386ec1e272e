from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medseg.tracking.pyfunc import _jobs

A, B = Path("/data/a.nii.gz"), Path("/data/b.nii.gz")
OUT = Path("/out/a.nii.gz")


@pytest.mark.parametrize(
    "model_input",
    [
        "/data/a.nii.gz",
        A,
        ["/data/a.nii.gz"],
        np.array(["/data/a.nii.gz"]),
        {"image": "/data/a.nii.gz"},
        [{"image": "/data/a.nii.gz", "output": ""}],
        pd.DataFrame({"image": ["/data/a.nii.gz"]}),
        pd.DataFrame({"image": ["/data/a.nii.gz"], "output": [float("nan")]}),
    ],
)
def test_every_form_of_input_names_the_image_and_gets_a_new_output_folder(model_input, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    ((image, output),) = _jobs(model_input)
    assert image == A
    assert output.name == "a.nii.gz"
    assert output.parent.parent == tmp_path


def test_given_outputs_are_kept_in_order() -> None:
    frame = pd.DataFrame({"image": [str(A), str(B)], "output": [str(OUT), "/out/b.nii.gz"]})
    assert _jobs(frame) == [(A, OUT), (B, Path("/out/b.nii.gz"))]


def test_images_of_the_same_name_do_not_overwrite_each_other(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (_, first), (_, second) = _jobs(["/x/ct.nii.gz", "/y/ct.nii.gz"])
    assert first != second


def test_no_image_is_no_job() -> None:
    assert _jobs([]) == []
    assert _jobs(pd.DataFrame({"image": []})) == []


def test_table_without_an_image_column_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"column 'image'.*found \['path'\]"):
        _jobs(pd.DataFrame({"path": ["a"]}))

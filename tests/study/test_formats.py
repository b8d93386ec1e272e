import pytest

from medseg.study.formats import is_dicom_name, is_volume_file, stem


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".NII.GZ", ".nrrd", ".nhdr", ".mha", ".mhd"])
def test_volumes_are_known_by_their_suffix(suffix):
    assert is_volume_file(f"liver_0{suffix}")
    assert stem(f"liver_0{suffix}") == "liver_0"


@pytest.mark.parametrize("name", ["liver.csv", "nii", "liver.gz", "liver.nii.gz.part", "7.dcm", "IM0001"])
def test_other_names_stay_as_they_are(name):
    assert not is_volume_file(name)
    assert stem(name) == name


def test_dicom_files_may_say_so():
    assert all(map(is_dicom_name, ("7.dcm", "7.DCM", "7.dicom", "7.IMA")))
    assert not any(map(is_dicom_name, ("IM0001", "1.2.840.10008", "7.nii.gz", "dcm")))

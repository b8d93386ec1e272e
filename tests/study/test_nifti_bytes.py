"""Bytes in, bytes out: damage is seen, layouts are understood, failed writing leaves nothing."""

import gzip
import os
import resource
from pathlib import Path

import nibabel
import numpy as np
import pytest
from isal import igzip

from medseg.errors import StudyError
from medseg.study.nifti_bytes import read_header, read_stored, write_stored

VOXELS = np.arange(24, dtype=np.int16).reshape(2, 3, 4)


def save(path, array=VOXELS, kind=nibabel.Nifti1Image, **fields):
    image = kind(array, np.diag([2.0, 3.0, 4.0, 1.0]))
    for name, value in fields.items():
        image.header[name] = value
    nibabel.save(image, path)
    return path


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "A.NII.GZ"])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("dtype", ["u1", "<i2", ">i2", "<f4", ">f8", "<i4", ">u8"])
def test_stored_voxels_are_read_in_native_order(tmp_path, name, kind, dtype):
    header = kind.header_class(endianness="<" if dtype[0] != ">" else ">")
    header.set_data_dtype(dtype)
    image = kind(VOXELS.astype(dtype), np.eye(4), header)
    image.to_filename(tmp_path / name)
    _, voxels = read_stored(tmp_path / name, "x")
    assert voxels.dtype == np.dtype(dtype).newbyteorder("=")
    assert voxels.flags.f_contiguous
    assert voxels.flags.writeable
    np.testing.assert_array_equal(voxels, VOXELS)


def test_gzip_is_seen_from_the_bytes_not_the_name(tmp_path):
    save(tmp_path / "a.nii.gz").rename(tmp_path / "a.nii")
    np.testing.assert_array_equal(read_stored(tmp_path / "a.nii", "x")[1], VOXELS)


def test_several_gzip_members_are_one_file(tmp_path):
    whole = save(tmp_path / "a.nii").read_bytes()
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(whole[:370]) + gzip.compress(whole[370:]))
    np.testing.assert_array_equal(read_stored(tmp_path / "b.nii.gz", "x")[1], VOXELS)


def test_header_extensions_are_skipped(tmp_path):
    image = nibabel.Nifti1Image(VOXELS, np.eye(4))
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"name of a patient" * 9))
    nibabel.save(image, tmp_path / "a.nii.gz")
    header, voxels = read_stored(tmp_path / "a.nii.gz", "x")
    np.testing.assert_array_equal(voxels, VOXELS)
    assert not header.extensions


def test_scale_factors_stay_in_the_header(tmp_path):
    save(tmp_path / "a.nii", scl_slope=1)
    raw = bytearray((tmp_path / "a.nii").read_bytes())
    raw[112:120] = np.array([2.5, -3.0], "<f4").tobytes()
    (tmp_path / "a.nii").write_bytes(raw)
    assert read_header(tmp_path / "a.nii", "x").get_slope_inter() == (2.5, -3.0)


def spoil(path, how):
    whole = path.read_bytes()
    if how == "cut":
        path.write_bytes(whole[: len(whole) * 2 // 3])
    elif how == "cut in the checksum":
        path.write_bytes(whole[:-3])
    elif how == "bit":
        path.write_bytes(whole[:-6] + bytes([whole[-6] ^ 1]) + whole[-5:])
    elif how == "noise":
        path.write_bytes(whole[:40] + bytes(b ^ 0x5A for b in whole[40:]))


@pytest.mark.parametrize("how", ["cut", "cut in the checksum", "bit", "noise"])
def test_damaged_gzip_is_one_clear_line(tmp_path, how):
    path = save(tmp_path / "a.nii.gz", np.random.default_rng(0).integers(-1000, 1000, (20, 20, 20)).astype(np.int16))
    spoil(path, how)
    with pytest.raises(StudyError, match=r"^study s: the file is damaged or cut short \(.*\); copy it again$"):
        read_stored(path, "study s")


def test_plain_file_cut_short_is_refused(tmp_path):
    path = save(tmp_path / "a.nii")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(StudyError, match="damaged or cut short"):
        read_stored(path, "x")


def test_header_that_promises_more_than_a_file_can_hold_is_refused_without_the_memory(tmp_path):
    path = save(tmp_path / "a.nii.gz")
    raw = bytearray(gzip.decompress(path.read_bytes()))
    raw[42:48] = np.array([30000] * 3, "<i2").tobytes()
    path.write_bytes(gzip.compress(bytes(raw)))
    with pytest.raises(StudyError, match="promises 54000000000000 bytes"):
        read_stored(path, "x")


def claim(path, shape, dtype_code, content):
    """A gzip whose header claims a shape and a type of voxels, and holds ``content`` in their place."""
    raw = bytearray(save(path.with_suffix("")).read_bytes()[:352])
    raw[42:48] = np.array(shape, "<i2").tobytes()
    raw[70:72] = np.array([dtype_code], "<i2").tobytes()
    path.write_bytes(gzip.compress(bytes(raw)) + content)
    return path


ZEROS = gzip.compress(bytes(1 << 24))


def test_image_of_nothing_but_zeros_is_refused_when_it_is_large_and_labels_are_not(tmp_path):
    path = claim(tmp_path / "a.nii.gz", (512, 512, 288), 16, ZEROS * 18)
    with pytest.raises(StudyError, match=r"x: expected a CT, found \d+ bytes that inflate to 301989888"):
        read_stored(path, "x", image=True)
    assert read_stored(path, "x")[1].shape == (512, 512, 288)


def test_more_voxels_than_any_ct_has_are_refused(tmp_path):
    path = tmp_path / "a.nii"
    path.write_bytes(gzip.decompress(claim(tmp_path / "b.nii.gz", (2048, 2048, 1025), 2, b"").read_bytes()))
    with path.open("r+b") as file:
        file.truncate(352 + 2048 * 2048 * 1025)  # no byte of it on the disk
    with pytest.raises(StudyError, match="x: expected at most 4294967296 voxels, found 4299161600"):
        read_stored(path, "x")


def test_more_than_the_memory_holds_is_refused(tmp_path, monkeypatch):
    def full(*_):
        raise MemoryError("Unable to allocate 9 GiB")

    path = save(tmp_path / "a.nii")
    monkeypatch.setattr("medseg.study.nifti_bytes.np.empty", full)
    with pytest.raises(StudyError, match=r"x: its voxels do not fit into the memory of this machine \(Unable"):
        read_stored(path, "x")


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize(("more", "refused"), [(b"\0" * 40, False), (b"\0" * 39 + b"x", True), (b"\0" * 4096, True)])
def test_what_follows_the_voxels_is_padding_or_refused(tmp_path, name, more, refused):
    whole = save(tmp_path / "in.nii").read_bytes() + more
    (tmp_path / name).write_bytes(gzip.compress(whole) if name.endswith("gz") else whole)
    if refused:
        with pytest.raises(StudyError, match=r"x: the file goes on behind the last voxel .* \(\d+ bytes or more\)"):
            read_stored(tmp_path / name, "x")
    else:
        np.testing.assert_array_equal(read_stored(tmp_path / name, "x")[1], VOXELS)


def test_stream_without_an_end_is_not_read_to_it(tmp_path, monkeypatch):
    path = tmp_path / "a.nii.gz"
    path.write_bytes(gzip.compress(save(tmp_path / "in.nii").read_bytes()) + ZEROS * 4)
    read = []
    whole = igzip.IGzipFile.read
    monkeypatch.setattr(igzip.IGzipFile, "read", lambda self, size=-1: read.append(size) or whole(self, size))
    with pytest.raises(StudyError, match="goes on behind the last voxel"):
        read_stored(path, "x")
    assert max(read) == 4096


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"hello", "not a NIfTI"),
        (b"\x00" * 600, "not a NIfTI"),
        (gzip.compress(b"x" * 600), "not a NIfTI"),
    ],
    ids=[
        "nothing",
        "a word",
        "zeros",
        "a gzip of something else",
    ],  # a gzip holds the time: no two workers name it alike
)
def test_something_else_is_refused(tmp_path, content, message):
    (tmp_path / "a.nii.gz").write_bytes(content)
    with pytest.raises(StudyError, match=message):
        read_header(tmp_path / "a.nii.gz", "x")


def test_missing_file_and_folder_are_refused(tmp_path):
    with pytest.raises(StudyError, match="x: no such file"):
        read_header(tmp_path / "none.nii", "x")
    with pytest.raises(StudyError, match="found a folder"):
        read_header(tmp_path, "x")


def test_links_that_lead_nowhere_and_pipes_are_refused(tmp_path):
    (tmp_path / "a.nii").symlink_to("b.nii")
    with pytest.raises(StudyError, match="x: expected a file, found a link that leads nowhere"):
        read_header(tmp_path / "a.nii", "x")
    (tmp_path / "b.nii").symlink_to("a.nii")
    with pytest.raises(StudyError, match="x: expected a file, found a link that leads nowhere"):
        read_header(tmp_path / "a.nii", "x")
    os.mkfifo(tmp_path / "c.nii")
    with pytest.raises(StudyError, match="x: expected a file, found a pipe or a device"):
        read_header(tmp_path / "c.nii", "x")


def test_pair_of_files_is_refused(tmp_path):
    nibabel.save(nibabel.Nifti1Pair(VOXELS, np.eye(4)), tmp_path / "a.img")
    with pytest.raises(StudyError, match="two files"):
        read_header(tmp_path / "a.hdr", "x")


def test_unknown_datatype_is_refused(tmp_path):
    path = save(tmp_path / "a.nii")
    raw = bytearray(path.read_bytes())
    raw[70:72] = np.array([77], "<i2").tobytes()
    path.write_bytes(raw)
    with pytest.raises(StudyError, match="broken NIfTI header"):
        read_stored(path, "x")


def test_colour_and_complex_voxels_are_refused(tmp_path):
    rgb = np.zeros((2, 3, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    with pytest.raises(StudyError, match="colour"):
        read_stored(save(tmp_path / "rgb.nii", rgb), "x")
    with pytest.raises(StudyError, match="complex"):
        read_stored(save(tmp_path / "complex.nii", VOXELS.astype(np.complex64)), "x")


@pytest.mark.parametrize(
    ("shape", "squeezed"),
    [((2, 3, 4, 1), (2, 3, 4)), ((2, 3, 4, 1, 1), (2, 3, 4)), ((2, 3), (2, 3, 1)), ((2, 1, 4), (2, 1, 4))],
)
def test_trailing_axes_of_one_voxel_are_dropped(tmp_path, shape, squeezed):
    path = save(tmp_path / "a.nii", np.zeros(shape, np.int16))
    assert read_stored(path, "x")[1].shape == squeezed


def test_two_volumes_are_refused(tmp_path):
    with pytest.raises(StudyError, match=r"one 3D volume, found shape \(2, 3, 4, 2\)"):
        read_stored(save(tmp_path / "a.nii", np.zeros((2, 3, 4, 2), np.int16)), "x")


def test_equal_input_gives_equal_bytes(tmp_path):
    header, voxels = read_stored(save(tmp_path / "in.nii"), "x")
    for name in ("a.nii.gz", "b.nii.gz"):
        write_stored(tmp_path / name, header, voxels)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("comment", ["x", "y" * 8, "z" * 9, "{}" * 500])
def test_a_comment_is_one_extension_of_a_multiple_of_16_bytes(tmp_path, kind, comment):
    header, voxels = read_stored(save(tmp_path / "in.nii", kind=kind), "x")
    write_stored(tmp_path / "out.nii", header, voxels, comment)
    (extension,) = nibabel.load(tmp_path / "out.nii").header.extensions
    assert extension.get_code() == 6
    assert extension.get_sizeondisk() % 16 == 0
    assert bytes(extension.content).decode().rstrip(" ") == comment
    assert int(header["vox_offset"]) == header.single_vox_offset  # the header that was handed in is not touched
    np.testing.assert_array_equal(np.asarray(nibabel.load(tmp_path / "out.nii").dataobj), VOXELS)
    np.testing.assert_array_equal(read_stored(tmp_path / "out.nii", "x")[1], VOXELS)


def test_full_disk_leaves_the_old_file_and_nothing_else(tmp_path):
    header, voxels = read_stored(save(tmp_path / "in.nii", np.zeros((50, 50, 50), np.int16)), "x")
    target = tmp_path / "out" / "a.nii"
    target.parent.mkdir()
    target.write_text("old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(StudyError, match=r"a\.nii: could not be written \(File too large\)"):
            write_stored(target, header, voxels)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert target.read_text() == "old"
    assert list(target.parent.iterdir()) == [target]


def test_other_suffix_is_refused(tmp_path):
    header, voxels = read_stored(save(tmp_path / "in.nii"), "x")
    with pytest.raises(StudyError, match=r"ends in \.nii or \.nii\.gz"):
        write_stored(Path(tmp_path / "a.nrrd"), header, voxels)

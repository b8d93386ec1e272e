"""Manifests: what is refused and how it is said; folds by subject; the shipped lists."""

import hashlib
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medseg.errors import ManifestError
from medseg.study.manifest import assign_folds, digest, read_manifest, split, write_manifest
from medseg.types import Study, StudyInput
from tests.study.dicom_files import write_series
from tests.study.seg_files import write_seg

HEADER = "study_id,subject_id,fold,image,label\n"
SHIPPED = Path(__file__).parents[2] / "data_manifests"


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    for name in ("a", "b", "c"):
        (folder / f"{name}.nii.gz").touch()
        (folder / f"{name}_label.nii.gz").touch()
    return folder


def manifest(root, *rows, header=HEADER):
    path = root.parent / "m.csv"
    path.write_text(header + "".join(f"{row}\n" for row in rows), encoding="utf-8")
    return path


def refusal(root, *rows, **options):
    with pytest.raises(ManifestError) as error:
        read_manifest(manifest(root, *rows, **options), root)
    return str(error.value)


def study(name, fold="", subject=None, label=True):
    return Study(name, subject or name, fold, Path(f"/d/{name}.nii"), Path(f"/d/{name}_l.nii") if label else None)


def test_rows_become_studies_with_absolute_paths(root):
    (root / "sub").mkdir()
    path = manifest(
        root, "a,p1,0,a.nii.gz,a_label.nii.gz", "", "b,,test,b.nii.gz,", "c, c ,01,sub/../c.nii.gz,c_label.nii.gz"
    )
    assert read_manifest(path, root) == [
        Study("a", "p1", "0", root / "a.nii.gz", root / "a_label.nii.gz"),
        Study("b", "b", "test", root / "b.nii.gz", None),
        Study("c", "c", "1", root / "sub/../c.nii.gz", root / "c_label.nii.gz"),
    ]


def test_label_map_column_is_optional(root):
    header = "label_map,study_id,subject_id,fold,image,label\n"
    path = manifest(root, "totalsegmentator,a,,0,a.nii.gz,", header=header)
    assert read_manifest(path, root)[0].label_map == "totalsegmentator"


def test_spreadsheet_byte_order_mark_and_line_ends_are_accepted(root):
    path = root.parent / "m.csv"
    path.write_bytes(b"\xef\xbb\xbf" + HEADER.replace("\n", "\r\n").encode() + b"a,,0,a.nii.gz,\r\n")
    assert read_manifest(path, root)[0].study_id == "a"


def test_every_mistake_is_reported_at_once_with_file_and_line(root):
    text = refusal(
        root,
        "a,p1,0,a.nii.gz,a_label.nii.gz",
        "a,p2,0,b.nii.gz,",
        "d/e,p3,one,missing.nii.gz,",
        "f,p1,1,c.nii.gz,../m.csv",
        "g,p4,0,./a.nii.gz,",
        ",p5,-1,/etc/passwd,",
        "h,p6,0,,",
    )
    path = root.parent / "m.csv"
    assert text.splitlines() == [
        f"{path}:3: study_id: 'a' stands in line 2 already",
        f"{path}:4: fold: expected a whole number from 0, 'test' or nothing, found 'one'",
        f"{path}:4: image: no such file 'missing.nii.gz' under {root}",
        f"{path}:4: study_id: expected letters, digits, '.', '_' and '-', not starting with '.', found 'd/e'",
        f"{path}:5: label: '../m.csv' leaves the root {root}",
        f"{path}:5: subject 'p1' is in fold 0 in line 2 and in fold 1 here; a subject belongs to one fold",
        f"{path}:6: image: './a.nii.gz' stands in line 2 already",
        f"{path}:7: fold: expected a whole number from 0, 'test' or nothing, found '-1'",
        f"{path}:7: image: expected a path relative to the root, found '/etc/passwd'",
        f"{path}:7: study_id: expected letters, digits, '.', '_' and '-', not starting with '.', found ''",
        f"{path}:8: image: expected a path relative to the root, found nothing",
    ]


@pytest.mark.parametrize("bad", [".hidden", "..", "a b", "a\u00e4", "a/b", "a:b", "$(rm)"])
def test_study_id_unfit_for_a_file_name_is_refused(root, bad):
    assert "study_id: expected letters" in refusal(root, f"{bad},,0,a.nii.gz,")


def test_links_in_a_circle_are_left_to_the_study(root):
    (root / "there.nii.gz").symlink_to("back.nii.gz")
    (root / "back.nii.gz").symlink_to("there.nii.gz")
    assert "no such file 'there.nii.gz'" in refusal(root, "x,,0,there.nii.gz,")
    (found,) = read_manifest(manifest(root, "x,,0,there.nii.gz,"), root, check_files=False)
    assert found.image == root / "there.nii.gz"


def test_link_that_leaves_the_root_is_refused_and_one_that_stays_is_not(root):
    (root.parent / "secret.nii.gz").touch()
    (root / "out.nii.gz").symlink_to(root.parent / "secret.nii.gz")
    (root / "in.nii.gz").symlink_to(root / "a.nii.gz")
    assert "'out.nii.gz' leaves the root" in refusal(root, "x,,0,out.nii.gz,")
    assert read_manifest(manifest(root, "x,,0,in.nii.gz,"), root)[0].image == root / "in.nii.gz"


def test_paths_outside_are_refused_even_when_files_are_not_looked_for(root):
    with pytest.raises(ManifestError, match="leaves the root"):
        read_manifest(manifest(root, "x,,0,../x.nii.gz,"), root, check_files=False)


def test_missing_files_are_accepted_when_not_looked_for(root):
    assert len(read_manifest(manifest(root, "x,,0,x.nii.gz,y.nii.gz"), root / "nowhere", check_files=False)) == 1


def test_missing_root_is_one_error(root):
    with pytest.raises(ManifestError, match=r"found no such folder; set data\.root"):
        read_manifest(manifest(root, "a,,0,a.nii.gz,", "b,,0,b.nii.gz,"), root / "nowhere")


def test_subject_in_a_fold_and_in_the_test_set_is_refused(root):
    assert "fold 0 in line 2 and in fold test" in refusal(root, "a,p,0,a.nii.gz,", "b,p,test,b.nii.gz,")


def test_image_that_is_its_own_label_is_refused(root):
    assert "the same file" in refusal(root, "a,p,0,a.nii.gz,a.nii.gz")


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("study_id,subject_id,fold,image\n", "missing column label"),
        ("study_id,subject,fold,image,label\n", r"unknown column 'subject'; did you mean 'subject_id'?"),
        ("study_id,subject_id,fold,image,label,image\n", "column image twice"),
        ("study_id;subject_id;fold;image;label\n", "separated by commas"),
        ("", "missing column study_id"),
    ],
)
def test_wrong_columns_are_refused(root, header, message):
    assert message in refusal(root, header=header)


def test_manifest_without_rows_is_refused(root):
    assert "found none" in refusal(root, "", "  ")


def test_row_of_another_length_is_refused(root):
    assert ":3: expected 5 cells, found 4" in refusal(root, "a,,0,a.nii.gz,", "b,,0,b.nii.gz")


def test_file_that_is_no_text_and_missing_file_are_refused(root):
    (root / "x.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ManifestError, match="CSV in UTF-8"):
        read_manifest(root / "x.csv", root)
    with pytest.raises(ManifestError, match="no such manifest"):
        read_manifest(root / "none.csv", root)


def test_long_lists_of_mistakes_are_cut(root):
    assert refusal(root, *(f"s{n},,0,s{n}.nii.gz," for n in range(60))).endswith("... and 10 more")


@pytest.mark.parametrize("label_map", ["", "organs"])
def test_written_manifest_reads_back_and_its_digest_is_that_of_the_file(root, label_map):
    path = manifest(root, "a,p1,0,a.nii.gz,a_label.nii.gz", "b,b,test,b.nii.gz,")
    studies = [replace(s, label_map=label_map) for s in read_manifest(path, root)]
    write_manifest(root / "out" / "m.csv", studies, root)
    written = root / "out" / "m.csv"
    assert read_manifest(written, root) == studies
    assert digest(studies, root) == hashlib.sha256(written.read_bytes()).hexdigest()
    assert digest([replace(studies[0], fold="1"), studies[1]], root) != digest(studies, root)
    assert ("label_map" in written.read_text()) == bool(label_map)


def test_study_outside_the_root_cannot_be_written(root):
    with pytest.raises(ManifestError, match="expected a file under the root"):
        write_manifest(root / "m.csv", [study("x")], root)
    assert not (root / "m.csv").exists()


def test_folds_are_nearly_equal_and_every_study_has_one():
    studies = assign_folds([study(f"s{n}") for n in range(13)])
    assert Counter(s.fold for s in studies) == {"0": 3, "1": 3, "2": 3, "3": 2, "4": 2}
    assert [s.study_id for s in studies] == [f"s{n}" for n in range(13)]


def test_folds_do_not_depend_on_the_order_of_rows_but_on_the_seed():
    studies = [study(f"s{n}") for n in range(20)]
    folds = {s.study_id: s.fold for s in assign_folds(studies)}
    assert {s.study_id: s.fold for s in assign_folds(studies[::-1])} == folds
    assert {s.study_id: s.fold for s in assign_folds(studies, seed=1)} != folds


def test_studies_of_one_subject_share_a_fold():
    studies = assign_folds([study(f"s{n}", subject=f"p{n % 7}") for n in range(21)], num_folds=3)
    assert all(len({s.fold for s in studies if s.subject_id == f"p{n}"}) == 1 for n in range(7))


def test_given_folds_stay_and_their_subjects_follow():
    given = [study("a", "4", "p"), study("b", "", "p"), study("t", "test"), *(study(f"s{n}") for n in range(5))]
    folds = [s.fold for s in assign_folds(given)]
    assert folds[:3] == ["4", "4", "test"]
    assert sorted(folds[3:]) == ["0", "1", "2", "3", "4"]


def test_nothing_to_assign_changes_nothing():
    assert assign_folds([study("a", "3")]) == [study("a", "3")]
    assert assign_folds([]) == []


def test_fewer_subjects_than_folds_is_refused():
    with pytest.raises(ManifestError, match="at least 5 subjects for 5 folds, found 2"):
        assign_folds([study("a"), study("b")])
    with pytest.raises(ManifestError, match="at least 2 folds"):
        assign_folds([study("a")], num_folds=1)


FIVE = [study("a", "0"), study("b", "1"), study("c", "1"), study("d", "2"), study("t", "test", label=False)]


def names(studies):
    return [s.study_id for s in studies]


def test_split_by_fold():
    splits = split(FIVE, 1)
    assert (names(splits.train), names(splits.validation), names(splits.test)) == (["a", "d"], ["b", "c"], ["t"])


def test_split_all_trains_on_every_fold_and_on_studies_without_one():
    splits = split([*FIVE, study("e")], "all")
    assert (names(splits.train), names(splits.validation), names(splits.test)) == (["a", "b", "c", "d", "e"], [], ["t"])


def test_split_refuses_what_cannot_train():
    with pytest.raises(ManifestError, match=r"one of the folds \[0, 1, 2\], or all, found 7"):
        split(FIVE, 7)
    with pytest.raises(ManifestError, match="no study is left to train on"):
        split([study("a", "0"), study("t", "test")], 0)
    with pytest.raises(ManifestError, match=r"1 studies \(x\) have no fold"):
        split([*FIVE, study("x")], 0)
    with pytest.raises(ManifestError, match=r"1 studies \(y\) train or validate and have no label"):
        split([*FIVE, study("y", "2", label=False)], 0)


def fold_of(studies, fold):
    return sorted(s.study_id for s in studies if s.fold == fold)


# First names of each fold as scikit-learn 1.8's KFold(5, shuffle=True, random_state=12345) gives them.
PUBLISHED = {
    "0": ["101", "11", "112", "115", "12", "120"],
    "1": ["10", "103", "105", "106", "116", "123"],
    "2": ["0", "113", "114", "117", "118", "121"],
    "3": ["100", "102", "109", "111", "122", "126"],
    "4": ["1", "104", "107", "108", "110", "119"],
}


@pytest.mark.parametrize(
    ("name", "prefix", "image", "label", "test_id", "test_image", "first_test"),
    [
        ("lits", "volume-", "{}.nii", "segmentation-{}.nii", "test-volume-{}", "test-volume-{}.nii", 0),
        (
            "msd_task03_liver",
            "liver_",
            "imagesTr/{}.nii.gz",
            "labelsTr/liver_{}.nii.gz",
            "liver_{}",
            "imagesTs/liver_{}.nii.gz",
            131,
        ),
    ],
)
def test_shipped_liver_manifests_are_the_published_files_and_folds(
    tmp_path, name, prefix, image, label, test_id, test_image, first_test
):
    studies = read_manifest(SHIPPED / f"{name}.csv", tmp_path, check_files=False)
    ids = [f"{prefix}{n}" for n in range(131)]
    made = [Study(i, i, "", tmp_path / image.format(i), tmp_path / label.format(n)) for n, i in enumerate(ids)]
    tests = range(first_test, first_test + 70)
    made += [Study(test_id.format(n), test_id.format(n), "test", tmp_path / test_image.format(n)) for n in tests]
    assert studies == assign_folds(made)
    assert Counter(s.fold for s in studies) == {"0": 27, "1": 26, "2": 26, "3": 26, "4": 26, "test": 70}
    for fold, first in PUBLISHED.items():
        assert fold_of(studies, fold)[:6] == [prefix + number for number in first]
    assert len(split(studies, 0).train) == 104


def test_shipped_sarcoma_manifest_names_the_files_at_hand(shared_data):
    studies = read_manifest(SHIPPED / "sarcoma.csv", shared_data / "sarcoma")
    assert len(studies) == 24
    assert studies == assign_folds([replace(s, fold="") for s in studies])
    assert fold_of(studies, "0") == ["sts_022", "sts_025", "sts_029", "sts_040", "sts_043"]


def test_shipped_liver_ct_manifest_names_the_files_at_hand(shared_data):
    studies = read_manifest(SHIPPED / "liver_ct.csv", shared_data)
    assert [(s.study_id, s.fold, s.label_map) for s in studies] == [
        ("ircad17", "0", ""),
        ("organs_3mm", "1", "totalsegmentator"),
    ]


class TestDicom:
    """Images and labels that are folders."""

    def test_a_series_of_a_folder_is_named_behind_a_hash(self, root):
        write_series(root / "ct", 2)
        seg = write_seg(root / "seg" / "1.dcm", [(1, (0, 0, 0), np.ones((2, 2)))], {1: "a"})
        rows = ["a,,0,ct#4,seg", "b,,0,ct#1.2.840.1,ct", "c,,0,ct,seg/1.dcm"]
        studies = read_manifest(manifest(root, *rows), root)
        assert [(s.image, s.series, s.label) for s in studies] == [
            (root / "ct", "4", root / "seg"),
            (root / "ct", "1.2.840.1", root / "ct"),
            (root / "ct", "", seg),
        ]
        assert studies[0].input == StudyInput("a", root / "ct", "4")
        write_manifest(root / "n.csv", studies, root)
        assert "a,a,0,ct#4,seg" in (root / "n.csv").read_text()
        assert read_manifest(root / "n.csv", root) == studies
        before = read_manifest(root / "n.csv", root / "nowhere", check_files=False)
        assert digest(before, root / "nowhere") == digest(studies, root)
        assert digest([replace(studies[0], series="5")], root) != digest(studies[:1], root)

    def test_one_row_names_one_series(self, root):
        write_series(root / "ct", 2)
        assert "image: 'ct#4' stands in line 2 already" in refusal(root, "a,,0,ct#4,", "b,,0,ct#4,")

    def test_series_stay_below_the_root(self, root):
        write_series(root.parent / "ct", 2)
        assert "image: '../ct' leaves the root" in refusal(root, "a,,0,../ct#4,")
        assert "image: expected a path relative to the root, found '/ct'" in refusal(root, "a,,0,/ct#4,")

    def test_only_folders_hold_series(self, root):
        assert "'a.nii.gz#4' names the series 4 of a folder, and 'a.nii.gz' is a file" in refusal(
            root, "a,,0,a.nii.gz#4,"
        )
        assert "no such file 'ct' under" in refusal(root, "a,,0,ct#4,")

    def test_a_hash_may_be_part_of_a_name(self, root):
        write_series(root / "ct#4", 2)
        (root / "b#1.nii").touch()
        (root / "c#x.nii").touch()
        studies = read_manifest(manifest(root, "a,,0,ct#4,", "b,,0,b#1.nii,", "c,,0,c#x.nii,"), root)
        assert [(s.image.name, s.series) for s in studies] == [("ct#4", ""), ("b#1.nii", ""), ("c#x.nii", "")]
        write_manifest(root / "n.csv", studies, root)
        assert read_manifest(root / "n.csv", root) == studies

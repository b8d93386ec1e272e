"""The family of errors: one base for the command line, the right builtin for everybody else."""

import pytest

from medseg import errors
from medseg.errors import MedsegError

BUILTINS = {
    "ConfigError": ValueError,
    "ManifestError": ValueError,
    "StudyError": ValueError,
    "GeometryError": ValueError,
    "LabelError": ValueError,
    "CheckpointError": RuntimeError,
    "TrackingError": RuntimeError,
}


@pytest.mark.parametrize(("name", "builtin"), BUILTINS.items())
def test_error_is_a_medseg_error_and_the_right_builtin(name: str, builtin: type[Exception]) -> None:
    error = getattr(errors, name)
    assert issubclass(error, MedsegError)
    assert issubclass(error, builtin)


def test_one_broken_study_is_caught_by_one_name() -> None:
    assert issubclass(errors.GeometryError, errors.StudyError)
    assert issubclass(errors.LabelError, errors.StudyError)


def test_no_error_is_missing_above() -> None:
    family = {n for n, e in vars(errors).items() if isinstance(e, type) and issubclass(e, MedsegError)}
    assert family == {*BUILTINS, "MedsegError"}


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (errors.StudyError("study a: cut\nshort"), "cut short"),
        (errors.GeometryError("a: other grid"), "other grid"),
        (errors.StudyError("study ab: x"), "study ab: x"),
        (OSError("no space"), "OSError: no space"),
        (MemoryError(), "MemoryError"),
        (errors.StudyError("a\x1b[2J\x00b\u2028c"), "a [2J b c"),
        (errors.StudyError("x" * 600), "x" * 496 + " ..."),
    ],
)
def test_reason_is_one_line_without_the_study_s_id_in_front(error: Exception, expected: str) -> None:
    assert errors.reason("a", error) == expected

"""The errors that medseg raises for the user to read.

    MedsegError
      ConfigError      (ValueError)    a pipeline YAML or an override
      ManifestError    (ValueError)    a manifest CSV or a folder layout
      StudyError       (ValueError)    one study's file: unreadable, wrong content
        GeometryError                  grids that should agree and do not
        LabelError                     label values that the pipeline does not name
      CheckpointError  (RuntimeError)  a checkpoint or model folder that does not fit
      TrackingError    (RuntimeError)  MLflow is missing or does not answer

A message says what was expected, what was found, which study or YAML line, and what to do.
"""

import re

LONGEST_REASON = 500
"""Characters of a study's reason; what a damaged file put into a message may be far longer."""


def reason(study_id: str, error: BaseException) -> str:
    """One line that says why a study failed, without its id in front (and with its path behind): lists give the id.

    Control characters, which could move a terminal's cursor, become spaces; more than ``LONGEST_REASON`` characters
    are cut.
    """
    text = " ".join("".join(c if c.isprintable() else " " for c in str(error)).split())
    if not isinstance(error, MedsegError) or not text:
        text = f"{type(error).__name__}: {text}".removesuffix(": ")
    named = re.match(rf"(?:study )?{re.escape(study_id)}(?: \((.*?)\))?: (.*)", text)
    if named:
        text = named[2] + (f" ({named[1]})" if named[1] else "")
    return text if len(text) <= LONGEST_REASON else f"{text[: LONGEST_REASON - 4]} ..."


class MedsegError(Exception):
    """Base of every error that a user of medseg can cause and mend."""


class ConfigError(MedsegError, ValueError):
    """A pipeline YAML, a fragment or an override is wrong; the message lists every mistake."""


class ManifestError(MedsegError, ValueError):
    """A manifest or a data folder is wrong; the message names the rows."""


class StudyError(MedsegError, ValueError):
    """One study cannot be used; the message names the file and the reason."""


class GeometryError(StudyError):
    """Two grids that must agree do not; the message gives the numbers."""


class LabelError(StudyError):
    """A label map holds values that the pipeline does not name, or fractions."""


class CheckpointError(MedsegError, RuntimeError):
    """A checkpoint or model folder is missing, broken, or of another network."""


class TrackingError(MedsegError, RuntimeError):
    """MLflow is asked for and is missing or does not answer."""

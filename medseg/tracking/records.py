"""What can be recorded of a run: one small class a kind. A new kind is a class here and a case in ``MlflowTracker``.

A record's arguments are what the spool keeps, as JSON; a field ``file`` is a path, of which the spool keeps a copy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

Status = Literal["FINISHED", "FAILED", "KILLED"]
"""How a run ends, in MLflow's words."""


class _Record:
    """What all kinds share: the name that stands in the spool, and their fields as JSON knows them."""

    call: ClassVar[str]

    def arguments(self) -> dict[str, Any]:
        """The fields by name, ready for JSON but for paths."""
        return {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]


@dataclass(frozen=True)
class Params(_Record):
    """Settings: nested mappings become dotted keys; a value too long for MLflow is cut and ends in `...`."""

    call: ClassVar[str] = "log_params"
    params: Mapping[str, Any]


@dataclass(frozen=True)
class Metrics(_Record):
    """Numbers of one step (an epoch); values that are not finite are left out.

    Attributes:
        metrics: name -> value; `val/dice/liver` becomes chart `liver` in section `val/dice`.
        step: place on the charts' horizontal axis.
    """

    call: ClassVar[str] = "log_metrics"
    metrics: Mapping[str, float]
    step: int

    @property
    def finite(self) -> dict[str, float]:
        """The metrics that MLflow's charts can show, as plain floats."""
        return {key: float(value) for key, value in self.metrics.items() if math.isfinite(value)}

    def arguments(self) -> dict[str, Any]:
        """See ``_Record``."""
        return {"metrics": self.finite, "step": self.step}


@dataclass(frozen=True)
class Tags(_Record):
    """Tags to set or replace."""

    call: ClassVar[str] = "set_tags"
    tags: Mapping[str, str]

    def arguments(self) -> dict[str, Any]:
        """See ``_Record``."""
        return {"tags": {key: str(value) for key, value in self.tags.items()}}


@dataclass(frozen=True)
class File(_Record):
    """A file for the run's artifacts, replacing one of the same name; ``folder`` is where in them, "" the top."""

    call: ClassVar[str] = "log_file"
    file: Path
    folder: str = ""


@dataclass(frozen=True)
class Table(_Record):
    """Rows that the UI pages and sorts, replacing a table of the same name, which ends in `.json`.

    Columns are the union of the rows' keys in order of appearance, gaps are null; there may be no rows.
    """

    call: ClassVar[str] = "log_table"
    rows: Sequence[Mapping[str, Any]]
    name: str

    def arguments(self) -> dict[str, Any]:
        """See ``_Record``."""
        rows = [{key: plain(value) for key, value in row.items()} for row in self.rows]
        return {"rows": rows, "name": self.name}


@dataclass(frozen=True)
class Picture(_Record):
    """A picture for the image grid, where a slider goes through the steps of ``key``.

    The slider starts at step 0: a key with several pictures should have one there, or the grid first looks empty.
    """

    call: ClassVar[str] = "log_image"
    file: Path
    key: str
    step: int


@dataclass(frozen=True)
class Dataset(_Record):
    """The data of the run: the manifest, of which the name is recorded, its digest, role and number of studies."""

    call: ClassVar[str] = "log_dataset"
    manifest: Path
    digest: str
    context: str
    n_studies: int

    def arguments(self) -> dict[str, Any]:
        """See ``_Record``."""
        return {**super().arguments(), "manifest": Path(self.manifest).name}


@dataclass(frozen=True)
class Model(_Record):
    """A model folder, as an MLflow model whose pyfunc segments NIfTI files (see ``pyfunc.py``)."""

    call: ClassVar[str] = "log_model"
    file: Path
    name: str = "model"


@dataclass(frozen=True)
class Registration(_Record):
    """The run's newest recorded model becomes a version of a registered model, at which the alias then points."""

    call: ClassVar[str] = "register_model"
    name: str
    alias: str | None = None


@dataclass(frozen=True)
class End(_Record):
    """The end of the run; the first 500 characters of ``reason`` become the tag `medseg.failure`."""

    call: ClassVar[str] = "finish"
    status: Status
    reason: str = ""


Record = Params | Metrics | Tags | File | Table | Picture | Dataset | Model | Registration | End
"""Everything that can be recorded."""

KINDS: Mapping[str, type[Record]] = {kind.call: kind for kind in get_args(Record)}
"""Name in the spool -> kind."""


def read_record(call: str, arguments: Mapping[str, Any], file: Callable[[str], Path]) -> Record:
    """A record as the spool has it.

    Args:
        call: the kind's name in the spool.
        arguments: as ``arguments`` gave them.
        file: the path of a file that the spool keeps.

    Raises:
        ValueError: a kind that this version of medseg does not know.
    """
    if call not in KINDS:
        raise ValueError(f"a record {call!r} that this version of medseg does not know")
    read: dict[str, Callable[[str], Path]] = {"file": file, "manifest": Path}
    fields_: dict[str, Any] = {key: read[key](value) if key in read else value for key, value in arguments.items()}
    return KINDS[call](**fields_)


def plain(value: Any) -> Any:
    """A value that JSON knows: numpy scalars as numbers, NaN as null, anything else as text."""
    item: Callable[[], Any] | None = getattr(value, "item", None)
    value = item() if callable(item) else value
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)

"""What model.json says: all that is needed to rebuild a network and to use it as it was trained."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError, model_validator

from medseg.errors import CheckpointError
from medseg.model.classes import Classes
from medseg.model.inference import Inference
from medseg.model.view import View
from medseg.settings import settings
from medseg.transforms.settings import Preprocessing
from medseg.types import AXES

MODEL_FORMAT = 2
"""Version of model.json."""


@settings
class ModelSpec:
    """A trained model without its weights."""

    network: str
    """Name in NETWORKS."""
    options: Mapping[str, Any]
    """The network's own arguments."""
    classes: Classes
    """What the channels of its output mean."""
    view: View
    """What it sees of a study."""
    preprocessing: Preprocessing
    """How a study is brought to it."""
    inference: Inference
    """How it is used; the size of the windows is always given."""

    @model_validator(mode="after")
    def _parts_agree(self) -> ModelSpec:
        if self.inference.window_size is None:
            raise ValueError("inference.window_size: expected a size, found none")
        self.view.extent(self.inference.window_size)
        for name in self.inference.postprocess.named:
            self.classes.index(name)
        return self


_ADAPTER = TypeAdapter(ModelSpec)


def to_entries(spec: ModelSpec) -> dict[str, Any]:
    """The content of model.json, as plain JSON values."""
    entries: dict[str, Any] = _ADAPTER.dump_python(spec, mode="json")
    return {"format": MODEL_FORMAT, **entries}


def from_entries(entries: Any, where: str) -> ModelSpec:
    """The model that a model.json describes, of this version or an older one.

    Args:
        entries: the file's content.
        where: names the file in messages.

    Raises:
        CheckpointError: it is no model.json, of a newer format, or has values that this medseg cannot use: all of them
            are named.
    """
    if not isinstance(entries, dict) or "format" not in entries:
        raise CheckpointError(f"{where}: not a model description")
    version = entries["format"]
    if version not in (1, MODEL_FORMAT):
        raise CheckpointError(
            f"{where}: format {version}, and this medseg reads format {MODEL_FORMAT} and older; use its version"
        )
    own = {key: value for key, value in entries.items() if key != "format"}
    try:
        # through JSON, since only there pydantic is strict about numbers and still takes a list for a tuple
        return _ADAPTER.validate_json(json.dumps(upgrade(own) if version == 1 else own), strict=True)
    except ValidationError as error:
        wrong = "; ".join(map(_told, error.errors(include_url=False)))
        raise CheckpointError(f"{where}: not usable by this medseg ({wrong})") from error


def upgrade(entries: Mapping[str, Any]) -> dict[str, Any]:
    """A model.json of format 1 as one of format 2; whatever fits neither stays where it is, and is refused there.

    Format 1 had names of classes, mode and slab_neighbours side by side with what follows from them; windows of three
    numbers in every mode under `size`; axes as numbers; and in its first days `keep_largest` beside the windows.
    """
    new = dict(entries)
    for follows in ("spatial_dims", "in_channels"):
        new.pop(follows, None)
    new["classes"] = {"names": new.pop("class_names", None)}
    new["view"] = {"mode": new.pop("mode", None), "slab_neighbours": new.pop("slab_neighbours", 0)}
    inference = new.get("inference")
    if isinstance(inference, dict):
        new["inference"] = _upgraded(inference, flat=new["view"]["mode"] != "patch")
    return new


def _upgraded(inference: Mapping[str, Any], *, flat: bool) -> dict[str, Any]:
    new = dict(inference)
    size = new.pop("size", None)
    new["window_size"] = size[:2] if flat and isinstance(size, list) else size
    letters = list(AXES)
    if isinstance(axes := new.get("flip_axes"), list):
        new["flip_axes"] = [letters[a] if a in range(3) else a for a in axes]
    if "keep_largest" in new:
        oldest = {"keep_largest": new.pop("keep_largest")}
        after = new.get("postprocess", {})
        new["postprocess"] = {**oldest, **after} if isinstance(after, dict) else after
    return new


def _told(detail: Any) -> str:
    key, message = ".".join(map(str, detail["loc"])), detail["msg"].removeprefix("Value error, ")
    return f"{key}: {message}" if key else message

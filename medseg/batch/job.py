"""All of ``medseg segment`` in one call, for the command line, a notebook or a server.

job = SegmentJob("runs/liver_ct/2026.../model", "/data/ct", "out", write=("document", "masks"))
outcomes = job.run()
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path

from medseg.batch.outputs import full_request, require_outputs, write_outputs
from medseg.batch.pipeline import ignore_stage
from medseg.batch.record import RECORD, Outcome, fingerprint
from medseg.batch.studies import Engine, segment_studies
from medseg.batch.workers import Load
from medseg.batch.writers import WRITERS
from medseg.errors import ConfigError
from medseg.inference.load import load_segmenter
from medseg.inference.request import Request
from medseg.inference.segmenter import Segmenter
from medseg.model.folder import model_classes
from medseg.study.inputs import find_inputs
from medseg.types import StudyInput


@dataclass(frozen=True)
class SegmentJob:
    """Studies, the model that segments them, and what is written of each.

    Attributes:
        models: a model folder, or the run folder that holds it; several are an ensemble.
        input: a file, a DICOM folder, a tree of any of them, or a manifest CSV.
        output: folder for ``<study_id>.nii.gz``, what is written beside it, and the record; made if absent.
        root: folder that a manifest's paths are relative to; the manifest's own by default.
        write: names of output formats beside the label map, see ``writers.WRITERS``.
        lesions: classes whose lesions each document lists.
        request: what is asked of the segmenter beside what the output formats need.
        locate: model folder of a coarse model that finds the organ first.
        device: auto, cpu or cuda.
        backend: what runs the networks: torch, openvino, or auto, the faster one.
        memory_gib: memory at most; the model's own ``inference.memory_gib`` by default.
        engine: this machine, or an existing Ray cluster.
        workers: processes, one by default; with ray actors, by default one per GPU or machine.
        shard: ``i/n``, see ``shard``.
        largest_first: begin with the largest files: with many workers none is left with a large one at the end.
        again: segment what is done already, too.

    Raises:
        CheckpointError: what should be a model is none.
        ConfigError, StudyError: no study could be given what is to be written.
    """

    models: Path | str | Sequence[Path | str]
    input: Path | str
    output: Path | str
    root: Path | str | None = None
    write: Sequence[str] = ("document",)
    lesions: Sequence[str] = ()
    request: Request = Request()
    locate: Path | str | None = None
    device: str = "auto"
    backend: str = "torch"
    memory_gib: float | None = None
    engine: Engine = "local"
    workers: int | None = None
    shard: str | None = None
    largest_first: bool = False
    again: bool = False

    def __post_init__(self) -> None:
        require_outputs(self.write, self.lesions, self.class_names)

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """Foreground names of the model, in class order."""
        return model_classes(self._folders[0]).names

    @cached_property
    def inputs(self) -> Sequence[StudyInput]:
        """The studies, looked for once.

        Raises:
            ManifestError: there are none.
            ConfigError: ``shard`` is not of its form.
        """
        root = None if self.root is None else Path(self.root)
        inputs = find_inputs(Path(self.input), root, exclude=Path(self.output))
        return inputs if self.shard is None else shard(inputs, self.shard)

    @property
    def record(self) -> Path:
        """Where every study's end is written down."""
        return Path(self.output) / RECORD

    def run(
        self,
        *,
        on_stage: Callable[[str, str], None] = ignore_stage,
        on_done: Callable[[Outcome], None] = lambda outcome: None,
    ) -> list[Outcome]:
        """Segment the studies; a broken one stops no other, and a second run goes on where the first one stopped.

        Args:
            on_stage: called with a study's id and the stage that begins, from several threads.
            on_done: called after each study, from one thread at a time.

        Returns:
            One outcome per study, in the order of ``inputs``.

        Raises:
            MedsegError: no inputs; a model that cannot be loaded, or cannot give what is asked for; no Ray cluster.
            OSError: the output folder cannot be written.
        """
        inputs, request = self.inputs, full_request(self.request, self.write, self.class_names)
        load, in_process = self._load(request), self.engine == "local" and (self.workers or 1) == 1
        model = fingerprint(self._folders, {})[:16]
        return segment_studies(
            load() if in_process else load,
            inputs,
            Path(self.output),
            request=request,
            write=partial(write_outputs, write=self.write, lesions=self.lesions, model=model),
            fingerprint=self._fingerprint(request),
            again=self.again,
            largest_first=self.largest_first,
            workers=self.workers or (0 if self.engine == "ray" else 1),
            engine=self.engine,
            on_stage=on_stage,
            on_done=on_done,
        )

    @property
    def _folders(self) -> list[Path]:
        models = [self.models] if isinstance(self.models, str | Path) else self.models
        return [Path(model).absolute() for model in models]

    @property
    def _coarse(self) -> Path | None:
        return None if self.locate is None else Path(self.locate).absolute()

    def _load(self, request: Request) -> Load:
        return partial(
            _load_for,
            request,
            partial(
                load_segmenter,
                self._folders,
                self.device,
                backend=self.backend,
                memory_gib=self.memory_gib,
                coarse=self._coarse,
            ),
        )

    def _fingerprint(self, request: Request) -> str:
        """Of everything that decides what is written; what is left to the model's own is in the model."""
        asked = asdict(request)
        if request.postprocess is None:
            del asked["postprocess"]
        outputs = {name: name in self.write for name, writer in WRITERS.items() if not writer.always}
        settings = {
            "outputs": {**outputs, "lesions": self.lesions},
            "wanted": asked,
            "backend": self.backend,
            "gib": self.memory_gib,
        }
        return fingerprint([*self._folders, *([self._coarse] if self._coarse else [])], settings)


def shard(inputs: Sequence[StudyInput], text: str) -> list[StudyInput]:
    """Every n-th study of those sorted by id, for one job of an array.

    Args:
        inputs: all studies.
        text: ``i/n``, i from 1 to n; the n shards are disjoint, complete, and differ by at most one study.

    Raises:
        ConfigError: the text is not of this form.
    """
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    number, of = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= number <= of:
        raise ConfigError(f"--shard: expected i/n with i from 1 to n, such as 1/8, found {text!r}")
    return sorted(inputs, key=lambda study: study.study_id)[number - 1 :: of]


def _load_for(request: Request, load: Callable[[], Segmenter]) -> Segmenter:
    """Load a model, and refuse at once what it could give no study."""
    segmenter = load()
    segmenter.require(request)
    return segmenter

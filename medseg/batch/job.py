"""Many studies: begun once, each ended once, on one process, several, or a cluster; a broken one stops no other."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypeGuard, cast

from medseg.batch.claims import Claims
from medseg.batch.pipeline import Read, SegmentsVolumes, Stages, Write, ignore_stage, label_map_path, run_pipeline
from medseg.batch.ray_engine import run_ray
from medseg.batch.record import RECORD, Outcome, fingerprint, input_digest
from medseg.batch.workers import Load, run_workers
from medseg.batch.worklist import Worklist
from medseg.errors import ConfigError
from medseg.inference.request import Request
from medseg.inference.result import Segmentation
from medseg.study.inputs import find_inputs, read_input
from medseg.study.nifti import write_labels
from medseg.types import StudyInput, Volume

__all__ = [
    "RECORD",
    "Outcome",
    "fingerprint",
    "input_digest",
    "segment_batch",
    "segment_studies",
    "shard",
]

Engine = Literal["local", "ray"]
"""Where the work is done."""


def write_label_map(segmentation: Segmentation, image: Volume, folder: Path, study_id: str) -> Path:
    """Write <study_id>.nii.gz on the image's own grid."""
    path = label_map_path(folder, study_id)
    write_labels(path, segmentation.classes, image, names=segmentation.class_names)
    return path


def shard(inputs: Sequence[StudyInput], text: str) -> list[StudyInput]:
    """Every n-th study of those sorted by id, for one job of an array.

    Args:
        inputs: all studies.
        text: ``i/n``, i from 1 to n; the n shards are disjoint, complete, and differ by at most one study.

    Raises:
        ConfigError: the text is not of this form.
    """
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    number, of = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 1 <= number <= of:
        raise ConfigError(f"--shard: expected i/n with i from 1 to n, such as 1/8, found {text!r}")
    return sorted(inputs, key=lambda study: study.study_id)[number - 1 :: of]


def segment_batch(
    segmenter: SegmentsVolumes | Load, source: Path | str, output: Path | str, **options: Any
) -> list[Outcome]:
    """Segment whatever ``find_inputs`` finds in ``source``; the options are those of ``segment_studies``.

    Raises:
        ManifestError: there is nothing to segment.
    """
    return segment_studies(segmenter, find_inputs(Path(source), exclude=Path(output)), Path(output), **options)


def segment_studies(
    segmenter: SegmentsVolumes | Load,
    inputs: Sequence[StudyInput],
    output: Path,
    *,
    read: Read = read_input,
    write: Write = write_label_map,
    request: Request = Request(),
    fingerprint: str = "",
    again: bool = False,
    largest_first: bool = False,
    workers: int = 1,
    engine: Engine = "local",
    on_stage: Callable[[str, str], None] = ignore_stage,
    on_done: Callable[[Outcome], None] = lambda outcome: None,
) -> list[Outcome]:
    """Segment every input into ``output``/<study_id>.nii.gz and append one line a study to ``output``/segment.jsonl.

    A study that went well before, with the same fingerprint and from the same input, is skipped; one that failed is
    tried again. Several runs into one folder share the studies. After a kill the next run goes on where it stopped.

    Args:
        segmenter: a loaded model, or a function that loads it: with several processes each calls it once, and it must
            be picklable, as ``functools.partial(load_segmenter, folder)`` is.
        inputs: the studies, each with an id of its own.
        output: folder, made if absent.
        read: reads a study.
        write: writes its outputs, the label map last.
        request: what is asked of the segmenter.
        fingerprint: of model, settings and output options (``record.fingerprint``); "" never skips.
        again: do what is done already, too.
        largest_first: begin with the largest files: with many workers none is left with a large one at the end.
        workers: processes; with one, everything runs in this process. With ray the number of actors, 0 for one a GPU
            or machine.
        engine: this machine, or an existing Ray cluster.
        on_stage: called with a study's id and the stage that begins, from several threads.
        on_done: called after each study, from one thread at a time.

    Returns:
        One outcome a study, in the order of the inputs.

    Raises:
        CheckpointError: a worker cannot load the model.
        MedsegError: workers are killed before they come to work, or there is no Ray cluster.
        OSError: the output folder cannot be written.
    """
    output.mkdir(parents=True, exist_ok=True)
    if not inputs:
        return []
    if engine == "ray":  # its actors work in folders of their own
        output, inputs = output.absolute(), [replace(s, path=s.path.absolute()) for s in inputs]
    stages = Stages(read, write, output, request, on_stage)
    with Claims(output) as claims:
        order = sorted(inputs, key=_size, reverse=True) if largest_first else inputs
        worklist = Worklist(order, output, claims, fingerprint=fingerprint, again=again, on_done=on_done)
        if engine == "ray":
            run_ray(_loader(segmenter), worklist, stages, workers)
        elif workers > 1:
            run_workers(_loader(segmenter), worklist, stages, min(workers, len(inputs)))
        else:
            loaded = segmenter if _is_loaded(segmenter) else _loader(segmenter)()
            run_pipeline(loaded, worklist.tasks(), stages, worklist.finish, worklist.stop)
    return [worklist.outcomes[study.study_id] for study in inputs]


def _size(study: StudyInput) -> int:
    """Bytes of a file or of a folder's files; 0 for what is not there."""
    try:
        return sum(path.stat().st_size for path in (study.path.rglob("*") if study.path.is_dir() else [study.path]))
    except OSError:
        return 0


def _is_loaded(segmenter: SegmentsVolumes | Load) -> TypeGuard[SegmentsVolumes]:
    return hasattr(segmenter, "segment")


def _loader(segmenter: SegmentsVolumes | Load) -> Load:
    if _is_loaded(segmenter):
        raise TypeError(
            "expected a function that loads the model, since every process calls it, found a loaded one: "
            "give functools.partial(load_segmenter, folder)"
        )
    return cast(Load, segmenter)

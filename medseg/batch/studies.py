"""Many studies: begun once, each ended once, on one process, several, or a cluster; a broken one stops no other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, TypeGuard, cast

from medseg.batch.claims import Claims
from medseg.batch.outputs import write_outputs
from medseg.batch.pipeline import Read, SegmentsVolumes, Stages, Write, ignore_stage, run_pipeline
from medseg.batch.ray_engine import run_ray
from medseg.batch.record import Outcome
from medseg.batch.workers import Load, run_workers
from medseg.batch.worklist import Worklist
from medseg.inference.request import Request
from medseg.study.inputs import read_input
from medseg.types import StudyInput

Engine = Literal["local", "ray"]
"""Where the work is done."""


def segment_studies(
    segmenter: SegmentsVolumes | Load,
    inputs: Sequence[StudyInput],
    output: Path,
    *,
    read: Read = read_input,
    write: Write = write_outputs,
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
        write: writes its outputs, the label map last; by default that alone.
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

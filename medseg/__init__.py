"""medseg: semantic segmentation of CT studies from one YAML, 2D and 3D from one code.

The way of a study, module by module:

    study -> transforms -> data -> networks + losses -> training -> model -> inference, batch -> evaluation
        -> reports, tracking

Each room writes its settings once; ``config`` composes them into a pipeline, ``runs`` takes a pipeline through its
stages, ``cli`` parses arguments. From Python:

    import medseg
    segmenter = medseg.load_segmenter("runs/liver_ct/<run id>/model")
    segmenter.segment_file("study.nii.gz", "segmentation.nii.gz")
    medseg.SegmentJob("runs/liver_ct/<run id>/model", "/data/ct", "out").run()
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medseg.version import __version__

if TYPE_CHECKING:
    from medseg.batch.job import SegmentJob
    from medseg.inference.segmenter import Segmenter

__all__ = ["SegmentJob", "__version__", "load_segmenter"]


def load_segmenter(model: Any, device: str = "auto", **options: Any) -> Segmenter:
    """Load a model folder, or several as an ensemble; see ``inference.load.load_segmenter`` for the options."""
    from medseg.inference.load import load_segmenter as load

    return load(model, device, **options)


def __getattr__(name: str) -> Any:
    """``SegmentJob``, imported with all that it needs when it is first asked for."""
    if name == "SegmentJob":
        from medseg.batch.job import SegmentJob

        return SegmentJob
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""One study in, one segmentation out: a trained network, or an ensemble of them, as it was trained to be used.

prepare   the study on the network grid
predict   scores of its slices, window by window
restore   classes on the study's own voxels
clean     post-processing
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from medseg.errors import ConfigError, StudyError
from medseg.inference.crf import mean_field
from medseg.inference.locate import organ_box
from medseg.inference.memory import bytes_of, plan
from medseg.inference.postprocess import postprocess
from medseg.inference.predictor import Network, Predictor
from medseg.inference.request import Request
from medseg.inference.result import Segmentation
from medseg.inference.sliding_window import predict_slices
from medseg.inference.windows import Windows
from medseg.model.postprocess import PostProcessing
from medseg.model.spec import ModelSpec
from medseg.study.inputs import read_input
from medseg.study.nifti import write_labels
from medseg.transforms.preprocessing import Crop, Preprocessed, network_box, preprocess
from medseg.transforms.restore import Decide, Restorer
from medseg.types import Grid, StudyInput, Volume

logger = logging.getLogger(__name__)

CPU = torch.device("cpu")


@dataclass(frozen=True, eq=False)
class Segmenter:
    """A trained network, or several whose probabilities are averaged window by window.

    Attributes:
        networks: built and loaded; moved to ``device`` and set to eval.
        spec: what model.json says; of an ensemble the first one's.
        device: where they run.
        runners: the networks in another runtime (``backends``), in their order; () runs the networks themselves.
        coarse: finds the organ first, as ``inference.locate`` says; None segments the whole body.

    Raises:
        ConfigError: a CRF for several networks, or a class to be located that the coarse model does not have.
    """

    networks: tuple[nn.Module, ...]
    spec: ModelSpec
    device: torch.device = CPU
    runners: tuple[Network, ...] = ()
    coarse: Segmenter | None = None

    def __post_init__(self) -> None:
        for network in self.networks:
            network.to(self.device).eval()
        if self.spec.inference.crf is not None and len(self.networks) > 1:
            raise ConfigError("the CRF works on one network's logits; an ensemble cannot have it")
        self._wanted_of_coarse()

    @property
    def network(self) -> nn.Module:
        """The network; of an ensemble the first."""
        return self.networks[0]

    @cached_property
    def windows(self) -> Windows:
        """How a study is covered."""
        return Windows.of(self.spec)

    def segment(self, image: Volume | Path | str, request: Request = Request()) -> Segmentation:
        """Segment one CT.

        Args:
            image: a volume, or the path of a file of any format or of a DICOM folder.
            request: what is wanted beside the label map, and whether it is cleaned otherwise than by the model.

        Returns:
            The label map on the image's own grid, and what was asked for.

        Raises:
            ConfigError: a class that the model does not have, or disagreement asked of one network.
            StudyError: the image cannot be read, or does not fit the memory it may take.
        """
        self.require(request)
        volume = image if isinstance(image, Volume) else read_input(StudyInput("", Path(image)))
        box, notes = self.locate(volume)
        study = self.prepare(volume)
        raw = self.restore(self.predict(study, request, box), study, request, box)
        return self.clean(replace(raw, notes=notes), volume.grid, request)

    def segment_array(self, voxels_hu: NDArray[Any], affine: NDArray[np.float64]) -> NDArray[np.uint8]:
        """Segment an (I, J, K) array in HU with its (4, 4) voxel -> RAS+ millimetre affine; gives class indices."""
        i, j, k = voxels_hu.shape
        return self.segment(Volume(voxels_hu, Grid((i, j, k), np.asarray(affine, dtype=float)))).classes

    def segment_file(self, image: StudyInput | Path | str, output: Path | str) -> Path:
        """Segment a file of any format, or a DICOM folder; write the label map on its own grid, whole or not at all.

        Raises:
            StudyError: the image cannot be read, the output cannot be written, or both are one file.
        """
        study = image if isinstance(image, StudyInput) else StudyInput("", Path(image))
        if os.path.realpath(study.path) == os.path.realpath(output):  # resolve() raises where links run in a circle
            raise StudyError(f"{study.path}: the segmentation would replace its own image; choose another output")
        volume = read_input(study)
        write_labels(Path(output), self.segment(volume).classes, volume)
        return Path(output)

    def require(self, request: Request) -> None:
        """Refuse, before any study is read, what no study could be given.

        Raises:
            ConfigError: see ``segment``.
        """
        for name in (*request.probabilities, *self._postprocess(request).named):
            self.spec.classes.index(name)
        if request.uncertainty == "disagreement" and len(self.networks) < 2:
            raise ConfigError("uncertainty: disagreement takes an ensemble of two models or more; use entropy")

    def locate(self, volume: Volume) -> tuple[Crop | None, tuple[str, ...]]:
        """The organ's box in the RAS-ordered study, None for all of it, and what is to be said of that."""
        settings = self.spec.inference.locate
        if self.coarse is None or settings is None:
            return None, ()
        box, note = organ_box(*self.coarse.network_classes(volume), self._wanted_of_coarse(), settings)
        logger.info("%s", note)
        return box, (note,)

    def prepare(self, volume: Volume) -> Preprocessed:
        """The study on the network grid."""
        return preprocess(volume, self.spec.preprocessing)

    def predict(self, study: Preprocessed, request: Request = Request(), box: Crop | None = None) -> Iterator[Tensor]:
        """Scores of the study's slices, in order, as they become complete.

        Args:
            study: what ``prepare`` gave.
            request: decides whether there is a channel of spread, and what else memory will hold.
            box: what ``locate`` gave; outside of it scores may be blank.

        Yields:
            (n, S, I, J) of the next n slices: logits of one network, probabilities of several.

        Raises:
            StudyError: it does not fit the memory it may take.
        """
        predictor, windows, dtype = self._predictor(request), self.windows, torch.float32
        if self.spec.inference.memory_gib is not None:
            windows, dtype = self._within_budget(predictor, study, request, self.spec.inference.memory_gib)
        within = None if box is None else network_box(study, box)
        slices = predict_slices(predictor, study.image, windows, predictor.blank(), dtype, within)
        if self.spec.inference.crf is None:
            yield from slices
            return
        every = list(slices)
        logits = torch.cat([s.to(every[-1].device) for s in every]).permute(1, 2, 3, 0)
        image = study.image.to(logits.device)
        yield mean_field(logits, image, study.grid.spacing_mm, self.spec.inference.crf).permute(3, 0, 1, 2)

    def restore(
        self, slices: Iterable[Tensor], study: Preprocessed, request: Request = Request(), box: Crop | None = None
    ) -> Segmentation:
        """Bring scores to the study's own voxels: the label map as it is before cleaning, and what was asked for.

        Args:
            slices: what ``predict`` yields.
            study: what ``prepare`` gave.
            request: what is wanted beside the label map.
            box: all outside of it becomes background.
        """
        restorer = Restorer(study, self._decide(request), request.num_extras)
        for scores in slices:
            restorer.add(*self._decisive(scores, request))
        if box is not None:
            restorer.clear_outside(box)
        probabilities = dict(zip(request.probabilities, restorer.extras, strict=False))
        uncertainty = restorer.extras[-1] if request.uncertainty != "none" else None
        return Segmentation(restorer.classes, self.spec.classes.names, probabilities, uncertainty)

    def clean(self, segmentation: Segmentation, grid: Grid, request: Request = Request()) -> Segmentation:
        """Post-process a label map on the study's own grid."""
        settings = self._postprocess(request)
        if not settings.cleaned:
            return segmentation
        return replace(segmentation, classes=postprocess(segmentation.classes, grid, settings, self.spec.classes))

    def network_classes(self, image: Volume) -> tuple[NDArray[np.uint8], Preprocessed]:
        """Class indices (i, j, k) on the network grid, neither restored nor post-processed, and that grid."""
        study, decide = self.prepare(image), self._decide(Request())
        slices = [decide(self._decisive(scores, Request())[0].movedim(1, 0)) for scores in self.predict(study)]
        return torch.cat([s.cpu() for s in slices]).permute(1, 2, 0).numpy(), study

    def _decisive(self, scores: Tensor, request: Request) -> tuple[Tensor, Tensor | None]:
        """Of (n, S, I, J) scores those that decide, (n, C, I, J), and the further maps, (n, E, I, J)."""
        classes = self.spec.classes
        decisive, spread = scores[:, : classes.num_channels], scores[:, classes.num_channels :]
        thresholds = self._postprocess(request).thresholds
        extras = []
        if thresholds or request.num_extras:
            probabilities = decisive if len(self.networks) > 1 else classes.probabilities(decisive)
            decisive = probabilities if thresholds else decisive
            extras += [probabilities[:, classes.index(name)][:, None] for name in request.probabilities]
            if request.uncertainty != "none":
                extras.append(classes.uncertainty(probabilities))
            if request.uncertainty == "disagreement":
                extras[-1] = (extras[-1] - spread).clamp_min(0.0)
        return decisive, torch.cat(extras, dim=1) if extras else None

    def _decide(self, request: Request) -> Decide:
        classes = self.spec.classes
        return partial(classes.decide, thresholds=classes.indices(self._postprocess(request).thresholds))

    def _postprocess(self, request: Request) -> PostProcessing:
        return self.spec.inference.postprocess if request.postprocess is None else request.postprocess

    def _predictor(self, request: Request) -> Predictor:
        return Predictor(
            self.runners or self.networks,
            self.spec.classes,
            self.spec.inference,
            self.device,
            probabilities=len(self.networks) > 1,
            spread=request.uncertainty == "disagreement",
        )

    @cached_property
    def _window_bytes(self) -> int:
        """What one window of a forward pass takes."""
        one = torch.zeros((1, *self.windows.input_shape))
        predictor = self._predictor(Request())
        return bytes_of(lambda: predictor(one, 1))

    def _within_budget(
        self, predictor: Predictor, study: Preprocessed, request: Request, memory_gib: float
    ) -> tuple[Windows, torch.dtype]:
        size, settings = self.windows.size, self.spec.inference
        chosen = plan(
            memory_gib,
            batch_size=settings.batch_size,
            window_bytes=self._window_bytes,
            plane=[max(n, w) for n, w in zip(study.grid.shape[:2], size[:2], strict=True)],
            depth=self._depth(study),
            num_scores=len(predictor.blank()),
            native_bytes=math.prod(study.native.shape) * (1 + request.num_extras),
        )
        return replace(self.windows, settings=replace(settings, batch_size=chosen.batch_size)), chosen.dtype

    def _depth(self, study: Preprocessed) -> int:
        """Slices of scores that are held at once: all of them for the CRF."""
        if self.spec.inference.crf is not None:
            return study.grid.shape[2]
        return self.windows.size[2] if self.spec.view.spatial_dims == 3 else self.spec.inference.batch_size

    def _wanted_of_coarse(self) -> list[int]:
        """Indices of the classes that the coarse model is to find."""
        locate = self.spec.inference.locate
        if self.coarse is None or locate is None:
            return []
        classes = self.coarse.spec.classes
        return [classes.index(name) for name in locate.classes or classes.names]

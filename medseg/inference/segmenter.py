"""One study in, one segmentation out: a trained network as a callable."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from medseg.errors import ConfigError, StudyError
from medseg.inference.backends import run_with
from medseg.inference.crf import CRFSettings, mean_field
from medseg.inference.locate import Locate, organ_box
from medseg.inference.memory import bytes_of, plan
from medseg.inference.postprocess import by_name, postprocess
from medseg.inference.predictor import Network, Predictor, entropy
from medseg.inference.result import Segmentation
from medseg.inference.sliding_window import BLANK_LOGIT, predict_slices
from medseg.inference.windows import Windows
from medseg.model.spec import ModelSpec
from medseg.study.inputs import read_input
from medseg.study.nifti import write_labels
from medseg.transforms.preprocessing import Crop, Preprocessed, network_box, preprocess
from medseg.transforms.restore import Restorer, decide
from medseg.transforms.settings import Preprocessing
from medseg.types import Grid, StudyInput, Volume

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Wanted:
    """What is made beside the label map.

    Attributes:
        probabilities: names of the classes whose probabilities are kept.
        uncertainty: entropy of the probabilities, or how far the networks of an ensemble disagree (the entropy of their
            mean beyond the mean of their entropies); both in [0, 1], of the largest possible entropy.
    """

    probabilities: tuple[str, ...] = ()
    uncertainty: Literal["none", "entropy", "disagreement"] = "none"


class Segmenter:
    """A trained network, or an ensemble of them, with everything needed to use it as it was trained.

    Args:
        network: built and loaded; moved to ``device`` and set to eval. Several are an ensemble: their probabilities are
            averaged window by window.
        spec: what model.json says; of an ensemble the first one's.
        device: where it runs.
        wanted: what is made beside the label map.
        coarse: finds the organ first, as ``inference.locate`` says; None segments the whole body.

    Raises:
        ConfigError: a class that the model does not have, or disagreement asked of one network.
    """

    def __init__(
        self,
        network: nn.Module | Sequence[nn.Module],
        spec: ModelSpec,
        device: str | torch.device = "cpu",
        *,
        wanted: Wanted = Wanted(),  # frozen
        coarse: Segmenter | None = None,
    ) -> None:
        networks = [network] if isinstance(network, nn.Module) else list(network)
        self.networks = tuple(n.to(device).eval() for n in networks)
        self._runners: tuple[Network, ...] = self.networks
        self.device = torch.device(device)
        self.spec = spec
        self.coarse = coarse
        self.preprocessing = Preprocessing(**{k: _tuple(v) for k, v in spec.preprocessing.items()})
        settings = dict(spec.inference)
        # a model older than the section has keep_largest beside the windows; thresholds belong to the arg-max
        steps = {"keep_largest": settings.pop("keep_largest", ()), **settings.pop("postprocess", {})}
        thresholds = steps.pop("thresholds", None) or {}
        self.postprocessing = by_name(steps, spec.class_names)
        self.thresholds = tuple((self._index(name), float(least)) for name, least in thresholds.items())
        crf = settings.pop("crf", None)  # absent from models older than the key
        self.crf = None if crf is None else CRFSettings(**crf)
        locate = settings.pop("locate", None)
        self.locate = None if locate is None else Locate(**{k: _tuple(v) for k, v in locate.items()})
        self.memory_gib: float | None = settings.pop("memory_gib", None)
        self.windows = Windows(
            mode=spec.mode, slab_neighbours=spec.slab_neighbours, **{k: _tuple(v) for k, v in settings.items()}
        )
        if self.crf is not None and len(self.networks) > 1:
            raise ConfigError("the CRF works on one network's logits; an ensemble cannot have it")
        self._window_bytes: int | None = None
        self.want(wanted)

    def want(self, wanted: Wanted) -> None:
        """Choose what is made beside the label map.

        Raises:
            ConfigError: a class that the model does not have, or disagreement asked of one network.
        """
        for name in wanted.probabilities:
            self._index(name)
        if wanted.uncertainty == "disagreement" and len(self.networks) < 2:
            raise ConfigError("uncertainty: disagreement takes an ensemble of two models or more; use entropy")
        self.wanted = wanted

    def run_with(self, backend: str) -> None:
        """Run the networks, the coarse one too, with another runtime: see ``backends``.

        Only torch knows CUDA and test-time scales.

        Raises:
            CheckpointError: an unknown runtime, or one that is not installed.
        """
        if self.coarse is not None:
            self.coarse.run_with(backend)
        if backend != "torch" and (self.device.type != "cpu" or self.windows.scales != (1.0,)):
            if backend != "auto":
                logger.warning("backend %s: works on the CPU at scale 1; running with torch", backend)
            return
        window = self.windows.size[: self.spec.spatial_dims]
        self._runners = tuple(run_with(backend, n, self.spec.in_channels, window) for n in self.networks)

    @property
    def network(self) -> nn.Module:
        """The network; of an ensemble the first."""
        return self.networks[0]

    def segment(
        self, image: Volume | Path | str | NDArray[Any], affine: NDArray[Any] | None = None
    ) -> NDArray[np.uint8]:
        """Segment one CT.

        Args:
            image: a volume, the path of a file or of a DICOM folder, or an (I, J, K) array in HU.
            affine: of an array: (4, 4), voxel -> RAS+ millimetres.

        Returns:
            (I, J, K) uint8 class indices on the image's own grid; 0 is background, c is ``spec.class_names[c - 1]``.

        Raises:
            StudyError: the file cannot be read, or an array comes without an affine.
        """
        if isinstance(image, np.ndarray):
            if affine is None:
                raise StudyError("an array of voxels: expected its affine too (4 x 4, voxel to RAS+ millimetres)")
            return self.segment_array(image, affine)
        volume = image if isinstance(image, Volume) else read_input(StudyInput("", Path(image)))
        return self.segment_volume(volume).classes

    def segment_volume(self, image: Volume) -> Segmentation:
        """``segment``, with all else that was asked for beside the label map.

        Raises:
            StudyError: it does not fit the memory it may take.
        """
        box, *notes = self._box(image)
        study = preprocess(image, self.preprocessing)
        extras = len(self.wanted.probabilities) + (self.wanted.uncertainty != "none")
        restorer = Restorer(study, self.thresholds, extras)
        for scores in self._slices(study, restorer, box):
            restorer.add(*self._finished(scores))
        if box is not None:
            restorer.clear_outside(box)
        classes = (
            postprocess(restorer.classes, image.grid, self.postprocessing) if self.postprocessing else restorer.classes
        )
        probabilities = dict(zip(self.wanted.probabilities, restorer.extras, strict=False))
        uncertainty = restorer.extras[-1] if self.wanted.uncertainty != "none" else None
        return Segmentation(classes, self.spec.class_names, probabilities, uncertainty, tuple(notes))

    def segment_array(self, voxels_hu: NDArray[Any], affine: NDArray[np.float64]) -> NDArray[np.uint8]:
        """Segment an (I, J, K) array in HU with its (4, 4) voxel -> RAS+ millimetre affine."""
        i, j, k = voxels_hu.shape
        return self.segment(Volume(voxels_hu, Grid((i, j, k), np.asarray(affine, dtype=float))))

    def segment_file(self, image: StudyInput | Path | str, output: Path | str) -> Path:
        """Segment a file of any format, or a DICOM folder; write the label map on its own grid, whole or not at all.

        Raises:
            StudyError: the image cannot be read, the output cannot be written, or both are one file.
        """
        study = image if isinstance(image, StudyInput) else StudyInput("", Path(image))
        if os.path.realpath(study.path) == os.path.realpath(output):  # resolve() raises where links run in a circle
            raise StudyError(f"{study.path}: the segmentation would replace its own image; choose another output")
        volume = read_input(study)
        write_labels(Path(output), self.segment(volume), volume)
        return Path(output)

    def network_classes(self, image: Volume) -> tuple[NDArray[np.uint8], Preprocessed]:
        """Class indices (i, j, k) on the network grid, neither restored nor post-processed, and that grid."""
        study = preprocess(image, self.preprocessing)
        slices = [decide(self._finished(scores)[0].movedim(1, 0), self.thresholds) for scores in self._slices(study)]
        return torch.cat([s.cpu() for s in slices]).permute(1, 2, 0).numpy(), study

    def _slices(
        self, study: Preprocessed, restorer: Restorer | None = None, box: Crop | None = None
    ) -> Iterator[Tensor]:
        """Scores of the study's slices, in order, as they become complete; outside a box they may be blank."""
        predictor, windows, dtype = self._predictor(), self.windows, torch.float32
        if self.memory_gib is not None and restorer is not None:
            windows, dtype = self._within_budget(predictor, study, restorer)
        within = None if box is None else network_box(study, box)
        slices = predict_slices(predictor, study.image, windows, self._blank(), dtype, within)
        if self.crf is None:
            yield from slices
            return
        every = list(slices)
        logits = torch.cat([s.to(every[-1].device) for s in every]).permute(1, 2, 3, 0)
        image = study.image.to(logits.device)
        yield mean_field(logits, image, study.grid.spacing_mm, self.crf).permute(3, 0, 1, 2)

    def _finished(self, scores: Tensor) -> tuple[Tensor, Tensor | None]:
        """Of (n, S, I, J) scores those that decide, (n, C, I, J), and the further maps, (n, E, I, J)."""
        classes = self.spec.num_classes
        decisive, spread = scores[:, :classes], scores[:, classes:]
        extras = []
        if self._wants_probabilities:
            probabilities = decisive if len(self.networks) > 1 else decisive.softmax(dim=1)
            decisive = probabilities if self.thresholds else decisive
            extras += [probabilities[:, self._index(name)][:, None] for name in self.wanted.probabilities]
            if self.wanted.uncertainty != "none":
                extras.append(entropy(probabilities))
            if self.wanted.uncertainty == "disagreement":
                extras[-1] = (extras[-1] - spread).clamp_min(0.0)
        return decisive, torch.cat(extras, dim=1) if extras else None

    def _predictor(self) -> Predictor:
        ensemble = len(self.networks) > 1
        spread = self.wanted.uncertainty == "disagreement"
        return Predictor(self._runners, self.windows, self.device, probabilities=ensemble, spread=spread)

    def _blank(self) -> Tensor:
        others = self.spec.num_classes - 1
        if len(self.networks) == 1:
            return torch.tensor([BLANK_LOGIT] + [-BLANK_LOGIT] * others, device=self.device)
        certain = [1.0] + [0.0] * (others + (self.wanted.uncertainty == "disagreement"))
        return torch.tensor(certain, device=self.device)

    def _within_budget(
        self, predictor: Predictor, study: Preprocessed, restorer: Restorer
    ) -> tuple[Windows, torch.dtype]:
        assert self.memory_gib is not None
        if self._window_bytes is None:
            one = torch.zeros((1, self.spec.in_channels, *self.windows.size[: self.spec.spatial_dims]))
            self._window_bytes = bytes_of(lambda: predictor(one, 1))
        chosen = plan(
            self.memory_gib,
            batch_size=self.windows.batch_size,
            window_bytes=self._window_bytes,
            plane=[max(n, w) for n, w in zip(study.grid.shape[:2], self.windows.size[:2], strict=True)],
            depth=self._depth(study),
            num_scores=len(self._blank()),
            native_bytes=sum(a.nbytes for a in (restorer.classes, *restorer.extras)),
        )
        return replace(self.windows, batch_size=chosen.batch_size), chosen.dtype

    def _depth(self, study: Preprocessed) -> int:
        """Slices of scores that are held at once: all of them for the CRF."""
        if self.crf is not None:
            return study.grid.shape[2]
        return self.windows.size[2] if self.windows.mode == "patch" else self.windows.batch_size

    def _box(self, image: Volume) -> tuple[Crop | None, *tuple[str, ...]]:
        if self.coarse is None or self.locate is None:
            return (None,)
        names = self.locate.classes or self.coarse.spec.class_names
        wanted = [self.coarse.spec.class_names.index(name) + 1 for name in names]
        box, note = organ_box(*self.coarse.network_classes(image), wanted, self.locate)
        logger.info("%s", note)
        return box, note

    @property
    def _wants_probabilities(self) -> bool:
        return bool(self.thresholds or self.wanted.probabilities or self.wanted.uncertainty != "none")

    def _index(self, name: str) -> int:
        if name not in self.spec.class_names:
            raise ConfigError(f"the model has the classes {', '.join(self.spec.class_names)}, and no {name!r}")
        return self.spec.class_names.index(name) + 1


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value

"""The studies of a pipeline: which there are, what they are for, and what their label values mean."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from medseg.config.schema import PipelineConfig
from medseg.errors import ConfigError
from medseg.study.label_map import parse_labels
from medseg.study.manifest import Splits, assign_folds, read_manifest, split
from medseg.types import LabelMap, Study

logger = logging.getLogger(__name__)


def load_studies(config: PipelineConfig) -> tuple[list[Study], Splits]:
    """Read the manifest, give folds by subject to studies without one, and split.

    Raises:
        ManifestError: see ``study.manifest``.
    """
    studies = read_manifest(config.data.manifest, config.data.root)
    subjects = {s.subject_id for s in studies if not s.fold} - {s.subject_id for s in studies if s.fold}
    if len(subjects) > 1:  # one alone cannot be cut into folds; it may still train with data.fold "all"
        studies = assign_folds(studies, num_folds=min(5, len(subjects)))
        logger.info("%s: %d subjects without a fold were given one", config.data.manifest, len(subjects))
    return studies, split(studies, config.data.fold)


def studies_to_score(config: PipelineConfig, splits: Splits) -> tuple[str, list[Study]]:
    """Name and labelled studies of the split that ``evaluation.split`` asks for."""
    labelled = {name: [s for s in getattr(splits, name) if s.label] for name in ("test", "validation", "train")}
    if config.evaluation.split != "auto":
        return config.evaluation.split, labelled[config.evaluation.split]
    return next((name, chosen) for name, chosen in labelled.items() if chosen)


def label_map_of(config: PipelineConfig) -> Callable[[Study], LabelMap]:
    """How the label values of each study become classes: the pipeline's ``labels``, or the study's own label map."""
    maps = {"": config.label_map, **{name: _other_map(config, name) for name in config.data.label_maps}}

    def of(study: Study) -> LabelMap:
        if study.label_map not in maps:
            known = ", ".join(sorted(set(maps) - {""})) or "none"
            raise ConfigError(
                f"{study.study_id}: the manifest's label_map is {study.label_map!r}; data.label_maps has {known}"
            )
        return maps[study.label_map]

    return of


def segmentation_map(class_names: Sequence[str]) -> LabelMap:
    """The values medseg itself writes: class c is value c."""
    return LabelMap({name: (index,) for index, name in enumerate(class_names, start=1)})


def _other_map(config: PipelineConfig, name: str) -> LabelMap:
    own = parse_labels(config.data.label_maps[name])
    # class indices follow the pipeline's labels; a class that this map leaves out does not occur in its studies
    classes = {n: own.classes.get(n, ()) for n in config.label_map.names}
    return LabelMap(classes, own.ignore, own.background, own.rest_is_background)

"""The first stage of a run: studies to a cache, a network trained on it, its best weights into the model folder."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, cast

from medseg.errors import ManifestError
from medseg.runs import build
from medseg.runs.recording import ValidationPictures
from medseg.runs.run import Run
from medseg.tracking.records import Metrics, Tags

if TYPE_CHECKING:
    import torch

    from medseg.data.cache import CachedStudy
    from medseg.training.checkpoint import TrainingState
    from medseg.training.fit import FitHooks

logger = logging.getLogger(__name__)


def train(run: Run, *, resume: bool) -> tuple[TrainingState, str]:
    """Train the network; its best weights (the last ones without validation) become the run's model.

    Returns:
        The final training state, and the signal that stopped training ("" if it came to its end).
    """
    from medseg.signals import stop_signals
    from medseg.training.fit import fit
    from medseg.training.objective import LABELLED, Supervised
    from medseg.training.trainee import Trainee

    config, settings = run.config, run.config.training
    build.set_up_torch(settings)
    cached = _cached(run)
    network = build.network(config)
    _warn_of_patch(run, network)
    with stop_signals() as asked, run.display.stage("training", settings.total_steps):
        trainee = Trainee.of(network, settings, run.device, spatial_dims=run.spec.view.spatial_dims, world=run.world)
        state = fit(
            trainee,
            Supervised(build.loss(config, cached).to(run.device)),
            {LABELLED: build.labelled(config, cached, run.world)},
            settings,
            _hooks(run, asked),
            checkpoints=run.folder.checkpoints,
            resume=resume,
            world=run.world,
        )
    if state.finished and run.world.is_main:
        _keep_model(run, trainee.evaluated, state)
    return state, "" if state.finished else (asked[0] if asked else "another process")


def _hooks(run: Run, asked: list[str]) -> FitHooks:
    """Validation, and what is shown and recorded of a training while it goes on."""
    from medseg.training.fit import FitHooks, progress

    settings, pictures = run.config.training, ValidationPictures(run)

    def on_step(state: TrainingState) -> None:
        best = "" if state.best_score is None else f", best Dice {state.best_score:.3f}"
        run.display.advance(f"{progress(settings, state):.0%}{best}", completed=state.step)

    def on_epoch(state: TrainingState) -> None:
        row = state.history[-1]
        epoch = int(row["epoch"])
        pictures.log(epoch)
        run.tracker.note(Metrics({k: v for k, v in row.items() if k not in ("epoch", "score")}, step=epoch))
        logger.info("epoch %d", epoch, extra={"facts": row})
        run.display.epoch(row, settings.epochs)

    validator = build.validator(run.splits.validation, run.spec, run.label_map_of, pictures.draw)
    return FitHooks(validator, on_step, on_epoch, lambda: asked[0] if asked else "")


def _cached(run: Run) -> list[CachedStudy]:
    from medseg.data.cache import cache_studies
    from medseg.training.distributed import from_main

    def cache() -> tuple[list[CachedStudy], dict[str, str]]:
        return cache_studies(
            run.splits.train,
            folder=run.config.data.cache_dir or run.config.runs_dir / "cache",
            preprocessing=run.config.preprocessing,
            label_map_of=run.label_map_of,
            on_done=run.display.advance,
        )

    with run.display.stage("preparing", len(run.splits.train)):
        prepared = from_main(run.world, cache() if run.world.is_main else None)  # the other processes wait for it
    usable, broken = cast("tuple[list[CachedStudy], dict[str, str]]", prepared)
    for study_id, why in broken.items():
        logger.error("%s: left out of training: %s", study_id, why)
    if broken:
        run.tracker.note(Tags({"medseg.left_out": ", ".join(broken)}))
    if not usable:
        first = next(iter(broken.values()))
        raise ManifestError(f"none of the {len(broken)} training studies can be used; the first: {first}")
    return usable


def _warn_of_patch(run: Run, network: torch.nn.Module) -> None:
    from medseg.networks import check_patch

    for warning in check_patch(network, run.config.data.patch_size):
        logger.warning("%s", warning)


def _keep_model(run: Run, network: torch.nn.Module, state: TrainingState) -> None:
    from medseg.model.folder import copy_model, save_model
    from medseg.training.checkpoint import load_checkpoint

    if run.config.training.keep == "best" and state.best_score is not None:
        tensors, _ = load_checkpoint(run.folder.checkpoints / "best.ckpt")
        network.load_state_dict(tensors["network"])
    locate = run.config.inference.locate
    if locate is not None and locate.model is not None:
        copy_model(locate.model, run.folder.model / build.COARSE_MODEL)
    save_model(run.folder.model, network, run.spec)

"""What training says of itself before it begins."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from medseg.config.schema import PipelineConfig
from medseg.runs.run import Run
from medseg.runs.train import train

Config = Callable[..., PipelineConfig]


def test_setting_that_does_not_suit_the_patch_is_warned_about(
    tiny_config: Config, begin: Callable[..., Run], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medseg import networks

    monkeypatch.setattr(networks, "check_patch", lambda network, patch_size: [f"rates beyond {patch_size}"])
    train(begin(tiny_config("training.epochs=1")), resume=False)
    assert "rates beyond (16, 16, 16)" in caplog.text


def test_the_model_is_kept_in_the_runs_folder(tiny_config: Config, begin: Callable[..., Run]) -> None:
    run = begin(tiny_config("training.epochs=1"))
    state, stopped = train(run, resume=False)
    assert (state.finished, stopped) == ("last epoch", "")
    assert sorted(path.name for path in run.folder.model.iterdir()) == ["model.json", "weights.safetensors"]

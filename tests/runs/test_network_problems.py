"""A network that cannot be built is reported before any data is read, with its key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from medseg.config.load import load_pipeline
from medseg.errors import ConfigError
from medseg.runs import network_problems as module
from medseg.runs.network_problems import network_problems


class TestNetworkProblems:
    def _problems(self, **network: Any) -> dict[str, str]:
        return {p.key: p.message for p in network_problems({"network": network, "data": {"mode": "patch"}})}

    def test_unknown_network_gets_the_nearest_name(self) -> None:
        problems = self._problems(name="segnett")
        assert list(problems) == ["network.name"]
        assert "'segnett'" in problems["network.name"]
        assert "did you mean 'segnet'?" in problems["network.name"]

    def test_unknown_options_get_their_keys_and_nearest_names(self) -> None:
        problems = self._problems(name="unet", chanels=[4, 8], num_res_unit=1)
        assert problems.keys() == {"network.chanels", "network.num_res_unit"}
        assert "channels" in problems["network.chanels"]
        assert "num_res_units" in problems["network.num_res_unit"]

    def test_wrong_values_get_the_options_key(self) -> None:
        problems = self._problems(name="unet", dropout=1.5, norm="batchnorm")
        assert problems.keys() == {"network.dropout", "network.norm"}

    def test_options_that_do_not_go_together_are_found_before_any_data_is_read(self) -> None:
        problems = self._problems(name="unet", channels=[4, 8, 16], strides=[2])
        assert "expected 2" in problems["network.strides"]

    def test_message_without_a_key_is_kept_whole(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*args: Any, **kwargs: Any) -> None:
            raise ConfigError("network unet: expected spatial_dims in (2,), found 3")

        monkeypatch.setattr(module, "_build_without_memory", refuse)
        assert self._problems(name="unet") == {"network": "network unet: expected spatial_dims in (2,), found 3"}

    def test_good_and_missing_networks_have_none(self) -> None:
        assert self._problems(name="unet", channels=[4, 8], strides=[2]) == {}
        for pipeline in ({}, {"network": None}, {"network": {"name": 3}}):
            assert network_problems(pipeline) == []

    def test_problem_stands_in_the_pipelines_report_with_its_line(self, tiny: Path) -> None:
        with pytest.raises(ConfigError, match=r"override 1 .*network\.dropuot.*dropout"):
            load_pipeline(tiny, ["network.dropuot=0.5"], checks=[network_problems])

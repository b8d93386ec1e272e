"""medseg/networks/__init__.py: lookup, options and their errors."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from medseg.errors import ConfigError
from medseg.networks import NETWORKS, build_network, check_options, check_patch, network_options

FRAGMENTS = Path(__file__).parents[2] / "configs" / "networks"


def test_the_table_is_read_without_torch():
    code = "import sys, medseg.networks; assert not {'torch', 'monai'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_unknown_network_names_the_nearest_and_all():
    with pytest.raises(
        ConfigError, match=r"unknown network 'deeplabv3pls'; did you mean 'deeplabv3plus'\?.*fcn, .*segnet"
    ):
        build_network("deeplabv3pls", 2, 1, 2)


def test_every_wrong_option_is_reported_at_once():
    with pytest.raises(ConfigError) as error:
        check_options("deeplabv3plus", {"output_strid": 8, "output_stride": 5, "encoder": "resnet20", "dropout": 1.5})
    lines = str(error.value).splitlines()
    assert len(lines) == 4
    assert any(
        "network.output_strid: unknown option" in line and "did you mean 'output_stride'" in line for line in lines
    )
    assert any("network.output_stride: " in line and "4, 8, 16 or 32" in line and "found 5" in line for line in lines)
    assert any("network.encoder: " in line and "'resnet101'" in line and "found 'resnet20'" in line for line in lines)
    assert any("network.dropout: " in line and "less than 1" in line for line in lines)


def test_build_network_checks_its_options():
    with pytest.raises(ConfigError, match="variant"):
        build_network("fcn", 2, 1, 2, variant="4s")


def test_yaml_lists_become_tuples_and_defaults_stay_absent():
    assert check_options("unet", {"strides": [[2, 2, 1], 2], "channels": [8, 16, 32]}) == {
        "strides": ((2, 2, 1), 2),
        "channels": (8, 16, 32),
    }


def test_options_are_the_keyword_arguments_of_the_network():
    assert network_options("segnet")["stages"].default == 5
    assert "num_classes" not in network_options("segnet")


def test_four_dimensions_are_refused():
    with pytest.raises(ConfigError, match="expected spatial_dims in"):
        build_network("fcn", 4, 1, 2)


def test_patches_are_checked_where_the_network_has_an_opinion():
    assert check_patch(torch.nn.Identity(), (8, 8)) == []
    with torch.device("meta"):
        network = build_network("deeplabv3plus", 3, 1, 2)
    assert len(check_patch(network, (64, 64, 64))) == 1


def test_every_fragment_builds():
    fragments = sorted(FRAGMENTS.glob("*.yaml"))
    assert {yaml.safe_load(path.read_text())["network"]["name"] for path in fragments} == set(NETWORKS)
    for path in fragments:
        assert path.read_text().startswith("# yaml-language-server: $schema=../fragment.schema.json\n")
        options = yaml.safe_load(path.read_text())["network"]
        for dims in (2, 3):
            with torch.device("meta"):
                build_network(options["name"], dims, 1, 2, **{k: v for k, v in options.items() if k != "name"})

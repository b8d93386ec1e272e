"""The rows themselves; what the networks promise is in test_contract.py."""

import re
import subprocess
import sys

import pytest
from torch import nn

from medseg.networks.catalogue import NETWORKS


@pytest.mark.parametrize("name", NETWORKS)
def test_a_row_names_a_module_with_its_builder_and_a_publication(name):
    info = NETWORKS[name]
    assert issubclass(info.load(), nn.Module)
    assert info.load().__module__ == f"medseg.networks.architectures.{info.module}"
    assert 2014 <= info.year <= 2026
    assert info.arxiv is None or re.fullmatch(r"\d{4}\.\d{4,5}", info.arxiv)
    assert set(info.dims) <= {2, 3}
    assert info.encoders


def test_reading_the_table_costs_no_torch():
    code = "import sys, medseg.networks.catalogue; assert not {'torch', 'monai'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

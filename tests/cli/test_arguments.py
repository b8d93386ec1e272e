"""The choices that the command line offers are those that the package takes."""

from __future__ import annotations

from typing import get_args

from medseg import types
from medseg.cli.arguments import Backend, Definition, Device, EmptyAs, Engine, Uncertainty
from medseg.evaluation import options
from medseg.inference.backends import BACKENDS
from medseg.inference.request import UncertaintyKind
from medseg.training.settings import Training
from tests.cli.ended import Medseg


def test_devices_are_those_of_a_pipeline() -> None:
    assert {d.value for d in Device} == set(get_args(Training.__pydantic_fields__["device"].annotation))


def test_backends_are_those_of_inference() -> None:
    assert [b.value for b in Backend] == list(BACKENDS)


def test_surfaces_and_empty_cases_are_those_of_an_evaluation() -> None:
    assert [d.value for d in Definition] == list(get_args(types.Definition))
    assert [e.value for e in EmptyAs] == list(get_args(options.EmptyAs))


def test_uncertainties_are_those_that_a_segmenter_can_be_asked_for() -> None:
    assert [u.value for u in Uncertainty] == list(get_args(UncertaintyKind))


def test_another_choice_is_refused_with_those_there_are(medseg: Medseg) -> None:
    ended = medseg("segment", "--model", "m", "--input", "i", "--output", "o", "--engine", "slurm")
    assert ended.code == 2
    assert all(f"'{engine.value}'" in ended.err for engine in Engine)

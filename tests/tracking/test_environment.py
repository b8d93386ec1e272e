import platform
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from medseg.tracking import environment, git_revision
from medseg.tracking.environment import installed_version


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    folder.mkdir()
    (folder / "code.py").write_text("1\n")
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.org"]
    for command in (["init", "-q"], ["add", "code.py"], [*identity, "commit", "-q", "-m", "first"]):
        subprocess.run(["git", "-C", str(folder), *command], check=True)
    return folder


def test_environment_names_versions_and_cpus() -> None:
    facts = environment()
    assert facts["python"] == platform.python_version()
    assert facts["torch"] == installed_version("torch")
    assert int(facts["cpus"]) >= 1
    assert all(isinstance(value, str) for value in facts.values())


def test_environment_does_not_name_the_machine() -> None:
    assert platform.node() not in " ".join(environment().values())


def test_environment_names_the_gpu_when_torch_sees_one(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = SimpleNamespace(is_available=lambda: True, get_device_name=lambda index: f"GPU {index}")
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    assert environment()["cuda_device"] == "GPU 0"


def test_a_distribution_that_is_not_installed_has_no_version() -> None:
    assert installed_version("not-a-distribution-of-ours") is None


def test_revision_of_a_clean_checkout_is_the_commit(checkout: Path) -> None:
    revision = git_revision(checkout)
    assert revision is not None
    assert len(revision) == 40
    assert set(revision) <= set("0123456789abcdef")


def test_revision_of_a_changed_checkout_is_dirty(checkout: Path) -> None:
    clean = git_revision(checkout)
    (checkout / "code.py").write_text("2\n")
    assert git_revision(checkout) == f"{clean}-dirty"


def test_an_untracked_folder_inside_a_checkout_has_no_revision(checkout: Path) -> None:
    (checkout / "venv").mkdir()
    (checkout / "venv" / "library.py").write_text("")
    assert git_revision(checkout / "venv") is None


def test_outside_a_checkout_there_is_no_revision(tmp_path: Path) -> None:
    assert git_revision(tmp_path) is None


def test_without_git_there_is_no_revision(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert git_revision(checkout) is None

import subprocess
import sys
from pathlib import Path

from medseg.tracking import NoTracker, Tracker
from medseg.tracking.records import Dataset, File, Metrics, Model, Params, Picture, Table, Tags

WITHOUT_MLFLOW = """
import sys
sys.modules["mlflow"] = None  # importing it fails
from pathlib import Path
from medseg.tracking import NoTracker, environment, ui_command
from medseg.tracking.records import Metrics
tracker = NoTracker()
tracker.note(Metrics({"train/loss": 1.0}, step=0))
tracker.finish("FINISHED")
environment()
ui_command(Path("runs"))
assert not {"torch", "monai", "pandas"} & set(sys.modules), "start-up must stay cheap"
print("fine")
"""


def test_no_tracker_takes_every_call_and_has_no_run(tmp_path: Path) -> None:
    tracker: Tracker = NoTracker()
    tracker.note(Params({"training": {"epochs": 3}}))
    tracker.note(Metrics({"train/loss": 1.0}, step=0))
    tracker.note(Tags({"a": "b"}))
    tracker.note(File(tmp_path / "absent"))
    tracker.note(Table([{"dice": 0.5}], "table.json"))
    tracker.note(Picture(tmp_path / "absent.png", "overlay", step=0))
    tracker.note(Dataset(tmp_path / "absent.csv", "digest", "training", n_studies=3))
    tracker.note(Model(tmp_path))
    tracker.finish("FAILED", "reason")
    assert tracker.run_id is None
    assert tracker.url is None
    assert list(tmp_path.iterdir()) == []


def test_tracking_none_works_without_mlflow_and_imports_nothing_heavy() -> None:
    answer = subprocess.run([sys.executable, "-c", WITHOUT_MLFLOW], capture_output=True, text=True, check=False)
    assert answer.stdout == "fine\n", answer.stderr

"""Recording runs in MLflow: parameters, metrics, artifacts, the model; and the way to look at them.

    tracker.py          what the training loop may call (``Tracker``), and ``NoTracker`` for ``tracking: none``
    store.py            ``open_tracker``: where runs are kept, the experiment, the new or continued run
    database.py         the SQLite file in the runs folder
    mlflow_tracker.py   ``MlflowTracker``: a Tracker that writes to one MLflow run
    model.py, pyfunc.py the model folder as an MLflow model that segments a NIfTI file
    registry.py         a recorded or registered model back as a model folder
    environment.py      what is worth knowing about the machine and the code of a run
    ui.py               the MLflow UI on the runs folder, and links into it

No other part of medseg imports mlflow, and here it is imported inside functions only (save in ``pyfunc.py``, a script
that MLflow executes): start-up stays cheap, and without mlflow everything but ``open_tracker`` works.
"""

from medseg.tracking.environment import environment, git_revision
from medseg.tracking.store import open_tracker
from medseg.tracking.tracker import NoTracker, Status, Tracker
from medseg.tracking.ui import latest_run_url, serve_ui, ui_command

__all__ = [
    "NoTracker",
    "Status",
    "Tracker",
    "environment",
    "git_revision",
    "latest_run_url",
    "open_tracker",
    "serve_ui",
    "ui_command",
]

"""Recording runs in MLflow: parameters, metrics, artifacts, the model; and the way to look at them.

    records.py          everything that can be recorded, a class a kind
    tracker.py          ``Tracker``, whose ``note`` takes them, and ``NoTracker`` for ``tracking: none``
    settings.py         the pipeline's section
    spooled.py          ``open_spooled``: the Tracker of a run, which writes into the run's folder and never waits
    spool.py            the records in the run's folder
    sender.py           from there into MLflow, in order and once; upload.py does it later
    system_metrics.py   how busy the machine is
    store.py            where runs are kept, the experiment, the new or continued run
    database.py         the SQLite file in the runs folder
    mlflow_tracker.py   ``MlflowTracker``: a Tracker that writes to one MLflow run
    model.py, pyfunc.py the model folder as an MLflow model that segments a NIfTI file
    register.py         a run's model as a version of a registered one, with its alias
    registry.py         a recorded or registered model back as a model folder
    environment.py      what is worth knowing about the machine and the code of a run
    ui.py, links.py     the MLflow UI on the runs folder, and links into it

No other part of medseg imports mlflow, and here it is imported inside functions only (save in ``pyfunc.py``, a script
that MLflow executes): start-up stays cheap, and without mlflow a run can still be recorded offline.
"""

from medseg.tracking.environment import environment, git_revision
from medseg.tracking.links import latest_run_url
from medseg.tracking.settings import TrackingSettings
from medseg.tracking.spooled import open_spooled
from medseg.tracking.store import open_tracker
from medseg.tracking.tracker import NoTracker, Tracker
from medseg.tracking.ui import newest_run_url, serve_ui, ui_command
from medseg.tracking.upload import upload

__all__ = [
    "NoTracker",
    "Tracker",
    "TrackingSettings",
    "environment",
    "git_revision",
    "latest_run_url",
    "newest_run_url",
    "open_spooled",
    "open_tracker",
    "serve_ui",
    "ui_command",
    "upload",
]

"""Sending what a run noted in its folder while its MLflow was away or was not to be asked."""

from __future__ import annotations

from pathlib import Path

from medseg.errors import TrackingError
from medseg.tracking.records import End
from medseg.tracking.sender import AwayError, Sender
from medseg.tracking.spool import Spool
from medseg.tracking.store import tracking_errors, without_password


def upload(run_folder: Path, uri: str | None = None) -> str:
    """Send everything that a store does not have yet: into the run's MLflow run, which is made if there is none.

    Metrics keep their times. What was sent before, in whole or in part, is not there twice. A run that was killed and
    says nothing of its end becomes KILLED, at the time of its last record; ``--resume`` still goes on with it.

    Args:
        run_folder: of a run that was recorded with ``tracking``.
        uri: tracking URI; None takes the pipeline's, else MLFLOW_TRACKING_URI, else SQLite in the runs folder.

    Returns:
        Address of the run's page.

    Raises:
        TrackingError: there is nothing to send, another process is sending, the store is away or is not MLflow's, or
            did not take all of it. What it took is noted: the next call goes on there.
    """
    spool = Spool(run_folder)
    records = list(spool.all())
    if not records:
        raise TrackingError(
            f"nothing to upload: expected {spool.path}; name the folder of a run whose pipeline has `tracking`"
        )
    opened = [record for record in records if record.call == "open"]
    uri = uri or (opened[-1].arguments.get("uri") if opened else None)
    with spool.sending():
        sender = Sender(spool, uri, run_folder.resolve().parents[1])
        shown = without_password(sender.uri)
        try:
            sender.send_given_up()
            while sender.send_some():
                pass
            last = records[-1]
            tracker = sender.open()
            if last.call != End.call:
                with tracking_errors(sender.uri):
                    tracker.note(End("KILLED", "the run's process was killed"), time_ms=last.time_ms)
        except AwayError as error:
            raise TrackingError(f"{run_folder}: not all was sent to {shown} ({error}); try again") from error
    if sender.refused:
        raise TrackingError(f"{run_folder}: {shown} did not take everything: {sender.refused}; the log says why")
    assert sender.url is not None
    return sender.url

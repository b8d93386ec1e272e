"""``medseg ui`` and ``medseg track-upload``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medseg.errors import TrackingError


def ui(
    runs: Annotated[Path, typer.Option(help="The runs folder.")] = Path("runs"),
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1.")] = 5000,
) -> None:
    """Serve the MLflow UI on the runs, on 127.0.0.1."""
    from medseg.tracking import serve_ui

    def ready(experiments: str, newest: str | None) -> None:
        if newest:
            print(f"newest run:  {newest}")
        print(f"all runs:    {experiments}\nCtrl-C ends it", flush=True)

    raise typer.Exit(serve_ui(runs, port=port, on_ready=ready))


def track_upload(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs.", metavar="RUN ...")],
    uri: Annotated[
        str | None, typer.Option(help="Tracking URI; the pipeline's by default.", show_default=False)
    ] = None,
) -> None:
    """Send what runs noted while their MLflow was away, or was not to be asked; again sends nothing twice."""
    from medseg.tracking import upload

    failed = []
    for run in runs:
        try:
            print(f"{run}: {upload(run, uri)}", flush=True)
        except TrackingError as error:  # the other runs are still sent
            failed.append(str(error))
    if failed:
        raise TrackingError("\n".join(failed))

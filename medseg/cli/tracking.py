"""``medseg ui``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def ui(
    runs: Annotated[Path, typer.Option(help="The runs folder.")] = Path("runs"),
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1.")] = 5000,
) -> None:
    """Serve the MLflow UI on the runs, on 127.0.0.1."""
    from medseg.tracking import serve_ui

    print(f"open http://127.0.0.1:{port}/#/experiments?workflowType=machine_learning", flush=True)
    raise typer.Exit(serve_ui(runs, port=port))

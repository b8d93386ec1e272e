"""The command line: argument parsing and printing only; every command is one call into the package.

arguments.py    what several commands take
training.py     run, train, check          segmenting.py   segment, tune-postprocessing
scoring.py      evaluate                   data.py         phantom, manifest
listing.py      networks, schema           tracking.py     ui, track-upload
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import Annotated

import typer

from medseg.cli.data import manifest, phantom
from medseg.cli.listing import networks, schema
from medseg.cli.scoring import compare, evaluate
from medseg.cli.segmenting import segment, tune_postprocessing
from medseg.cli.tracking import track_upload, ui
from medseg.cli.training import check, run, train
from medseg.errors import MedsegError
from medseg.version import __version__

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Train and run semantic segmentation of CT studies from one YAML.",
)

COMMANDS: dict[str, Callable[..., None]] = {
    "run": run,
    "train": train,
    "segment": segment,
    "evaluate": evaluate,
    "compare": compare,
    "tune-postprocessing": tune_postprocessing,
    "networks": networks,
    "phantom": phantom,
    "manifest": manifest,
    "check": check,
    "schema": schema,
    "ui": ui,
    "track-upload": track_upload,
}
"""Every command, in the order in which --help lists them."""

for _name, _command in COMMANDS.items():
    app.command(_name)(_command)


class _Terminal(logging.Handler):
    """Warnings and errors to whatever the standard error is now, so that they stand above a progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record."""
        print(self.format(record), file=sys.stderr)


def main() -> None:
    """Run the command line; a mistake of the user is one clear message and exit code 2, never a traceback."""
    logging.basicConfig(format="%(levelname)s: %(message)s", handlers=[_Terminal(logging.WARNING)])
    try:
        app()
    except (MedsegError, FloatingPointError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        print(f"error: {error.strerror or error}: {error.filename or ''}".rstrip(": "), file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt as interrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(143 if str(interrupt) == "SIGTERM" else 130)


def _version(show: bool) -> None:
    if show:
        print(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    return None

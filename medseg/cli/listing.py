"""``medseg networks`` and ``medseg schema``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from medseg.errors import ConfigError


def networks(
    size: Annotated[
        list[int] | None, typer.Argument(min=1, metavar="[I J [K]]", help="Voxels of --patch.", show_default=False)
    ] = None,
    patch: Annotated[
        bool, typer.Option("--patch", help="MACs and receptive field: --patch 128 128 64 in 3D, --patch 512 512 in 2D.")
    ] = False,
    name: Annotated[str | None, typer.Option(help="All about one network, its options too.")] = None,
    small: Annotated[bool, typer.Option("--small", help="The small forms, as tests run them.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with exact counts.")] = False,
    in_channels: Annotated[int, typer.Option(min=1, help="Channels of the image.")] = 1,
    num_classes: Annotated[int, typer.Option(min=2, help="Classes including background.")] = 2,
) -> None:
    """List the networks: paper, encoders, parameters and, for a patch, MACs and receptive field."""
    from rich.console import Console

    from medseg.networks.option_rows import option_rows
    from medseg.networks.table import network_row, table
    from medseg.reports.listings import network_document, network_page, network_table

    if patch != bool(size) or (size and len(size) not in (2, 3)):
        raise ConfigError(f"--patch: expected two or three sizes, as in --patch 128 128 64, found {size or 'none'}")
    with Console(stderr=True).status("counting"):
        if name:
            rows = [network_row(name, in_channels, num_classes, patch_size=size, small=small)]
        else:
            rows = table(in_channels, num_classes, patch_size=size, small=small)
    options = option_rows(name) if name else None
    if as_json:
        documents = [network_document(row, options) for row in rows]
        print(json.dumps(documents[0] if name else documents, indent=1))
    elif options is not None:
        Console().print(network_page(rows[0], options))
    else:
        Console().print(network_table(rows))


def schema(
    output: Annotated[Path, typer.Option(help="Folder for the two schema files.")] = Path("configs"),
) -> None:
    """Write the JSON Schemas that editors check pipeline YAMLs with."""
    from medseg.config.json_schema import write_schemas

    for path in write_schemas(output):
        print(path)

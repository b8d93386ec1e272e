"""Tables of what there is: networks (``medseg networks``) and studies (``medseg check``)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from rich import box
from rich.console import Group
from rich.markup import escape
from rich.table import Table

from medseg.networks.option_rows import OptionRow
from medseg.networks.published import Published
from medseg.networks.table import NetworkRow
from medseg.study.check import StudyFacts


def network_table(rows: Sequence[NetworkRow]) -> Table:
    """One row per network, in 100 columns: paper, encoder, parameters, peers and, where a patch was given, its costs.

    Long titles are cut; a wider terminal shows more of them.
    """
    patch_size = next((row.patch_size for row in rows if row.patch_size), None)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, expand=True, caption_justify="left")
    table.add_column("network", no_wrap=True)
    table.add_column("paper", no_wrap=True, overflow="ellipsis", ratio=1, min_width=12)
    for heading in ("year", "dims", "encoder"):
        table.add_column(heading, no_wrap=True)
    for heading in ("params\n2D, M", "params\n3D, M", "as\npeers", *(("GMAC", "sees") if patch_size else ())):
        table.add_column(heading, no_wrap=True, justify="right")
    for row in rows:
        more = f" +{len(row.encoders) - 1}" if len(row.encoders) > 1 else ""
        table.add_row(
            row.name,
            escape(row.paper),
            str(row.year),
            "/".join(map(str, row.dims)),
            row.encoder + more,
            *(_millions(count) for count in (row.parameters_2d, row.parameters_3d)),
            _as_peers(row),
            *((_giga(row.macs), _sees(row)) if patch_size else ()),
        )
    table.caption = escape(" ".join(_notes(patch_size)))
    return table


def network_page(row: NetworkRow, options: Sequence[OptionRow]) -> Group:
    """All about one network: the paper, the exact counts, what peers count, and its options."""
    facts = Table.grid(padding=(0, 2))
    facts.add_column(no_wrap=True)
    facts.add_column(overflow="fold")
    for key, value in _facts(row):
        facts.add_row(key, escape(value))
    listed = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    listed.add_column("option", no_wrap=True)
    listed.add_column("default", no_wrap=True)
    listed.add_column("takes", ratio=2)
    listed.add_column("meaning", ratio=3)
    for option in options:
        listed.add_row(*map(escape, (option.name, _yaml(option.default), option.takes, option.meaning)))
    return Group(facts, listed)


def network_document(row: NetworkRow, options: Sequence[OptionRow] | None = None) -> dict[str, Any]:
    """The same as plain data, for JSON: exact counts, the whole title, every published number beside ours."""
    document = asdict(row) | {"reproduced": row.reproduced}
    document["published"] = [asdict(p) | {"ours": p.counted, "reproduced": p.reproduced} for p in row.published]
    if options is not None:
        document["takes"] = [asdict(option) for option in options]
    return document


def _facts(row: NetworkRow) -> Iterator[tuple[str, str]]:
    yield "network", row.name
    yield "paper", f"{row.paper}, {row.year}" + (f", arXiv {row.arxiv}" if row.arxiv else "")
    yield "note", row.note
    yield "encoders", ", ".join(row.encoders)
    if row.options:
        yield "counted with", ", ".join(f"{key}: {_yaml(value)}" for key, value in row.options.items())
    for dims, count in ((2, row.parameters_2d), (3, row.parameters_3d)):
        if count is not None:
            yield f"parameters {dims}D", f"{count:,}"
    if row.patch_size:
        yield "patch", _by(row.patch_size)
        yield "GMAC", _giga(row.macs)
        yield "sees", _by(row.receptive_field or ())
    for number, peer in enumerate(row.published):
        yield "" if number else "peers", _peer(peer)


def _peer(peer: Published) -> str:
    options = "".join(f", {key}: {_yaml(value)}" for key, value in peer.options.items())
    built = f"{peer.dims}D, {peer.in_channels} channels, {peer.num_classes} classes{options}"
    ours = "" if peer.counted == peer.count else f" and ours {peer.counted:,}: {peer.why}"
    return f"{peer.count:,} {peer.source} ({built}){ours}"


def _as_peers(row: NetworkRow) -> str:
    if row.reproduced is None:
        return "-"
    same = sum(peer.reproduced for peer in row.published)
    return "yes" if row.reproduced else f"{same} of {len(row.published)}"


def _sees(row: NetworkRow) -> str:
    if row.receptive_field is None:
        return "-"
    return "whole" if row.receptive_field == row.patch_size else _by(row.receptive_field)


def _notes(patch_size: Sequence[int] | None) -> Iterator[str]:
    yield "encoder: the one counted, and how many others there are to choose from."
    yield "as peers: whether published parameter counts are ours to the unit; - where there are none."
    if patch_size:
        yield f"GMAC: 10^9 multiply-accumulates of a forward pass for a patch of {_by(patch_size)}."
        yield "sees: the part of that patch, in voxels, that the logits at its centre depend on."
    yield "All of one network: --name."


def _millions(count: int | None) -> str:
    return "-" if count is None else f"{count / 1e6:.2f}"


def _giga(macs: int | None) -> str:
    return "-" if macs is None else f"{macs / 1e9:.1f}"


def _by(numbers: Sequence[int]) -> str:
    return "x".join(map(str, numbers))


def _yaml(value: Any) -> str:
    """A value as a pipeline has it."""
    return value if isinstance(value, str) else json.dumps(value)


def facts_table(facts: Sequence[StudyFacts], class_names: Sequence[str]) -> Table:
    """One row per study: shape, spacing, orientation and the voxels of each class (- where no label was read)."""
    table = Table(box=box.SIMPLE_HEAD)
    for column in ("study", "shape", "spacing mm", "axes", *(f"{name} voxels" for name in class_names)):
        table.add_column(column, justify="right" if column.endswith("voxels") else "left")
    for study in facts:
        table.add_row(
            study.study_id,
            " x ".join(str(n) for n in study.shape),
            " x ".join(f"{mm:.3g}" for mm in study.spacing_mm),
            study.orientation,
            *(f"{study.label_voxels.get(name, 0):,}" if study.label_voxels else "-" for name in class_names),
        )
    return table

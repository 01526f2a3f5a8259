"""The tables of bad input of all public ops, their layers and losses."""

from __future__ import annotations

from hard_use import (
    bad_input_crf,
    bad_input_lattice,
    bad_input_layers,
    bad_input_maps,
    bad_input_paths,
    bad_input_unaries,
)
from hard_use.bad_input import Entry


def entries() -> list[Entry]:
    tables = (
        bad_input_crf,
        bad_input_lattice,
        bad_input_paths,
        bad_input_maps,
        bad_input_unaries,
        bad_input_layers,
    )
    return [entry for table in tables for entry in table.entries()]

"""Sizes of tables that several features read: what is proposed for one of them fits the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.planted_worlds import World, shop

from dssm_lightning.cli.commands.doctor import findings_of

ROWS = 1 << 17


def bag(width: int) -> dict[str, Any]:
    return {"class_path": "EmbeddingBag", "init_args": {"output_dim": width}}


def tied_world(folder: Path, fusion: str) -> World:
    world = shop(folder)
    world.feature("query")["num_buckets"] = world.feature("candidate")["num_buckets"] = ROWS
    encoders = {"query": {"text": bag(64)}, "candidate": {"title": bag(64), "brand": bag(64)}}
    encoders["candidate"]["brand"]["class_path"] = "Embedding"
    for side, made in encoders.items():
        world.tower(side).update(fusion=fusion, encoders=made)
    return world


def follow(world: World, lines: list[str]) -> None:
    """Write what the lines propose: entries of lists take the place of those with their name."""
    for sections in map(yaml.safe_load, lines):
        for side, (entry,) in sections.get("data", {}).items():
            names = [each["init_args"]["name"] for each in world.data[side]]
            world.data[side][names.index(entry["init_args"]["name"])] = entry
        for tower, made in sections.get("model", {}).items():
            for name, encoder in made["init_args"]["encoders"].items():
                world.model[tower]["init_args"]["encoders"][name]["init_args"].update(encoder["init_args"])


@pytest.mark.parametrize("fusion", ["Sum", "Concat"])
def test_what_is_proposed_for_a_tied_table_fits_both_sides(fusion: str, tmp_path: Path) -> None:
    world = tied_world(tmp_path, fusion)
    found = [each for each in findings_of([world.write()], batches=0) if each.check in ("table-size", "parameters")]
    sizes = [each for each in found if each.check == "table-size"]
    assert [each.where for each in sizes] == ["query.text", "candidate.title"]
    assert all(f"shared with {other}:" in each.found for each, other in zip(sizes, ("title", "text"), strict=True))
    follow(world, [each.change for each in found if each.change is not None])
    # 40 words and at most 400 numbers: the titles alone have 240 values, for which half of the rows would do
    assert world.feature("query")["num_buckets"] == world.feature("candidate")["num_buckets"] == 2048
    assert world.tower("query")["encoders"]["text"]["init_args"]["output_dim"] == 16
    again = findings_of([world.write()], batches=1)
    assert not [each for each in again if each.level == "error" or each.check in ("table-size", "model-refused")]

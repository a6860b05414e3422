"""A summary shows the model's real layers, sizes and output shapes."""

from __future__ import annotations

import io
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
from helpers.paths import EVERY_KIND
from rich.cells import cell_len
from rich.console import Console
from torch import Tensor, nn

from dssm_lightning.cli.commands.summary import summary
from dssm_lightning.cli.main import main
from dssm_lightning.data.datamodule import RetrievalDataModule
from dssm_lightning.data.sources import Synthetic
from dssm_lightning.data.splits import PerQuery
from dssm_lightning.features import Categorical, CategoricalList, Feature, HashedWords, History, Image, Numeric, Words
from dssm_lightning.reports.layer_shapes import BATCHES, output_shapes
from dssm_lightning.reports.model_summary import ModelSummary, describe, summary_table
from dssm_lightning.reports.network_diagram import compact, draw_network, network_svg
from dssm_lightning.reports.svg_canvas import fitting, text_width
from dssm_lightning.training.module import TwoTower
from dssm_lightning.utils.ragged import Ragged

QUERY = [
    CategoricalList(name="tags"),
    Numeric(name="size"),
    Words(name="words", column="text"),
    History(name="history", of="candidate_id"),
]
CANDIDATE = [Categorical(name="candidate_id"), Image(name="picture", size=32)]


def tower(**options: Any) -> dict[str, Any]:
    return {"class_path": "Tower", "init_args": {"fusion": "Concat", **options}}


def table(width: int, kind: str = "EmbeddingBag") -> dict[str, Any]:
    return {"class_path": kind, "init_args": {"output_dim": width}}


def build(folder: Path, query: list[Feature], candidate: list[Feature], **options: Any) -> tuple[TwoTower, Any]:
    data = RetrievalDataModule(
        Synthetic(num_queries=40, num_candidates=30), query, candidate, PerQuery(0.2), cache_dir=str(folder)
    )
    settings = {"query_tower": tower(output_dim=6), "candidate_tower": tower(output_dim=6), **options}
    model = TwoTower(scorer="Dot", loss="SampledSoftmax", optimizer=torch.optim.Adam, **settings)  # type: ignore[arg-type]  # plain settings
    model.build(data.schemas)
    return model, data


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[TwoTower, RetrievalDataModule]:
    encoders = {
        "tags": table(5),
        "words": {"class_path": "BiLSTM", "init_args": {"embedding_dim": 3, "hidden_dim": 4}},
        "history": table(7),
    }
    return build(
        tmp_path_factory.mktemp("cache"),
        QUERY,
        CANDIDATE,
        query_tower=tower(hidden_dims=[9, 8], output_dim=6, norm="layer", dropout=0.1, encoders=encoders),
        candidate_tower=tower(output_dim=6, bias=True, encoders={"candidate_id": table(7, "Embedding")}),
        tied_embeddings={"history": "candidate_id"},
    )


@pytest.fixture(scope="module")
def described(small: tuple[TwoTower, RetrievalDataModule]) -> ModelSummary:
    model, data = small
    return describe(model, model.loss, data)


def test_counts_each_parameter_of_the_model_once(
    small: tuple[TwoTower, RetrievalDataModule], described: ModelSummary
) -> None:
    model, _ = small
    assert described.parameters == sum(p.numel() for p in model.parameters())
    shared = model.query_tower.encoders["history"].table.weight.numel()
    # the scorer's scale is the one parameter of neither tower, and is not learnt
    assert described.parameters == described.query.parameters + described.candidate.parameters + 1 - shared
    assert described.frozen == 1
    assert described.query.parameters == sum(p.numel() for p in model.query_tower.parameters())


def test_branches_and_layers_add_up_to_their_tower(described: ModelSummary) -> None:
    for side in (described.query, described.candidate):
        parts = [*(branch.encoder for branch in side.branches), side.fusion, *side.layers]
        parts += [side.bias] if side.bias is not None else []
        assert sum(part.parameters for part in parts) == side.parameters


def test_nested_layers_add_up_to_their_encoder(described: ModelSummary) -> None:
    picture = described.candidate.branches[1].encoder
    assert [layer.name for layer in picture.layers] == ["no_picture", "convolutions", "output"]
    assert sum(layer.parameters for layer in picture.layers) == picture.parameters


def test_shapes_of_branches_layers_and_embeddings(described: ModelSummary) -> None:
    query = described.query
    assert {branch.feature.name: branch.encoder.shape for branch in query.branches} == {
        "tags": ("B", 5),
        "size": ("B", 1),
        "words": ("B", 8),
        "history": ("B", 7),
    }
    assert query.fusion.shape == ("B", 5 + 1 + 8 + 7)
    assert [(layer.name, layer.shape) for layer in query.layers] == [
        ("hidden 1", ("B", 9)),
        ("hidden 2", ("B", 8)),
        ("output", ("B", 6)),
    ]
    assert query.layers[0].kind == "Dropout 0.1 · Linear 21 → 9 · LayerNorm · ReLU"
    assert query.shape == ("B", 6)
    assert described.candidate.shape == ("B", 7)  # with the bias


def test_sizes_inside_encoders(described: ModelSummary) -> None:
    words = {layer.name: layer for layer in described.query.branches[2].encoder.layers}
    assert words["table"].shape == ("B", 4, 3)  # the synthetic texts have four words each
    assert words["lstm"].shape is None  # several tensors
    convolution = described.candidate.branches[1].encoder.layers[1].layers[0]
    assert convolution.kind == "Conv2d 4 → 16, 4 × 4"
    assert convolution.shape == ("B", 16, 8, 8)


def test_sizes_that_vary_between_batches_differ_from_the_batch_size() -> None:
    class Repeat(nn.Module):
        """Rows as sequences with the length of the longest row of the batch."""

        def forward(self, column: Ragged) -> Tensor:
            return torch.zeros(len(column.lengths), int(column.lengths.max()), 3)

    class Part(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.repeat = Repeat()

        def forward(self, features: dict[str, Ragged]) -> Tensor:
            return self.repeat(features["words"]).sum(1)

    def batch(rows: int, longest: int) -> dict[str, Ragged]:
        lengths = torch.tensor([longest] + [1] * (rows - 1))
        offsets = nn.functional.pad(lengths.cumsum(0), (1, 0))
        return {"words": Ragged(torch.zeros(int(lengths.sum())), offsets)}

    part = Part()
    shapes = output_shapes(part, [batch(BATCHES[0], 4), batch(BATCHES[1], 9)])
    assert shapes == {part: ("B", 3), part.repeat: ("B", "L", 3)}


def test_shared_tables_name_each_other(described: ModelSummary) -> None:
    assert [branch.shares for branch in described.query.branches] == [[], [], [], ["candidate.candidate_id"]]
    assert [branch.shares for branch in described.candidate.branches] == [["query.history"], []]


def test_frozen_parameters_are_noted(tmp_path: Path) -> None:
    model, data = build(tmp_path, [CategoricalList(name="tags")], [CategoricalList(name="tags")])
    weight = model.query_tower.encoders["tags"].table.weight.requires_grad_(False)
    found = describe(model, model.loss, data)
    assert found.query.frozen == weight.numel() == found.query.branches[0].encoder.frozen
    assert "frozen" in printed(found)


def test_describing_leaves_the_model_as_it_was(small: tuple[TwoTower, RetrievalDataModule]) -> None:
    model, data = small
    before = {key: value.clone() for key, value in model.state_dict().items()}
    model.train()
    describe(model, model.loss, data)
    assert model.query_tower.training
    assert not any(module._forward_hooks for module in model.modules())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_one_tower_for_both_sides(tmp_path: Path) -> None:
    feature: list[Feature] = [HashedWords(name="text", num_buckets=50)]
    model, data = build(tmp_path, feature, feature, candidate_tower=None)
    found = describe(model, model.loss, data)
    assert found.one_tower
    assert found.parameters == found.query.parameters + 1  # the scorer's scale
    assert "the same tower" in printed(found)
    assert "same weights" in network_svg(found)


def printed(summary: ModelSummary, depth: int = 2) -> str:
    console = Console(width=80, file=io.StringIO())
    console.print(summary_table(summary, depth))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_table_has_every_branch(described: ModelSummary) -> None:
    text = printed(described)
    for word in ("tags", "CategoricalList →", "shared: query.history", f"{described.parameters:,}"):
        assert word in text
    assert "Conv2d" in text
    assert "Conv2d" not in printed(described, depth=1)


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_the_table_fits_a_terminal_and_breaks_no_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], depth: int
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    found = main(["summary", "--config", str(EVERY_KIND), "--depth", str(depth)])
    *lines, legend = capsys.readouterr().out.rstrip().splitlines()
    assert max(map(cell_len, [*lines, legend])) <= 80
    columns = summary_table(found, depth).columns
    cells = [cell for column in columns for cell in (column.header, *column.cells)]
    words = Counter(word for cell in cells for word in str(cell).split())
    assert Counter(word for line in lines for word in line.split() if set(word) != {"─"}) == words


def test_a_long_name_leaves_the_other_columns_their_place(described: ModelSummary) -> None:
    first, *others = described.query.branches
    encoder = first.encoder._replace(name="a_feature_" * 7)
    query = described.query._replace(branches=[first._replace(encoder=encoder), *others])
    text = printed(described._replace(query=query))
    [line] = [line for line in text.splitlines() if "a_feature" in line]
    name, *rest = line.split()
    assert name.endswith("…")
    assert (rest[:2], rest[-3:]) == (["CategoricalList", "→"], ["(B,", "5)", f"{encoder.parameters:,}"])
    assert max(map(cell_len, text.splitlines())) <= 80


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter() if element.text]


def test_the_drawing_names_every_feature(described: ModelSummary, tmp_path: Path) -> None:
    draw_network(described, tmp_path / "deep" / "net.svg")
    found = texts((tmp_path / "deep" / "net.svg").read_text(encoding="utf-8"))
    for side in (described.query, described.candidate):
        for branch in side.branches:
            assert branch.feature.name in found
            assert type(branch.feature).__name__ in found
    assert "liked candidate_id" in found
    assert "shared table" in found
    assert "(B, 7) with bias" in found


@pytest.mark.parametrize("number", [1, 12])
def test_boxes_of_a_row_do_not_overlap(number: int, tmp_path: Path) -> None:
    features = [CategoricalList(name=f"tags {'x' * 5 * n}", column="tags") for n in range(number)]
    model, data = build(tmp_path, [*features, Words(name="text")], [Words(name="text")])
    svg = ElementTree.fromstring(network_svg(describe(model, model.loss, data)))
    boxes = [e for e in svg.iter("{http://www.w3.org/2000/svg}rect") if e.get("rx") == "8"]
    rows: dict[str, list[tuple[float, float]]] = {}
    for box in boxes:
        left, width = float(box.get("x", "")), float(box.get("width", ""))
        rows.setdefault(box.get("y", ""), []).append((left, left + width))
    for row in rows.values():
        row.sort()
        assert all(right <= left for (_, right), (left, _) in pairwise(row))
        assert row[0][0] >= 0
        assert row[-1][1] <= float(svg.get("width", ""))


def test_neighbours_that_read_one_column_share_it(tmp_path: Path) -> None:
    query = [Words(name="a", column="text"), Words(name="b", column="text"), CategoricalList(name="tags")]
    model, data = build(tmp_path, query, [Words(name="c", column="text")])
    assert texts(network_svg(describe(model, model.loss, data))).count("text") == 2  # one on each side


def test_markup_and_control_characters_in_names_are_harmless(described: ModelSummary) -> None:
    branch = described.query.branches[0]
    odd = branch._replace(feature=Categorical(name="odd", column='a < b & "c" [/red] \x07'))
    changed = described._replace(query=described.query._replace(branches=[odd, *described.query.branches[1:]]))
    assert any('a < b & "c"' in text for text in texts(network_svg(changed)))
    assert printed(changed)


def test_long_texts_are_cut_and_kept_for_hovering() -> None:
    assert fitting("short", 100, 14) == "short"
    cut = fitting("a name that is much too long", 80, 14)
    assert cut.endswith("…")
    assert text_width(cut, 14) <= 80
    assert text_width("日本", 10) == 20


@pytest.mark.parametrize(
    ("count", "text"), [(352, "352"), (65_536, "65.5 k"), (19_660_800, "19.7 M"), (2_000_000_000, "2 G")]
)
def test_compact_numbers(count: int, text: str) -> None:
    assert compact(count) == text


def test_summary_needs_one_of_config_and_checkpoint() -> None:
    with pytest.raises(ValueError, match=r"--config.*--ckpt_path"):
        summary()


def test_summary_refuses_another_ending_before_any_work() -> None:
    with pytest.raises(ValueError, match=r"--plot net\.pdf.*\.svg"):
        summary(["missing.yaml"], plot="net.pdf")


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    config = EVERY_KIND
    monkeypatch.chdir(tmp_path)
    found = main(["summary", "--config", str(config), "--plot", "net.svg", "--depth", "1"])
    assert isinstance(found, ModelSummary)
    assert len(found.query.branches) == 9
    assert "text_trigrams" in capsys.readouterr().out
    assert "text_trigrams" in texts((tmp_path / "net.svg").read_text(encoding="utf-8"))

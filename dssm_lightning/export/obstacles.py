"""Find the part of a tower that ONNX cannot hold, and say what to do."""

from __future__ import annotations

from torch import Tensor, nn

from dssm_lightning.export.flat_columns import unflatten
from dssm_lightning.export.tracing import TraceError, trace
from dssm_lightning.models.encoders import Dense
from dssm_lightning.models.tower import encode
from dssm_lightning.models.two_tower import TwoTowerModel
from dssm_lightning.retrieval.bundle.programs import flatten
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.ragged import Column, Features


class _OneEncoder(nn.Module):
    def __init__(self, encoder: nn.Module, name: str, column: Column) -> None:
        super().__init__()
        self.encoder, self.template = encoder, {name: column}

    def forward(self, tensors: list[Tensor]) -> Tensor:
        """The parts of one column -> (B, d)."""
        (column,) = unflatten(self.template, tensors).values()
        return encode(self.encoder, column)


class _Fusion(nn.Module):
    def __init__(self, fusion: nn.Module) -> None:
        super().__init__()
        self.fusion = fusion

    def forward(self, tensors: list[Tensor]) -> Tensor:
        """[(B, d_1), (B, d_2), …] -> (B, d)."""
        fused: Tensor = self.fusion(tensors)
        return fused


def tower_obstacle(model: TwoTowerModel, side: str, example: Features, error: TraceError) -> UserError:
    """Return the error that names the encoder, the fusion or the tower that cannot be exported.

    Args:
        model: the model.
        side: "query" or "candidate".
        example: encoded columns of this side.
        error: why the whole tower cannot be exported.
    """
    tower = model.towers[side]
    columns = model.embed_histories(example) if side == "query" else example
    for name, encoder in tower.encoders.items():
        inputs = flatten({name: columns[name]})
        reason = _obstacle(_OneEncoder(encoder, name, columns[name]), inputs)
        if reason is not None:
            return UserError(
                f"export: {_kind(encoder)}, the encoder of {side} feature {name!r}, cannot become an ONNX program "
                f"({reason}); use an encoder of the package, or let its forward use other operations where "
                "torch.compiler.is_exporting() is true"
            )
    encodings = {name: encode(encoder, columns[name]) for name, encoder in tower.encoders.items()}
    reason = _obstacle(_Fusion(tower.fusion), {k: v for k, v in encodings.items() if k not in tower.bypass})
    if reason is not None:
        kind = type(tower.fusion).__name__
        return UserError(
            f"export: {kind}, the fusion of the {side} tower, cannot become an ONNX program ({reason}); use another "
            "fusion, or let its forward use other operations where torch.compiler.is_exporting() is true"
        )
    return UserError(
        f"export: the {side} tower cannot become an ONNX program ({error}), although each of its encoders and its "
        "fusion can; choose another activation or norm"
    )


def _obstacle(module: nn.Module, inputs: dict[str, Tensor]) -> str | None:
    try:
        trace(module.eval(), inputs, "encoding", {name: [0] for name in inputs})
    except TraceError as error:
        return str(error)
    return None


def _kind(encoder: nn.Module) -> str:
    inner = f" of {_kind(encoder.encoder)}" if isinstance(encoder, Dense) else ""
    return f"{type(encoder).__name__}{inner}"

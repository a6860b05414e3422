"""One side's model: encoders -> fusion -> hidden layers -> output -> normalise. Its output is what the index stores."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dssm_lightning.features.schema import Schema
from dssm_lightning.models.activations import activation_layer
from dssm_lightning.models.encoders import Dense, Encoder, EncoderFactory, default_encoder
from dssm_lightning.models.fusion import FusionFactory
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.ragged import Column, Features, Prefixes
from dssm_lightning.utils.suggestions import nearest_names


class Tower(nn.Module):
    """Features (B, …) -> embedding (B, D), which is output_dim, the widths of ``bypass`` and one more for ``bias``.

    Each feature is encoded, the encodings are fused, and an MLP follows: ``dropout`` before every linear layer (and on
    the fused encodings where there is none), then ``norm`` and ``activation`` after each hidden one.

    Args:
        schema: the fitted features of this side.
        fusion: how the encodings become one vector.
        hidden_dims: widths of the hidden layers; none by default.
        output_dim: width of the embedding; None = what fusion or the last hidden layer gives is the embedding.
        encoders: an encoder for a feature by its name; a feature that is not named gets the default of its kind.
        activation: name of a ``torch.nn`` class, after each hidden layer.
        output_activation: name of a ``torch.nn`` class, after the output layer; None for none.
        dropout: probability in [0, 1).
        norm: normalisation after each hidden linear layer. "batch" mixes the rows of a batch, and is refused where
            batches are encoded in chunks or on several ranks.
        initialization: name of a ``torch.nn.init`` function without its underscore (``xavier_uniform``) for the
            linear layers' weights, those of ``Dense`` encoders too; biases then start at zero. None = torch's own.
        normalize: scale the embedding to length 1, so that a dot product is a cosine.
        num_heads: normalise so many equal parts of the embedding, each for itself: the heads of ``MultiHeadDot``.
        bias: append a learnt scalar of the fused features after normalising. The other side then holds a 1 in its
            place, so that one dot product adds it: a candidate's own popularity, or how readily a query likes anything.
            A query's changes no ranking, but belongs to a score that is read as log-odds (``BinaryCrossEntropy``) or
            compared between queries (``auroc``).
        bypass: features that neither fusion nor layers see. Their encodings are appended as they are, so that a dot
            product adds theirs: a second pair of tables beside the towers (what follows what, as in a factorised Markov
            chain), or :class:`~dssm_lightning.models.encoders.Codes`. The sides name as many, of the same widths.

        feature_dropout: probability with which training leaves out a feature's whole encoding, for each row and feature
            by itself, so that each must say what it can without the others: a picture beside a name that says more
            (ModDrop, Neverova et al. 2015, arXiv:1501.00102).

    Raises:
        ValueError: an encoder for an unknown feature; ``bypass`` names an unknown feature, or every feature; a layer of
            no width; an unknown name of an activation or initialisation; a feature dropout outside [0, 1); heads that
            do not divide the embedding, or with ``bypass``.
    """

    def __init__(
        self,
        schema: Schema,
        fusion: FusionFactory,
        hidden_dims: list[int] | None = None,
        output_dim: int | None = None,
        encoders: dict[str, EncoderFactory] | None = None,
        activation: str = "ReLU",
        output_activation: str | None = None,
        dropout: float = 0.0,
        norm: Literal["layer", "batch"] | None = None,
        initialization: str | None = None,
        normalize: bool = True,
        bias: bool = False,
        num_heads: int = 1,
        bypass: list[str] | None = None,
        feature_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if not 0 <= feature_dropout < 1:
            raise UserError(f"feature_dropout must lie in [0, 1), found {feature_dropout}")
        if any(each is not None and each < 1 for each in (*(hidden_dims or []), output_dim)):
            raise UserError(f"hidden_dims {hidden_dims or []}, output_dim {output_dim}: a layer is at least 1 wide")
        self.feature_dropout = feature_dropout
        chosen, self.bypass = encoders or {}, list(bypass or [])
        _check_names(schema, chosen, self.bypass)
        factories = {f.name: chosen[f.name] if f.name in chosen else default_encoder(f) for f in schema}
        self.encoders = nn.ModuleDict({f.name: factories[f.name](f) for f in schema})
        widths = {name: _width(encoder) for name, encoder in self.encoders.items()}
        self.bypass_dims = [widths.pop(name) for name in self.bypass]
        self.fusion = fusion(list(widths.values()))
        self.hidden, width = _hidden_layers(self.fusion.output_dim, hidden_dims or [], activation, dropout, norm)
        self.output, width = _output_layers(width, output_dim, output_activation, dropout)
        self.bias = nn.Linear(self.fusion.output_dim, 1) if bias else None
        _check_heads(num_heads, width, self.bypass)
        self.normalize, self.num_heads = normalize, num_heads
        self.output_dim = width + sum(self.bypass_dims)
        if initialization is not None:
            dense = [encoder.layers for encoder in self.encoders.values() if isinstance(encoder, Dense)]
            _initialize([*dense, self.hidden, self.output], initialization)

    def forward(self, features: Features) -> Tensor:
        """(B, …) -> (B, D) float32."""
        encodings = {name: encode(encoder, features[name]) for name, encoder in self.encoders.items()}
        bypass = [encodings.pop(name).float() for name in self.bypass]
        if self.training and self.feature_dropout:
            encodings = {name: _left_out(encoding, self.feature_dropout) for name, encoding in encodings.items()}
        fused = self.fusion(list(encodings.values()))
        embedding: Tensor = self.output(self.hidden(fused)).float()
        with torch.autocast(embedding.device.type, enabled=False):  # bf16 would merge near scores into ties
            if self.normalize:
                width = embedding.shape[1]
                heads = embedding.reshape(len(embedding), self.num_heads, width // self.num_heads)  # also of no row
                embedding = F.normalize(heads, dim=-1).flatten(1)  # (B, output_dim)
            bias = [] if self.bias is None else [self.bias(fused.float())]
            return torch.cat([embedding, *bypass, *bias], dim=-1)


TowerFactory: TypeAlias = Callable[[Schema], Tower]  # below the class: who parses plain values needs the class itself


def encode(encoder: nn.Module, column: Column) -> Tensor:
    """(B, …) -> (B, d), a history in the form that the encoder reads."""
    assert isinstance(encoder, Encoder)
    expand = isinstance(column, Prefixes) and not encoder.reads_prefixes
    encoding: Tensor = encoder(column.expand() if expand else column)  # type: ignore[union-attr]
    return encoding


def _left_out(encoding: Tensor, share: float) -> Tensor:
    """(B, d) with a share of the rows at 0, the others larger by as much."""
    return encoding * F.dropout(encoding.new_ones(len(encoding), 1), share)


def _width(encoder: nn.Module) -> int:
    assert isinstance(encoder, Encoder)
    return encoder.output_dim


def _hidden_layers(
    width: int, hidden_dims: list[int], activation: str, dropout: float, norm: str | None
) -> tuple[nn.Sequential, int]:
    norms = {None: nn.Identity, "layer": nn.LayerNorm, "batch": nn.BatchNorm1d}
    layers = nn.Sequential()
    for hidden_dim in hidden_dims:
        layers.append(nn.Dropout(dropout))
        layers.append(nn.Linear(width, hidden_dim))
        layers.append(norms[norm](hidden_dim))
        layers.append(activation_layer(activation))
        width = hidden_dim
    return layers, width


def _output_layers(
    width: int, output_dim: int | None, activation: str | None, dropout: float
) -> tuple[nn.Sequential, int]:
    layers = nn.Sequential(nn.Dropout(dropout))
    if output_dim is not None:
        layers.append(nn.Linear(width, output_dim))
    if activation is not None:
        layers.append(activation_layer(activation))
    return layers, width if output_dim is None else output_dim


def _check_names(schema: Schema, chosen: Iterable[str], bypass: list[str]) -> None:
    for what, names in (("encoders are given for", chosen), ("bypass names", bypass)):
        if unknown := sorted(set(names) - set(schema.names)):
            raise UserError(f"{what} unknown features {unknown}; this side's features: {schema.names}")
    if not set(schema.names) - set(bypass):
        raise UserError(f"bypass names all of this side's features, {schema.names}; at least one is for the tower")


def _check_heads(num_heads: int, width: int, bypass: list[str]) -> None:
    if num_heads < 1 or width % num_heads:
        raise UserError(f"num_heads is {num_heads}; it must divide the embedding, which is {width} wide")
    if num_heads > 1 and bypass:
        raise UserError(f"bypass {bypass}: heads divide the whole embedding, so nothing can stand beside them")


def _initialize(parts: list[nn.Sequential], name: str) -> None:
    known = {key[:-1]: value for key, value in vars(nn.init).items() if key.endswith("_") and not key.startswith("_")}
    if name not in known:
        raise UserError(f"unknown initialization {name!r}; nearest in torch.nn.init: {nearest_names(name, known)}")
    for layer in (layer for part in parts for layer in part if isinstance(layer, nn.Linear)):
        known[name](layer.weight)
        nn.init.zeros_(layer.bias)

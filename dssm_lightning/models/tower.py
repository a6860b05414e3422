"""The tower, one side's model: encoders -> fusion -> hidden layers -> output -> normalise."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal, TypeAlias, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dssm_lightning.features.schema import Schema
from dssm_lightning.models.activations import activation_layer
from dssm_lightning.models.encoders import Dense, Encoder, EncoderFactory, default_encoder
from dssm_lightning.models.fusion import FusionFactory
from dssm_lightning.utils.errors import UserError, require_at_least, require_choice, require_fraction
from dssm_lightning.utils.ragged import Column, Features, Prefixes
from dssm_lightning.utils.suggestions import did_you_mean, nearest_names
from dssm_lightning.utils.unit_rows import unit_rows

Norm = Literal["layer", "batch"]
Vectors = Literal["int8", "binary"]


class Tower(nn.Module):
    """One side's model: features (B, …) -> embedding (B, D).

    Each feature is encoded, and a fusion combines the encodings. An MLP follows: ``dropout`` before every linear layer
    (without any layer, after the fusion), then ``norm`` and ``activation`` after each hidden layer. D is the sum of
    ``output_dim``, the widths of the ``bypass`` features, and 1 if there is a ``bias``.

    Args:
        schema: the fitted features of this side.
        fusion: function input_dims -> fusion, which combines the encodings.

        encoders: feature name -> encoder; a feature without an entry gets the default encoder of its kind.
        feature_dropout: probability with which training drops the whole encoding of a feature, for each row and feature
            independently, so that the model learns to use each feature without the others, for example a picture
            without the more informative name (ModDrop, Neverova et al. 2015, arXiv:1501.00102).
        bypass: features that skip fusion and layers. Their encodings are appended to the embedding, so that the dot
            product of both sides adds the dot products of these encodings. Uses: a second pair of tables beside the
            towers (which candidate follows which, as in a factorised Markov chain), or
            :class:`~dssm_lightning.models.encoders.Codes`. Both sides must have equally many, of equal widths.

        hidden_dims: widths of the hidden layers; None = no hidden layers.
        output_dim: width of the output layer; None = no output layer.
        activation: name of a ``torch.nn`` class, after each hidden layer.
        output_activation: name of a ``torch.nn`` class, after the output layer; None = no activation.
        dropout: probability in [0, 1).
        norm: normalisation after each hidden linear layer; None = none. "batch" mixes the rows of a batch, and is
            refused if batches are encoded in chunks or by several processes.
        initialization: name of a ``torch.nn.init`` function without its final underscore (``xavier_uniform``), for the
            weights of the linear layers, including those of ``Dense`` encoders; biases then start at zero. None =
            torch's default.

        normalize: scale the embedding to length 1, so that a dot product is a cosine.
        num_heads: normalise this number of equal parts of the embedding, each to length 1: the heads of
            ``MultiHeadDot``.
        bias: append a learnable scalar, a linear function of the fused features, after normalising. The other side's
            embedding has a 1 at this place, so that the dot product adds the bias: a candidate's popularity, or how
            often a query likes any candidate. A query's bias changes no ranking, but belongs to log-odds
            (``BinaryCrossEntropy``) and to scores that are compared between queries (``auroc``).
        vectors: ``int8``: candidates' embeddings are rounded as an int8 index stores them
            (:func:`~dssm_lightning.models.stored_vectors.round_to_int8`), in training, evaluation and export.
            ``binary``: the same, and ``validate``, ``test`` and ``export`` search them by bits first. None = float32. A
            shared tower rounds candidates only.

    Raises:
        UserError: ``encoders`` or ``bypass`` names an unknown feature; ``bypass`` names every feature; a width is below
            1; an activation, norm, initialisation or precision is unknown; a dropout is outside [0, 1); ``num_heads``
            does not divide the embedding, or is used with ``bypass``.

    Example:
        >>> import torch
        >>> from dssm_lightning import Tower
        >>> from dssm_lightning.features import Vector
        >>> from dssm_lightning.features.schema import Schema
        >>> from dssm_lightning.models.fusion import Concat
        >>> schema = Schema((Vector(name="picture", length=4), Vector(name="text", length=6)))
        >>> tower = Tower(schema, Concat, hidden_dims=[16], output_dim=8)
        >>> embedding = tower({"picture": torch.randn(3, 4), "text": torch.randn(3, 6)})
        >>> embedding.shape, [round(length, 3) for length in embedding.norm(dim=1).tolist()]
        (torch.Size([3, 8]), [1.0, 1.0, 1.0])
    """

    def __init__(
        self,
        schema: Schema,
        fusion: FusionFactory,
        *,
        # features
        encoders: dict[str, EncoderFactory] | None = None,
        feature_dropout: float = 0.0,
        bypass: list[str] | None = None,
        # layers
        hidden_dims: list[int] | None = None,
        output_dim: int | None = None,
        activation: str = "ReLU",
        output_activation: str | None = None,
        dropout: float = 0.0,
        norm: Norm | None = None,
        initialization: str | None = None,
        # embedding
        normalize: bool = True,
        num_heads: int = 1,
        bias: bool = False,
        vectors: Vectors | None = None,
    ) -> None:
        super().__init__()
        _check_layers(hidden_dims or [], output_dim, dropout, norm)
        require_fraction("Tower", "feature_dropout", feature_dropout)
        self.feature_dropout = feature_dropout
        named, self.bypass = encoders or {}, list(bypass or [])
        _check_names(schema, named, self.bypass)
        factories = {f.name: named[f.name] if f.name in named else default_encoder(f) for f in schema}
        self.encoders = nn.ModuleDict({f.name: factories[f.name](f) for f in schema})
        widths = {name: _width(encoder) for name, encoder in self.encoders.items()}
        self.bypass_dims = [widths.pop(name) for name in self.bypass]
        self.fusion = fusion(list(widths.values()))
        self.hidden, width = _hidden_layers(self.fusion.output_dim, hidden_dims or [], activation, dropout, norm)
        self.output, width = _output_layers(width, output_dim, output_activation, dropout)
        self.bias = nn.Linear(self.fusion.output_dim, 1) if bias else None
        _check_heads(num_heads, width, self.bypass)
        if vectors is not None:
            require_choice("Tower", "vectors", vectors, get_args(Vectors))
        self.normalize, self.num_heads, self.vectors = normalize, num_heads, vectors
        self.output_dim = width + sum(self.bypass_dims)
        if initialization is not None:
            dense = [encoder.layers for encoder in self.encoders.values() if isinstance(encoder, Dense)]
            _initialize([*dense, self.hidden, self.output], initialization)

    def forward(self, features: Features) -> Tensor:
        """(B, …) -> (B, D) float32."""
        encodings = {name: encode(encoder, features[name]) for name, encoder in self.encoders.items()}
        bypass = [encodings.pop(name).float() for name in self.bypass]
        if self.training and self.feature_dropout:
            encodings = {name: _drop_rows(encoding, self.feature_dropout) for name, encoding in encodings.items()}
        fused = self.fusion(list(encodings.values()))
        embedding: Tensor = self.output(self.hidden(fused)).float()
        with torch.autocast(embedding.device.type, enabled=False):  # bfloat16 would round similar scores to ties
            if self.normalize:
                width = embedding.shape[1]
                shape = (embedding.shape[0], self.num_heads, width // self.num_heads)  # -1 fails for an empty batch
                heads = embedding.reshape(shape)
                embedding = unit_rows(heads).flatten(1)  # (B, output_dim)
            bias = [] if self.bias is None else [self.bias(fused.float())]
            return torch.cat([embedding, *bypass, *bias], dim=-1)


TowerFactory: TypeAlias = Callable[[Schema], Tower]  # after the class: `make` needs the class, not its name


def encode(encoder: nn.Module, column: Column) -> Tensor:
    """(B, …) -> (B, d), with shared histories expanded unless the encoder reads them."""
    assert isinstance(encoder, Encoder)
    if isinstance(column, Prefixes) and not encoder.reads_prefixes:
        column = column.expand()
    encoding: Tensor = encoder(column)
    return encoding


def _drop_rows(encoding: Tensor, probability: float) -> Tensor:
    """(B, d) with random rows set to 0, and the other rows divided by 1 − probability."""
    return encoding * F.dropout(encoding.new_ones(len(encoding), 1), probability)


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
        layers.append(activation_layer(activation, "Tower"))
        width = hidden_dim
    return layers, width


def _output_layers(
    width: int, output_dim: int | None, activation: str | None, dropout: float
) -> tuple[nn.Sequential, int]:
    layers = nn.Sequential(nn.Dropout(dropout))
    if output_dim is not None:
        layers.append(nn.Linear(width, output_dim))
    if activation is not None:
        layers.append(activation_layer(activation, "Tower", "output_activation"))
    return layers, width if output_dim is None else output_dim


def _check_layers(hidden_dims: list[int], output_dim: int | None, dropout: float, norm: str | None) -> None:
    require_at_least("Tower", f"a width of hidden_dims {hidden_dims}", min(hidden_dims, default=1))
    require_at_least("Tower", "output_dim", output_dim)
    require_fraction("Tower", "dropout", dropout)
    if norm is not None:
        require_choice("Tower", "norm", norm, get_args(Norm))


def _check_names(schema: Schema, encoded: Iterable[str], bypass: list[str]) -> None:
    for setting, names in (("encoders", encoded), ("bypass", bypass)):
        if unknown := sorted(set(names) - set(schema.names)):
            raise UserError(
                f"Tower: {setting} names unknown features {unknown}; this side has {schema.names}"
                f"{did_you_mean(unknown[0], schema.names)}"
            )
    if not set(schema.names) - set(bypass):
        raise UserError(
            f"Tower: bypass names all of this side's features, {schema.names}; leave at least one for the fusion"
        )


def _check_heads(num_heads: int, width: int, bypass: list[str]) -> None:
    if num_heads < 1 or width % num_heads:
        raise UserError(f"Tower: num_heads is {num_heads}; it must divide the width of the embedding, {width}")
    if num_heads > 1 and bypass:
        raise UserError(
            f"Tower: bypass is {bypass} and num_heads is {num_heads}; heads divide the whole embedding, so no encoding "
            "can be appended"
        )


def _initialize(parts: list[nn.Sequential], name: str) -> None:
    known = {key[:-1]: value for key, value in vars(nn.init).items() if key.endswith("_") and not key.startswith("_")}
    if name not in known:
        similar = nearest_names(name, known)
        raise UserError(f"Tower: initialization is {name!r}, which torch.nn.init does not have; similar: {similar}")
    for layer in (layer for part in parts for layer in part if isinstance(layer, nn.Linear)):
        known[name](layer.weight)
        nn.init.zeros_(layer.bias)

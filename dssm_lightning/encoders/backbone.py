"""Pictures -> vectors, by any classification net of torchvision."""

from __future__ import annotations

import difflib
import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dssm_lightning.encoders.image import PictureEncoder, group_norm, image_feature
from dssm_lightning.features.base import Feature

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, which all of torchvision's weights expect


class Backbone(PictureEncoder):
    """Any classification net of torchvision without its last linear layer, and a linear layer of ours instead.

    From scratch, GroupNorm takes BatchNorm's place (arXiv:1803.08494): a row's embedding must not depend on its batch.
    With given weights BatchNorm stays, frozen at its statistics.

    Args:
        feature: an Image of mode RGB or L (grey is repeated).
        name: as ``torchvision.models.list_models(torchvision.models)`` has it.
        output_dim: width of the result; None = the backbone's own features, without a linear layer.
        weights: None for random ones, a name of torchvision's (IMAGENET1K_V1, DEFAULT: downloaded once), or the path
            of a state dict (``torch.save`` or safetensors), with or without the classifier.
        frozen: leave the backbone's weights as they are and train the linear layer only.

    Raises:
        ValueError: a feature of another kind; an unknown name; pictures of a size that the net cannot take; weights
            that are unknown or do not fit; a net that does not end in a linear layer.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        feature: Feature,
        name: str = "resnet18",
        output_dim: int | None = 128,
        weights: str | None = None,
        frozen: bool = False,
    ) -> None:
        image = image_feature(self, feature)
        label = f"Backbone of {feature.name!r}"
        if image.mode == "RGBA":
            raise ValueError(f"{label}: torchvision's nets see three colours; set the feature's mode to RGB")
        net, width = _without_classifier(name, image.size, weights, label)
        super().__init__(feature, width if output_dim is None else output_dim)
        self.backbone = net.requires_grad_(not frozen)
        self.output = nn.Identity() if output_dim is None else nn.Linear(width, output_dim)
        self.frozen = frozen
        self.register_buffer("mean", 255 * torch.tensor(_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(_STD).view(3, 1, 1), persistent=False)

    def train(self, mode: bool = True) -> Backbone:
        """Training mode, in which a frozen backbone stays in evaluation mode (no dropout)."""
        super().train(mode)
        self.backbone.train(mode and not self.frozen)
        return self

    def embed(self, pixels: Tensor) -> Tensor:
        """(B, channels, height, width) uint8 -> (B, output_dim)."""
        colours = pixels[:, :-1].expand(-1, 3, -1, -1)
        embedded: Tensor = self.output(self.backbone((colours - self.mean) / self.std))
        return embedded


def _without_classifier(name: str, size: int, weights: str | None, label: str) -> tuple[nn.Module, int]:
    """The named net up to its last linear layer, and the width of what it gives."""
    from torchvision import models  # two seconds, which who has no backbone need not wait

    known = models.list_models(module=models)
    if name not in known:
        nearest = difflib.get_close_matches(name, known, n=3, cutoff=0.0)
        raise ValueError(f"{label}: torchvision has no classification net {name!r}; nearest: {', '.join(nearest)}")
    named = models.get_model_weights(name).__members__
    if weights is not None and weights not in named and not Path(weights).is_file():
        raise ValueError(
            f"{label}: weights {weights!r} are no file, and none of torchvision's for {name}: {', '.join(named)}"
        )
    net = _build(name, size, weights if weights in named else None, label)
    head, classifier = [(key, m) for key, m in net.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)][-1]
    if not isinstance(classifier, nn.Linear):
        raise ValueError(f"{label}: {name} does not end in a linear layer, so its features are no vector; take another")
    if weights is not None and weights not in named:
        _load(net, head, Path(weights), label)
    _replace(net, head, nn.Identity())
    _replace_batch_norm(net, frozen=weights is not None)
    _try(net, name, size, label)
    return net, classifier.in_features


def _build(name: str, size: int, weights: str | None, label: str) -> nn.Module:
    options: dict[str, Any] = {"weights": weights}
    if name.startswith("vit_"):
        options["image_size"] = size  # its positions are learnt for pictures of one size
    elif name == "maxvit_t":
        options["input_size"] = (size, size)
    elif name in ("googlenet", "inception_v3"):
        options["aux_logits"] = False  # further classifiers, whose outputs would come beside the features
        if weights is None:
            options["init_weights"] = True
    from torchvision.models import get_model

    try:
        net = get_model(name, **options)
    except OSError as error:
        raise ValueError(
            f"{label}: cannot download torchvision's weights {weights} of {name} ({error}); give `weights` the path of "
            "a state dict instead"
        ) from error
    except (AssertionError, RuntimeError, ValueError) as error:
        raise ValueError(f"{label}: {name} cannot be built for pictures of {size} × {size} pixels: {error}") from error
    assert isinstance(net, nn.Module)
    return net


def _load(net: nn.Module, head: str, path: Path, label: str) -> None:
    """Load a state dict, whose classifier, of however many classes, is left out."""
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
        wanted = {key: value for key, value in state.items() if not key.startswith(f"{head}.")}
        missing, unexpected = net.load_state_dict(wanted, strict=False)
    except (OSError, RuntimeError, AttributeError, EOFError, pickle.UnpicklingError) as error:
        raise ValueError(f"{label}: weights '{path}' cannot be loaded: {_brief(error)}") from error
    missing = [key for key in missing if not key.startswith(f"{head}.")]
    if missing or unexpected:
        raise ValueError(
            f"{label}: weights '{path}' are another net's: {len(missing)} tensors are missing (first {missing[:2]}), "
            f"{len(unexpected)} unexpected (first {unexpected[:2]})"
        )


def _brief(error: Exception) -> str:
    """The first two of the lines in which torch lists each tensor that does not fit."""
    lines = str(error).splitlines() or [type(error).__name__]
    return " ".join(line.strip() for line in lines[:2]) + (f" … ({len(lines) - 2} more)" if len(lines) > 2 else "")


def _replace(net: nn.Module, path: str, module: nn.Module) -> None:
    parent, _, child = path.rpartition(".")
    setattr(net.get_submodule(parent), child, module)


def _replace_batch_norm(net: nn.Module, frozen: bool) -> None:
    """Frozen BatchNorm with the same statistics, or GroupNorm, for every BatchNorm."""
    from torchvision.ops import FrozenBatchNorm2d

    for path, norm in [(path, m) for path, m in net.named_modules() if isinstance(m, nn.BatchNorm2d)]:
        if not frozen:
            _replace(net, path, group_norm(norm.num_features))
            continue
        fixed = FrozenBatchNorm2d(norm.num_features, eps=norm.eps)
        fixed.load_state_dict(norm.state_dict())
        _replace(net, path, fixed)


def _try(net: nn.Module, name: str, size: int, label: str) -> None:
    """One picture through the net, so that one of the wrong size is an error before training, not in it."""
    training = net.training
    try:
        with torch.no_grad():
            net.eval()(torch.zeros(1, 3, size, size, device=next(net.parameters()).device))
    except (AssertionError, RuntimeError) as error:
        raise ValueError(f"{label}: {name} cannot take pictures of {size} × {size} pixels: {error}") from error
    net.train(training)

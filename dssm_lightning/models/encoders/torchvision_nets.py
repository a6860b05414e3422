"""torchvision's classification nets up to their last linear layer, and the weights that are read into them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dssm_lightning.models.encoders.convnet import group_norm
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.suggestions import nearest_names


class PretrainedNet:
    """A net without its classifier, with random weights until given ones are read.

    Args:
        name: of the net.
        size: height and width of its pictures.
        weights: a name of torchvision's, a path, or None.
        label: whom an error names.

    Raises:
        ValueError: an unknown name; pictures of a size that the net cannot take; a net without a linear layer at its
            end, or that cannot be cut there.
    """

    net: nn.Module
    """(B, 3, size, size) floats -> {"features": (B, width)}."""
    width: int

    def __init__(self, name: str, size: int, weights: str | None, label: str) -> None:
        from torchvision import models  # two seconds, which who has no backbone need not wait

        known = models.list_models(module=models)
        if name not in known:
            nearest = nearest_names(name, known)
            raise UserError(f"{label}: torchvision has no classification net {name!r}; nearest: {', '.join(nearest)}")
        self.name, self.label, self.weights = name, label, weights
        self._named = models.get_model_weights(name).__members__
        self._unread = weights is not None
        net = _build(name, size, weights in self._named, label)
        self.head, classifier = [(key, m) for key, m in net.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)][-1]
        if not isinstance(classifier, nn.Linear):
            raise UserError(
                f"{label}: {name} does not end in a linear layer, so its features are no vector; take another"
            )
        _replace_batch_norm(net, frozen=weights is not None)
        self.width = classifier.in_features
        self.net = _cut(net, self.head, name, label)
        _try(self.net, self.width, name, size, label)

    def loaded(self) -> None:
        """The weights came from elsewhere: a checkpoint has them, and the given ones are not asked for any more."""
        self._unread = False

    def read(self) -> None:
        """Read the given weights, unless that has happened.

        Raises:
            ValueError: no such weights; no network to download them; another net's.
        """
        if self._unread:
            assert self.weights is not None
            self._fill(_downloaded(self, self._named[self.weights]) if self.weights in self._named else self._opened())
            self._unread = False

    def _opened(self) -> dict[str, Any]:
        path = Path(self.weights or "")
        if not path.is_file():
            raise UserError(
                f"{self.label}: weights {self.weights!r} are no file, and none of torchvision's for {self.name}: "
                f"{', '.join(self._named)}"
            )
        try:
            if path.suffix == ".safetensors":
                from safetensors.torch import load_file

                state = load_file(path)
            else:
                state = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # safetensors raises a class of its own that derives from Exception alone
            raise UserError(f"{self.label}: weights '{path}' cannot be read: {_first_line(error)}") from error
        if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
            found = sorted(map(str, state))[:3] if isinstance(state, dict) else type(state).__name__
            raise UserError(f"{self.label}: weights '{path}' are no state dict of names and tensors; found {found}")
        return state

    def _fill(self, state: dict[str, Any]) -> None:
        """Take a state dict, whose classifier, of however many classes, is left out."""
        own = self.net.state_dict()
        given = {key: value for key, value in state.items() if not key.startswith(f"{self.head}.")}
        given = {key: value for key, value in given.items() if not key.endswith(".num_batches_tracked")}
        shapes = [
            f"{key} is {tuple(given[key].shape)} there and {tuple(value.shape)} in {self.name}"
            for key, value in own.items()
            if key in given and given[key].shape != value.shape
        ]
        missing, unexpected = [key for key in own if key not in given], [key for key in given if key not in own]
        if shapes or missing or unexpected:
            told = [f"{len(shapes)} tensors have other shapes (first: {'; '.join(shapes[:3])})"] if shapes else []
            told += [f"{len(missing)} are missing (first: {', '.join(missing[:3])})"] if missing else []
            told += (
                [f"{len(unexpected)} are not known to it (first: {', '.join(unexpected[:3])})"] if unexpected else []
            )
            raise UserError(f"{self.label}: weights {self.weights!r} do not fit {self.name}: {', '.join(told)}")
        self.net.load_state_dict(given)


def _downloaded(net: PretrainedNet, weights: Any) -> dict[str, Any]:
    try:
        state: dict[str, Any] = weights.get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError) as error:  # no network; or what came is not what torchvision published
        raise UserError(
            f"{net.label}: cannot download torchvision's weights {net.weights} of {net.name} ({_first_line(error)}); "
            "give `weights` the path of a state dict instead"
        ) from error
    return state


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _build(name: str, size: int, named_weights: bool, label: str) -> nn.Module:
    options: dict[str, Any] = {}
    if name.startswith("vit_"):
        options["image_size"] = size  # its positions are learnt for pictures of one size
    elif name == "maxvit_t":
        options["input_size"] = (size, size)
    elif name in ("googlenet", "inception_v3"):
        options["aux_logits"] = False  # further classifiers, whose outputs would come beside the features
        options["init_weights"] = True
        options["transform_input"] = named_weights  # which were trained on pixels of another scale
    from torchvision.models import get_model

    try:
        net = get_model(name, **options)
    except (AssertionError, RuntimeError, ValueError) as error:
        raise UserError(f"{label}: {name} cannot be built for pictures of {size} × {size} pixels: {error}") from error
    assert isinstance(net, nn.Module)
    return net


def _replace_batch_norm(net: nn.Module, frozen: bool) -> None:
    """Frozen BatchNorm with the same statistics, or GroupNorm, for every BatchNorm."""
    from torchvision.ops import FrozenBatchNorm2d

    for path, norm in [(path, m) for path, m in net.named_modules() if isinstance(m, nn.BatchNorm2d)]:
        parent, _, child = path.rpartition(".")
        if frozen:
            fixed = FrozenBatchNorm2d(norm.num_features, eps=norm.eps)
            fixed.load_state_dict(norm.state_dict())
        setattr(net.get_submodule(parent), child, fixed if frozen else group_norm(norm.num_features))


def _cut(net: nn.Module, head: str, name: str, label: str) -> nn.Module:
    """The net up to what its last linear layer reads."""
    from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

    try:
        _, nodes = get_graph_node_names(net, suppress_diff_warning=True)
        before = nodes[nodes.index(head) - 1]
        cut = create_feature_extractor(net, {before: "features"}, suppress_diff_warning=True)
    except (torch.fx.proxy.TraceError, TypeError, ValueError) as error:  # control flow that depends on the pictures
        raise UserError(f"{label}: {name} has no feature cut: torchvision cannot trace it ({error})") from error
    assert isinstance(cut, nn.Module)
    return cut


def _try(net: nn.Module, width: int, name: str, size: int, label: str) -> None:
    """One picture through the net, so that one of the wrong size is an error before training, not in it."""
    training = net.training
    try:
        with torch.no_grad():
            shape = net.eval()(torch.zeros(1, 3, size, size, device=next(net.parameters()).device))["features"].shape
    except (AssertionError, RuntimeError) as error:
        raise UserError(f"{label}: {name} cannot take pictures of {size} × {size} pixels: {error}") from error
    if shape != (1, width):
        raise UserError(
            f"{label}: {name} has no feature cut: before its classifier stands {tuple(shape)}, not a vector of {width}"
        )
    net.train(training)

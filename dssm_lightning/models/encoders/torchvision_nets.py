"""torchvision's classification nets without their classifier, and their pretrained weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dssm_lightning.models.encoders.convnet import group_norm
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.suggestions import nearest_names


class PretrainedNet:
    """A classification net without its classifier, with random weights until :meth:`read` reads the given weights.

    Args:
        name: name of the net in torchvision.
        size: height and width of the pictures.
        weights: name of weights in torchvision, path of a file, or None = random weights.
        label: the start of error messages.

    Raises:
        UserError: the name is unknown; the net cannot take pictures of this size; the net does not end in a linear
            layer, or torchvision cannot extract the features before it.
    """

    net: nn.Module
    """(B, 3, size, size) floats -> {"features": (B, width)}."""
    width: int

    def __init__(self, name: str, size: int, weights: str | None, label: str) -> None:
        from torchvision import models  # takes two seconds, and only a backbone needs it

        known = models.list_models(module=models)
        if name not in known:
            similar = ", ".join(nearest_names(name, known))
            raise UserError(f"{label}: torchvision has no classification net {name!r}; similar names: {similar}")
        self.name, self.label, self.weights = name, label, weights
        self._named = dict(models.get_model_weights(name).__members__)  # a dict can be copied with the encoder
        self._unread = weights is not None
        net = _build(name, size, weights in self._named, label)
        self.head, classifier = [(key, m) for key, m in net.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)][-1]
        if not isinstance(classifier, nn.Linear):
            raise UserError(
                f"{label}: {name} does not end in a linear layer, so its features are not a vector; choose another net"
            )
        _replace_batch_norm(net, frozen=weights is not None)
        self.width = classifier.in_features
        self.net = _cut(net, self.head, name, label)
        _try(self.net, self.width, name, size, label)

    def loaded(self) -> None:
        """Note that a checkpoint has set the weights, so that :meth:`read` does nothing."""
        self._unread = False

    def read(self) -> None:
        """Read the given weights, unless they were read before.

        Raises:
            UserError: the weights do not exist, cannot be downloaded, or belong to another net.
        """
        if self._unread:
            assert self.weights is not None
            self._fill(_downloaded(self, self._named[self.weights]) if self.weights in self._named else self._opened())
            self._unread = False

    def _opened(self) -> dict[str, Any]:
        path = Path(self.weights or "")
        if not path.is_file():
            raise UserError(
                f"{self.label}: weights {self.weights!r} are neither a file nor one of torchvision's weights for "
                f"{self.name}: {', '.join(self._named)}"
            )
        try:
            if path.suffix == ".safetensors":
                from safetensors.torch import load_file

                state = load_file(path)
            else:
                state = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # safetensors' exception derives directly from Exception
            raise UserError(f"{self.label}: weights '{path}' cannot be read: {_first_line(error)}") from error
        if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
            found = sorted(map(str, state))[:3] if isinstance(state, dict) else type(state).__name__
            raise UserError(
                f"{self.label}: weights '{path}' are not a state dict of names and tensors, but have {found}; save the "
                "net's state_dict() alone"
            )
        return state

    def _fill(self, state: dict[str, Any]) -> None:
        """Load a state dict without its classifier, which can have any number of classes."""
        own = self.net.state_dict()
        given = {key: value for key, value in state.items() if not key.startswith(f"{self.head}.")}
        given = {key: value for key, value in given.items() if not key.endswith(".num_batches_tracked")}
        shapes = [
            f"{key} is {tuple(given[key].shape)} in the weights and {tuple(value.shape)} in {self.name}"
            for key, value in own.items()
            if key in given and given[key].shape != value.shape
        ]
        missing, unexpected = [key for key in own if key not in given], [key for key in given if key not in own]
        if shapes or missing or unexpected:
            found = [f"{len(shapes)} tensors have other shapes (first: {'; '.join(shapes[:3])})"] if shapes else []
            found += [f"{len(missing)} are missing (first: {', '.join(missing[:3])})"] if missing else []
            found += [f"{len(unexpected)} are unknown (first: {', '.join(unexpected[:3])})"] if unexpected else []
            raise UserError(f"{self.label}: weights {self.weights!r} do not fit {self.name}: {', '.join(found)}")
        self.net.load_state_dict(given)


def _downloaded(net: PretrainedNet, weights: Any) -> dict[str, Any]:
    try:
        state: dict[str, Any] = weights.get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError) as error:  # no network, or another checksum than torchvision's
        raise UserError(
            f"{net.label}: cannot download torchvision's weights {net.weights} of {net.name} ({_first_line(error)}); "
            "set `weights` to the path of a state dict instead"
        ) from error
    return state


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _build(name: str, size: int, named_weights: bool, label: str) -> nn.Module:
    options: dict[str, Any] = {}
    if name.startswith("vit_"):
        options["image_size"] = size  # the positions are for pictures of one size
    elif name == "maxvit_t":
        options["input_size"] = (size, size)
    elif name in ("googlenet", "inception_v3"):
        options["aux_logits"] = False  # auxiliary classifiers would add outputs
        options["init_weights"] = True
        options["transform_input"] = named_weights  # these weights were trained on pixels of another scale
    from torchvision.models import get_model

    try:
        net = get_model(name, **options)
    except (AssertionError, RuntimeError, ValueError) as error:
        raise UserError(f"{label}: {name} cannot be built for pictures of {size} × {size} pixels: {error}") from error
    assert isinstance(net, nn.Module)
    return net


def _replace_batch_norm(net: nn.Module, frozen: bool) -> None:
    """Replace every BatchNorm: by a frozen BatchNorm with the same statistics if ``frozen``, otherwise by GroupNorm."""
    from torchvision.ops import FrozenBatchNorm2d

    for path, norm in [(path, m) for path, m in net.named_modules() if isinstance(m, nn.BatchNorm2d)]:
        parent, _, child = path.rpartition(".")
        if frozen:
            fixed = FrozenBatchNorm2d(norm.num_features, eps=norm.eps)
            fixed.load_state_dict(norm.state_dict())
        setattr(net.get_submodule(parent), child, fixed if frozen else group_norm(norm.num_features))


def _cut(net: nn.Module, head: str, name: str, label: str) -> nn.Module:
    """Return the net up to the input of its last linear layer."""
    from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

    try:
        _, nodes = get_graph_node_names(net, suppress_diff_warning=True)
        before = nodes[nodes.index(head) - 1]
        cut = create_feature_extractor(net, {before: "features"}, suppress_diff_warning=True)
    except (torch.fx.proxy.TraceError, TypeError, ValueError) as error:  # control flow that depends on the pictures
        raise UserError(f"{label}: torchvision cannot trace {name} to extract features ({error})") from error
    assert isinstance(cut, nn.Module)
    return cut


def _try(net: nn.Module, width: int, name: str, size: int, label: str) -> None:
    """Encode one picture, so that a wrong size is an error before training."""
    training = net.training
    try:
        with torch.no_grad():
            shape = net.eval()(torch.zeros(1, 3, size, size, device=next(net.parameters()).device))["features"].shape
    except (AssertionError, RuntimeError) as error:
        raise UserError(f"{label}: {name} cannot take pictures of {size} × {size} pixels: {error}") from error
    if shape != (1, width):
        raise UserError(
            f"{label}: {name} cannot be used: the input of its classifier has shape {tuple(shape)} and is not a vector "
            f"of width {width}"
        )
    net.train(training)

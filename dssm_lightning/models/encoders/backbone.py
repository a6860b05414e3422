"""Picture encoders with a classification net of torchvision."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dssm_lightning.features.base import Feature
from dssm_lightning.models.encoders.convnet import PictureEncoder
from dssm_lightning.models.encoders.image_transforms import TransformFactories
from dssm_lightning.models.encoders.torchvision_nets import PretrainedNet
from dssm_lightning.utils.errors import UserError, require_at_least, require_positive
from dssm_lightning.utils.ragged import Column

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet; all weights of torchvision expect them


class Backbone(PictureEncoder):
    """Classification net of torchvision with a new linear layer in place of its classifier.

    torchvision's feature extraction removes the classifier. Without given weights, GroupNorm replaces BatchNorm
    (arXiv:1803.08494), because a row's embedding must not depend on its batch. With given weights, BatchNorm stays with
    frozen statistics.

    Given weights are read when they are first needed. A checkpoint has the weights, so a loaded model needs neither the
    file nor the network.

    The features of a picture under a frozen backbone never change. ``Trainer`` runs compute the features of each
    picture once and store them with the encoded data (:mod:`dssm_lightning.training.frozen_backbones`); batches then
    hold the features in place of the pictures.

    Args:
        feature: an Image of mode RGB or L (the grey channel is repeated).
        name: name of the net, from ``torchvision.models.list_models(torchvision.models)``.

        output_dim: width of the result; None = the net's features, without a linear layer.
        weights: None = random weights; a name of torchvision's weights (IMAGENET1K_V1, DEFAULT: downloaded once); or
            the path of a state dict (``torch.save`` or safetensors), with or without the classifier.

        frozen: do not train the net's weights, only the linear layer.
        frozen_epochs: do not train the net's weights in this number of first epochs of a fit. With several processes,
            this needs ``strategy: ddp_find_unused_parameters_true``.
        learning_rate: learning rate of the net's weights; None = the optimizer's.

        transforms: transforms in training, see :class:`~dssm_lightning.models.encoders.image_transforms.Transforms`.
        evaluation_transforms: transforms in evaluation and serving.

    Raises:
        UserError: the feature is not an Image, or is RGBA; the name is unknown; the net cannot take pictures of this
            size, or does not end in a linear layer; options contradict each other. When the weights are read: they do
            not exist, or do not fit.

    Example:
        >>> import torch
        >>> from dssm_lightning.features import Image
        >>> from dssm_lightning.models.encoders import Backbone
        >>> encoder = Backbone(Image(name="poster", size=32), "shufflenet_v2_x0_5", output_dim=8)
        >>> encoder(torch.zeros(2, 4, 32, 32, dtype=torch.uint8)).shape, encoder.width
        (torch.Size([2, 8]), 1024)
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        feature: Feature,
        name: str = "resnet18",
        *,
        # network
        output_dim: int | None = 128,
        weights: str | None = None,
        # training
        frozen: bool = False,
        frozen_epochs: int = 0,
        learning_rate: float | None = None,
        # pictures
        transforms: TransformFactories | None = None,
        evaluation_transforms: TransformFactories | None = None,
    ) -> None:
        super().__init__(feature, 1 if output_dim is None else output_dim, transforms, evaluation_transforms)
        if self.image.mode == "RGBA":
            raise UserError(f"{self.label}: torchvision's nets take three colours; set the feature's mode to RGB")
        _check_training(self.label, frozen, frozen_epochs, learning_rate)
        self.pretrained = PretrainedNet(name, self.transforms.size, weights, self.label)
        self.width = self.pretrained.width
        self.output: nn.Module = nn.Identity()
        if output_dim is None:
            self.output_dim, self.no_picture = self.width, nn.Parameter(torch.zeros(self.width))
        else:
            self.output = nn.Linear(self.width, output_dim)
        self.frozen, self.frozen_epochs, self.learning_rate = frozen, frozen_epochs, learning_rate
        self.backbone = self.pretrained.net.requires_grad_(not frozen)
        self.epoch = 0
        """Current epoch of the fit; set by :meth:`start_epoch`."""
        self.register_load_state_dict_post_hook(_loaded)  # type: ignore[no-untyped-call]  # torch does not annotate it
        self.register_buffer("mean", 255 * torch.tensor(_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(_STD).view(3, 1, 1), persistent=False)

    @property
    def is_frozen(self) -> bool:
        """Whether the net's weights are currently not trained."""
        return self.frozen or self.epoch < self.frozen_epochs

    @property
    def gives_fixed_features(self) -> bool:
        """Whether the features of a picture never change."""
        return self.frozen and not self.transforms.are_random

    def extra_repr(self) -> str:
        """Return the name of the net, which ``print(model)`` and a summary show."""
        return self.pretrained.name

    def start_epoch(self, epoch: int) -> None:
        """Set the current epoch of the fit."""
        if epoch != self.epoch:
            self.epoch = epoch
            self.backbone.train(self.training)

    def forward(self, column: Column) -> Tensor:
        """Pictures (B, channels, height, width) uint8, or (B, width + 1) from :meth:`fixed` -> (B, output_dim)."""
        assert isinstance(column, Tensor)
        if not column.is_floating_point():
            return super().forward(column)
        encoded = self.output(column[:, :-1].to(self.no_picture.dtype))
        return self.or_none(encoded, column[:, -1] > 0)

    def embed(self, pixels: Tensor) -> Tensor:
        """(B, channels, height, width) uint8 -> (B, output_dim)."""
        embedded: Tensor = self.output(self.features(pixels))
        return embedded

    def features(self, pixels: Tensor) -> Tensor:
        """(B, channels, height, width) uint8 -> (B, width) features of the net."""
        self.pretrained.read()
        if self.is_frozen and self.backbone.training:
            self.backbone.eval()  # no dropout
        colours = pixels[:, :-1].expand(-1, 3, -1, -1)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.is_frozen):
            features: Tensor = self.backbone((colours - self.mean) / self.std)["features"]
        return features

    def fixed(self, column: Tensor) -> Tensor:
        """(B, channels, height, width) uint8 -> (B, width + 1) float32: features, then 1 for a row with a picture."""
        present = self.present(column)
        features = self.features(self.transforms(column, present, training=False)).float()
        return torch.cat([features, present[:, None].float()], dim=1)


def _loaded(backbone: Backbone, _: object) -> None:
    backbone.pretrained.loaded()


def _check_training(label: str, frozen: bool, frozen_epochs: int, learning_rate: float | None) -> None:
    require_at_least(label, "frozen_epochs", frozen_epochs, 0)
    require_positive(label, "learning_rate", learning_rate)
    if frozen and (frozen_epochs or learning_rate is not None):
        raise UserError(
            f"{label}: frozen is true, so the net is never trained and frozen_epochs and learning_rate have no effect; "
            "leave out either frozen or the other two"
        )

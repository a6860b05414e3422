"""Pictures -> vectors, by any classification net of torchvision."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dssm_lightning.features.base import Feature
from dssm_lightning.models.encoders.convnet import PictureEncoder
from dssm_lightning.models.encoders.image_transforms import TransformFactories
from dssm_lightning.models.encoders.torchvision_nets import PretrainedNet
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.ragged import Column

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, which all of torchvision's weights expect


class Backbone(PictureEncoder):
    """Any classification net of torchvision up to its last linear layer, and a linear layer of ours instead.

    The features are cut by torchvision's own feature extraction. From scratch, GroupNorm takes BatchNorm's place
    (arXiv:1803.08494): a row's embedding must not depend on its batch. With given weights BatchNorm stays, frozen at
    its statistics.

    Given weights are read when they are first needed, which is never where a checkpoint has brought them: who loads a
    model needs neither the file nor the network.

    What a frozen backbone gives for a picture never changes. ``Trainer`` runs compute it once for each picture and keep
    it beside the encoded data (:mod:`dssm_lightning.training.frozen_backbones`); batches then hold it in the
    pictures' place.

    Args:
        feature: an Image of mode RGB or L (grey is repeated).
        name: as ``torchvision.models.list_models(torchvision.models)`` has it.
        output_dim: width of the result; None = the backbone's own features, without a linear layer.
        weights: None for random ones, a name of torchvision's (IMAGENET1K_V1, DEFAULT: downloaded once), or the path
            of a state dict (``torch.save`` or safetensors), with or without the classifier.
        frozen: leave the backbone's weights as they are and train the linear layer only.
        frozen_epochs: leave them for the first so many epochs of a fit. On several ranks this needs
            ``strategy: ddp_find_unused_parameters_true``.
        learning_rate: of the backbone's weights, where it should be another than the optimizer's.
        transforms: while training, see :class:`~dssm_lightning.models.encoders.image_transforms.Transforms`.
        evaluation_transforms: while measuring and serving.

    Raises:
        ValueError: a feature of another kind; an unknown name; pictures of a size that the net cannot take; a net that
            does not end in a linear layer; options that contradict each other. When weights are read: unknown ones, or
            ones that do not fit.
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
        frozen_epochs: int = 0,
        learning_rate: float | None = None,
        transforms: TransformFactories | None = None,
        evaluation_transforms: TransformFactories | None = None,
    ) -> None:
        super().__init__(feature, 1 if output_dim is None else output_dim, transforms, evaluation_transforms)
        if self.image.mode == "RGBA":
            raise UserError(f"{self.label}: torchvision's nets see three colours; set the feature's mode to RGB")
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
        """Of the fit; whoever trains keeps it up to date."""
        self.register_load_state_dict_post_hook(_loaded)  # type: ignore[no-untyped-call]  # torch does not annotate it
        self.register_buffer("mean", 255 * torch.tensor(_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(_STD).view(3, 1, 1), persistent=False)

    @property
    def is_frozen(self) -> bool:
        """Whether the backbone's weights stand still now."""
        return self.frozen or self.epoch < self.frozen_epochs

    @property
    def gives_fixed_features(self) -> bool:
        """Whether a picture has the same features for ever."""
        return self.frozen and not self.transforms.are_random

    def extra_repr(self) -> str:
        """What ``print(model)`` and a summary show."""
        return self.pretrained.name

    def start_epoch(self, epoch: int) -> None:
        """Say which epoch of the fit it is."""
        if epoch != self.epoch:
            self.epoch = epoch
            self.backbone.train(self.training)

    def forward(self, column: Column) -> Tensor:
        """(B, channels, height, width) uint8, or (B, width + 1) what :meth:`fixed` gave -> (B, output_dim)."""
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
        """(B, channels, height, width) uint8 -> (B, width) what the backbone gives."""
        self.pretrained.read()
        if self.is_frozen and self.backbone.training:
            self.backbone.eval()  # no dropout
        colours = pixels[:, :-1].expand(-1, 3, -1, -1)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.is_frozen):
            features: Tensor = self.backbone((colours - self.mean) / self.std)["features"]
        return features

    def fixed(self, column: Tensor) -> Tensor:
        """(B, channels, height, width) uint8 -> (B, width + 1) float32: features, then 1 where there is a picture."""
        present = self.present(column)
        features = self.features(self.transforms(column, present, training=False)).float()
        return torch.cat([features, present[:, None].float()], dim=1)


def _loaded(backbone: Backbone, _: object) -> None:
    backbone.pretrained.loaded()


def _check_training(label: str, frozen: bool, frozen_epochs: int, learning_rate: float | None) -> None:
    if frozen_epochs < 0:
        raise UserError(f"{label}: frozen_epochs is {frozen_epochs}; it is a number of epochs, 0 or more")
    if learning_rate is not None and not learning_rate > 0:
        raise UserError(f"{label}: learning_rate is {learning_rate}; it must be above 0")
    if frozen and (frozen_epochs or learning_rate is not None):
        raise UserError(
            f"{label}: frozen: true never trains the backbone, so frozen_epochs and learning_rate mean nothing; give "
            "either frozen or those"
        )

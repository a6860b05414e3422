import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from dssm_lightning.encoders.backbone import Backbone
from dssm_lightning.encoders.image import ConvNet
from dssm_lightning.features.image import Image
from dssm_lightning.features.numeric import Numeric

SMALL = Image(name="p", size=32)


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def pictures(count: int, feature: Image = SMALL) -> torch.Tensor:
    pixels = torch.randint(0, 256, (count, feature.channels, feature.size, feature.size), dtype=torch.uint8)
    pixels[:, -1] = 255
    return pixels


BOTH = [lambda feature: ConvNet(feature, 8), lambda feature: Backbone(feature, "resnet18", 8)]


@pytest.mark.parametrize("build", BOTH, ids=["ConvNet", "Backbone"])
def test_a_row_without_a_picture_gets_the_learnt_vector(build):
    encoder = build(SMALL)
    with torch.no_grad():
        encoder.no_picture.copy_(torch.arange(8.0))
    pixels = pictures(3)
    pixels[1] = 0  # missing
    pixels[2, :-1] = 0  # black
    encoded = encoder(pixels)
    assert encoded.shape == (3, encoder.output_dim) == (3, 8)
    assert torch.equal(encoded[1], torch.arange(8.0))
    assert not torch.allclose(encoded[2], encoded[1])
    encoded[1].sum().backward()
    assert torch.equal(encoder.no_picture.grad, torch.ones(8))
    assert all(p.grad is None or not p.grad.any() for name, p in encoder.named_parameters() if name != "no_picture")


@pytest.mark.parametrize("build", BOTH, ids=["ConvNet", "Backbone"])
def test_a_row_does_not_depend_on_its_batch(build):
    encoder = build(SMALL)  # in training mode, in which BatchNorm would mix rows
    pixels = pictures(4)
    torch.testing.assert_close(encoder(pixels)[:1], encoder(pixels[:1]), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("build", BOTH, ids=["ConvNet", "Backbone"])
def test_pixels_are_not_changed_and_all_weights_learn(build):
    encoder = build(SMALL)
    pixels = pictures(4)
    before = pixels.clone()
    encoder(pixels).square().sum().backward()
    assert torch.equal(pixels, before)
    without = [name for name, p in encoder.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert without == []


# -- ConvNet --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_convnet_takes_every_mode_and_size(mode):
    feature = Image(name="p", size=20, mode=mode)
    encoder = ConvNet(feature, output_dim=6, channels=[5, 12], patch=3)
    assert encoder(pictures(2, feature)).shape == (2, 6)
    assert encoder(pictures(2, feature)[:0]).shape == (0, 6)


STRIPES = (torch.arange(16) % 2 * 255).to(torch.uint8).expand(16, 16)


@pytest.mark.parametrize(
    ("one", "other"),
    [(STRIPES, STRIPES.T), (torch.full((16, 16), 200), torch.full((16, 16), 90))],
    ids=["texture", "plain colour"],  # a norm over single channels would see no plain colour at all
)
def test_convnet_learns_what_is_in_a_picture(one, other):
    feature = Image(name="p", size=16, mode="L")
    encoder = ConvNet(feature, output_dim=1, channels=[8, 16], patch=2)
    label = torch.arange(16) % 2
    pixels = pictures(16, feature)
    pixels[:, 0] = torch.where(label[:, None, None] > 0, one, other)
    optimizer = torch.optim.Adam(encoder.parameters(), lr=0.01)
    for _ in range(40):
        loss = nn.functional.binary_cross_entropy_with_logits(encoder(pixels)[:, 0], label.float())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1  # chance is log 2 = .69


def test_convnet_of_too_small_pictures():
    with pytest.raises(
        ValueError, match=r"ConvNet of 'p': channels .* need pictures of at least 32 pixels, they have 8"
    ):
        ConvNet(Image(name="p", size=8))
    with pytest.raises(ValueError, match=r"channels \[\]"):
        ConvNet(SMALL, channels=[])
    with pytest.raises(ValueError, match="ConvNet of 'p': output_dim must be at least 1, found 0"):
        ConvNet(SMALL, output_dim=0)
    with pytest.raises(ValueError, match="ConvNet encodes Image features; 'x' is Numeric"):
        ConvNet(Numeric(name="x"))


# -- Backbone -------------------------------------------------------------------------------------------------------


def batch_norms(module: nn.Module) -> list[nn.Module]:
    return [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]


NETS = {"resnet18": 512, "mobilenet_v3_small": 1024, "shufflenet_v2_x0_5": 1024}


@pytest.mark.parametrize(("name", "width"), NETS.items())
def test_backbones_from_scratch_have_no_batch_norm(name, width):
    encoder = Backbone(SMALL, name, output_dim=None)
    assert encoder.output_dim == width
    assert batch_norms(encoder) == []
    assert encoder(pictures(2)).shape == (2, width)


def test_vision_transformer_at_our_size():
    encoder = Backbone(Image(name="p", size=32), "vit_b_32", output_dim=4)
    assert encoder(pictures(2)).shape == (2, 4)


def test_grey_is_repeated():
    feature = Image(name="p", size=32, mode="L")
    encoder = Backbone(feature, output_dim=4).eval()
    grey = pictures(2, feature)
    colour = torch.cat([grey[:, :1]] * 3 + [grey[:, 1:]], dim=1)
    torch.testing.assert_close(encoder(grey), encoder(colour))


@pytest.fixture
def net() -> nn.Module:
    """A net whose BatchNorm has statistics worth keeping."""
    net = torchvision.models.resnet18(num_classes=3)
    net(torch.randn(8, 3, 32, 32))
    return net.eval()


@pytest.mark.parametrize("kind", ["pt", "safetensors"])
def test_local_weights_give_the_same_features(net, tmp_path, kind):
    path = tmp_path / f"weights.{kind}"
    if kind == "pt":
        torch.save(net.state_dict(), path)
    else:
        save_file(net.state_dict(), path)
    encoder = Backbone(SMALL, "resnet18", output_dim=None, weights=str(path))
    assert encoder.training
    pixels = pictures(3)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])  # as torchvision documents
    normalised = (pixels[:, :3] / 255 - mean[:, None, None]) / std[:, None, None]
    net.fc = nn.Identity()
    torch.testing.assert_close(encoder(pixels), net(normalised), atol=1e-4, rtol=1e-4)
    assert batch_norms(encoder) == []  # frozen ones are another class, without statistics that training moves


def test_frozen_backbones_train_the_linear_layer_only(net, tmp_path):
    torch.save(net.state_dict(), tmp_path / "w.pt")
    encoder = Backbone(SMALL, "resnet18", output_dim=4, weights=str(tmp_path / "w.pt"), frozen=True).train()
    encoder(pictures(2)).sum().backward()
    trained = {name for name, p in encoder.named_parameters() if p.requires_grad}
    assert trained == {"no_picture", "output.weight", "output.bias"}
    assert not encoder.backbone.training
    assert encoder.output.weight.grad is not None


def test_weights_that_do_not_fit(net, tmp_path):
    with pytest.raises(ValueError, match=r"weights 'nowhere.pt' are no file, and none of .*resnet18: IMAGENET1K_V1"):
        Backbone(SMALL, "resnet18", weights="nowhere.pt")
    (tmp_path / "bad.pt").write_bytes(b"no weights")
    with pytest.raises(ValueError, match=r"weights '.*bad.pt' cannot be loaded"):
        Backbone(SMALL, "resnet18", weights=str(tmp_path / "bad.pt"))
    torch.save(net.state_dict(), tmp_path / "resnet18.pt")
    with pytest.raises(ValueError, match=r"resnet18.pt' are another net's: \d+ tensors are missing"):
        Backbone(SMALL, "resnet34", weights=str(tmp_path / "resnet18.pt"))
    with pytest.raises(ValueError, match=r"resnet18.pt' cannot be loaded: .*size mismatch"):
        Backbone(SMALL, "wide_resnet50_2", weights=str(tmp_path / "resnet18.pt"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "resnet81"}, "Backbone of 'p': torchvision has no classification net 'resnet81'; nearest: resnet18"),
        ({"name": "squeezenet1_0"}, "squeezenet1_0 does not end in a linear layer"),
        ({"name": "inception_v3"}, "inception_v3 cannot take pictures of 32 × 32 pixels: .*[Kk]ernel size"),
        ({"name": "vit_b_16", "feature": Image(name="p", size=30)}, "vit_b_16 cannot be built for pictures of 30 × 30"),
        ({"feature": Image(name="p", mode="RGBA")}, "three colours; set the feature's mode to RGB"),
        ({"feature": Numeric(name="x")}, "Backbone encodes Image features; 'x' is Numeric"),
        ({"output_dim": 0}, "Backbone of 'p': output_dim must be at least 1, found 0"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        Backbone(**{"feature": SMALL, **arguments})

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn
from torchvision.transforms import v2

from dssm_lightning.features.image import Image
from dssm_lightning.features.numeric import Numeric
from dssm_lightning.models.encoders.backbone import Backbone
from dssm_lightning.models.encoders.convnet import ConvNet

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


BOTH = [lambda feature: ConvNet(feature, 8), lambda feature: Backbone(feature, "resnet18", output_dim=8)]


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
    ids=["texture", "plain colour"],  # a norm over single channels would remove a uniform colour
)
def test_convnet_learns_to_classify_pictures(one, other):
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
        ValueError, match=r"ConvNet of 'p': channels \[16, 32, 64, 128\] and patch 4 .* 32 × 32 .* 8 × 8"
    ):
        ConvNet(Image(name="p", size=8))
    with pytest.raises(ValueError, match=r"channels \[\]"):
        ConvNet(SMALL, channels=[])
    with pytest.raises(ValueError, match="ConvNet of 'p': output_dim is 0"):
        ConvNet(SMALL, output_dim=0)
    with pytest.raises(ValueError, match=r"ConvNet .*'x' is Numeric"):
        ConvNet(Numeric(name="x"))


def test_a_grid_of_convnet_has_a_mean_for_each_part():
    """Equal to a mean by a loop; one part is the mean over the whole picture, with the weights of earlier releases."""
    feature = Image(name="p", size=24)
    encoder = ConvNet(feature, output_dim=3, channels=[8, 16], patch=2, grid=2)
    pixels = pictures(2, feature)
    maps = encoder.convolutions(pixels * (2 / 255) - 1)  # (2, 16, 6, 6)
    parts = [[row[:3, :3], row[:3, 3:], row[3:, :3], row[3:, 3:]] for row in maps.flatten(0, 1)]
    means = torch.stack([torch.stack([part.mean() for part in row]) for row in parts]).view(2, -1)  # (2, 16 · 4)
    torch.testing.assert_close(encoder(pixels), encoder.output(means), atol=1e-5, rtol=1e-4)
    whole = ConvNet(feature, output_dim=3, channels=[8, 16], patch=2)
    assert whole.output.weight.shape == (3, 16)
    assert encoder.output.weight.shape == (3, 64)
    assert whole.state_dict().keys() == encoder.state_dict().keys()


@pytest.mark.parametrize(("grid", "message"), [(4, r"grid is 4; .* 6 × 6"), (0, "grid is 0")])
def test_a_grid_divides_the_positions_of_convnet(grid, message):
    with pytest.raises(ValueError, match=rf"ConvNet of 'p': {message}"):
        ConvNet(Image(name="p", size=24), channels=[8, 16], patch=2, grid=grid)


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
    """A net whose BatchNorm has statistics other than the initial ones."""
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
    mean, std = (
        torch.tensor([0.485, 0.456, 0.406]),
        torch.tensor([0.229, 0.224, 0.225]),
    )  # from torchvision's documentation
    normalised = (pixels[:, :3] / 255 - mean[:, None, None]) / std[:, None, None]
    net.fc = nn.Identity()
    torch.testing.assert_close(encoder(pixels), net(normalised), atol=1e-4, rtol=1e-4)
    assert batch_norms(encoder) == []  # frozen BatchNorm is another class, whose statistics are constant


def test_frozen_backbones_train_the_linear_layer_only(net, tmp_path):
    torch.save(net.state_dict(), tmp_path / "w.pt")
    encoder = Backbone(SMALL, "resnet18", output_dim=4, weights=str(tmp_path / "w.pt"), frozen=True).train()
    encoder(pictures(2)).sum().backward()
    trained = {name for name, p in encoder.named_parameters() if p.requires_grad}
    assert trained == {"no_picture", "output.weight", "output.bias"}
    assert not encoder.backbone.training
    assert encoder.output.weight.grad is not None


@pytest.mark.parametrize(("name", "classifier"), [("convnext_tiny", "classifier.2"), ("vit_b_32", "heads.head")])
def test_features_are_the_input_of_the_classifier(name, classifier):
    encoder = Backbone(SMALL, name, output_dim=None).eval()  # a net without BatchNorm, which would be replaced
    options = {"image_size": 32} if name.startswith("vit") else {}
    plain = torchvision.models.get_model(name, num_classes=2, **options).eval()
    missing = plain.load_state_dict(encoder.backbone.state_dict(), strict=False).missing_keys
    assert missing == [f"{classifier}.weight", f"{classifier}.bias"]
    read = []
    plain.get_submodule(classifier).register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]))
    pixels = pictures(2)
    with torch.no_grad():
        plain((pixels[:, :3] - encoder.mean) / encoder.std)
        torch.testing.assert_close(encoder(pixels), read[0], rtol=1e-4, atol=1e-4)


def read(**arguments):
    Backbone(**{"feature": SMALL, "name": "resnet18", **arguments}).pretrained.read()


def test_weights_that_do_not_fit(net, tmp_path):
    with pytest.raises(ValueError, match=r"weights 'nowhere.pt' .*resnet18: IMAGENET1K_V1"):
        read(weights="nowhere.pt")
    for name, content in (("bad.pt", b"no weights"), ("bad.safetensors", b"no weights"), ("empty.pt", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=rf"Backbone of 'p': weights '.*{name}' .*: ."):
            read(weights=str(tmp_path / name))
    torch.save({"state_dict": net.state_dict(), "epoch": 3}, tmp_path / "nested.pt")
    with pytest.raises(ValueError, match=r"nested.pt' .*\['epoch', 'state_dict'\]"):
        read(weights=str(tmp_path / "nested.pt"))
    torch.save(net.state_dict(), tmp_path / "resnet18.pt")
    with pytest.raises(ValueError, match=r"resnet18.pt' .*resnet34: 80 .*layer1.2.conv1.weight"):
        read(name="resnet34", weights=str(tmp_path / "resnet18.pt"))
    first = r"layer1.0.conv1.weight is \(64, 64, 3, 3\) .*\(128, 64, 1, 1\)"
    with pytest.raises(ValueError, match=rf"resnet18.pt' .*wide_resnet50_2: \d+ .*shapes .*{first}"):
        read(name="wide_resnet50_2", weights=str(tmp_path / "resnet18.pt"))
    torch.save(net.state_dict() | {"extra": torch.zeros(1)}, tmp_path / "more.pt")
    with pytest.raises(ValueError, match=r"more.pt' .*resnet18: 1 .*extra\)"):
        read(weights=str(tmp_path / "more.pt"))


def test_named_weights_without_a_network(monkeypatch):
    def offline(*args, **options):
        raise OSError("no route to host")

    monkeypatch.setattr(torchvision.models._api.WeightsEnum, "get_state_dict", offline)
    encoder = Backbone(SMALL, "resnet18", weights="IMAGENET1K_V1")
    with pytest.raises(ValueError, match=r"IMAGENET1K_V1 of resnet18 \(no route to host\).*`weights`"):
        encoder(pictures(1))


def test_named_weights_are_downloaded_once_from_torchvision(net, monkeypatch):
    downloads = []

    def download(weights, *args, **options):
        downloads.append((str(weights), options))
        return net.state_dict()

    monkeypatch.setattr(torchvision.models._api.WeightsEnum, "get_state_dict", download)
    encoder = Backbone(SMALL, "resnet18", weights="DEFAULT")
    assert downloads == []
    encoder(pictures(1))
    encoder(pictures(1))
    assert [name for name, _ in downloads] == ["ResNet18_Weights.IMAGENET1K_V1"]  # once
    assert torch.equal(encoder.backbone.conv1.weight, net.conv1.weight)


def test_a_checkpoint_makes_the_weights_file_unnecessary(net, tmp_path):
    path = tmp_path / "w.pt"
    torch.save(net.state_dict(), path)
    encoder = Backbone(SMALL, "resnet18", output_dim=4, weights=str(path))
    pixels = pictures(2)
    expected = encoder.eval()(pixels)
    path.unlink()
    again = Backbone(SMALL, "resnet18", output_dim=4, weights=str(path)).eval()
    nn.ModuleDict({"picture": again}).load_state_dict(nn.ModuleDict({"picture": encoder}).state_dict())
    assert torch.equal(again(pixels), expected)


def test_frozen_for_some_epochs(net, tmp_path):
    torch.save(net.state_dict(), tmp_path / "w.pt")
    encoder = Backbone(SMALL, "resnet18", output_dim=4, weights=str(tmp_path / "w.pt"), frozen_epochs=2).train()
    for epoch, trains in ((0, False), (1, False), (2, True), (3, True)):
        encoder.start_epoch(epoch)
        encoder.zero_grad()
        encoder(pictures(2)).sum().backward()
        assert encoder.output.weight.grad is not None
        assert (encoder.backbone.conv1.weight.grad is not None) == trains
        assert encoder.backbone.training == trains
    assert encoder.backbone.conv1.weight.requires_grad  # also in frozen epochs: an optimizer takes its parameters once


def test_features_of_a_frozen_backbone_can_replace_the_pictures():
    encoder = Backbone(SMALL, "shufflenet_v2_x0_5", output_dim=4, frozen=True).eval()
    with torch.no_grad():
        encoder.no_picture.fill_(7)
    pixels = pictures(3)
    pixels[1] = 0
    fixed = encoder.fixed(pixels)
    assert fixed.shape == (3, 1024 + 1)
    assert fixed[:, -1].tolist() == [1, 0, 1]
    torch.testing.assert_close(encoder(fixed), encoder(pixels))
    assert encoder(fixed)[1].tolist() == [7] * 4
    assert encoder.gives_fixed_features
    assert not Backbone(SMALL, "shufflenet_v2_x0_5").gives_fixed_features
    flips = [v2.RandomHorizontalFlip]
    assert not Backbone(SMALL, "shufflenet_v2_x0_5", frozen=True, transforms=flips).gives_fixed_features


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "resnet81"}, "Backbone of 'p': .*'resnet81'.*resnet18"),
        ({"name": "squeezenet1_0"}, "squeezenet1_0 .*linear layer"),
        ({"name": "inception_v3"}, "inception_v3 .*32 × 32.*[Kk]ernel size"),
        ({"name": "vit_b_16", "feature": Image(name="p", size=30)}, "vit_b_16 .*30 × 30"),
        ({"feature": Image(name="p", mode="RGBA")}, "Backbone of 'p': .*mode.*RGB"),
        ({"feature": Numeric(name="x")}, "Backbone .*'x' is Numeric"),
        ({"output_dim": 0}, "Backbone of 'p': output_dim is 0"),
        ({"frozen_epochs": -1}, "Backbone of 'p': frozen_epochs is -1"),
        ({"learning_rate": 0.0}, r"Backbone of 'p': learning_rate is 0\.0"),
        ({"frozen": True, "frozen_epochs": 1}, "Backbone of 'p': frozen is true.*frozen_epochs"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        Backbone(**{"feature": SMALL, **arguments})

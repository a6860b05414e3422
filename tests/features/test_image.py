import io
import json
import logging
import re
import struct
import zlib

import numpy as np
import PIL.Image
import polars as pl
import pytest

from dssm_lightning.features.base import feature_from_dict
from dssm_lightning.features.image import Image
from dssm_lightning.utils.errors import UserError

RED, BLUE, WHITE, BLACK = (255, 0, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)


def encoded_file(picture: PIL.Image.Image, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def noise(width: int, height: int) -> PIL.Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, size=(height, width, 3), dtype=np.uint8)
    return PIL.Image.fromarray(pixels)


def header_of(width: int, height: int) -> bytes:
    """A PNG file that claims a size and holds nearly nothing."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    size = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def encode_one(picture: PIL.Image.Image | bytes, **options) -> np.ndarray:
    content = picture if isinstance(picture, bytes) else encoded_file(picture)
    return Image(name="p", **options).encode(pl.Series([content], dtype=pl.Binary))[0].numpy()


# -- what comes out -------------------------------------------------------------------------------------------------


def test_a_picture_of_the_right_size_is_taken_as_it_is():
    picture = noise(8, 8)
    feature = Image(name="p", size=8)
    encoded = feature.encode(pl.Series([encoded_file(picture)], dtype=pl.Binary))
    assert encoded.shape == (1, feature.channels, 8, 8) == (1, 4, 8, 8)
    assert str(encoded.dtype) == "torch.uint8"
    np.testing.assert_array_equal(encoded[0, :3], np.asarray(picture).transpose(2, 0, 1))
    assert (encoded[0, 3] == 255).all()


def test_aspect_is_kept_by_centring_on_white():
    encoded = encode_one(PIL.Image.new("RGB", (32, 16), RED), size=8)  # becomes 8 × 4, with 2 rows above and below
    np.testing.assert_array_equal(encoded[3, :, 0], [0, 0, 255, 255, 255, 255, 0, 0])
    for row in range(8):
        assert tuple(encoded[:3, row, 5]) == (RED if 2 <= row < 6 else WHITE)
    upright = encode_one(PIL.Image.new("RGB", (1, 300), BLUE), size=8)  # a line stays at least one pixel wide
    assert (upright[3] == 255).sum() == 8


def test_pictures_are_enlarged_as_well():
    assert (encode_one(PIL.Image.new("RGB", (2, 2), RED), size=8)[3] == 255).all()


def test_resizing_is_antialiased():
    # a checkerboard of single pixels becomes grey; sampling without a filter would leave black or white
    board = PIL.Image.fromarray((np.indices((64, 64)).sum(axis=0) % 2 * 255).astype(np.uint8))
    assert np.abs(encode_one(board, size=8, mode="L")[0, 2:6, 2:6].astype(int) - 127).max() < 12


def test_transparency():
    picture = PIL.Image.new("RGBA", (4, 4), (*BLACK, 0))
    picture.putpixel((0, 0), (*RED, 255))
    picture.putpixel((1, 0), (0, 0, 0, 128))
    rgb = encode_one(picture, size=4)
    assert tuple(rgb[:3, 0, 0]) == RED
    assert tuple(rgb[:3, 0, 1]) == (127, 127, 127)  # half black on white: 255 · (1 − 128 / 255)
    assert tuple(rgb[:3, 3, 3]) == WHITE
    rgba = encode_one(picture, size=4, mode="RGBA")
    assert rgba.shape == (5, 4, 4)
    np.testing.assert_array_equal(rgba[3, 0], [255, 128, 0, 0])
    assert (rgba[4] == 255).all()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16"])
def test_every_kind_of_file_becomes_rgb(mode):
    white = PIL.Image.fromarray(np.full((4, 4), 65535, np.uint16)) if mode == "I;16" else None
    picture = white or PIL.Image.new("RGB", (4, 4), WHITE).convert(mode)
    encoded = encode_one(encoded_file(picture, "TIFF"), size=4)
    assert (encoded == 255).all()


def test_jpeg_in_the_four_colours_of_print():
    encoded = encode_one(encoded_file(PIL.Image.new("RGB", (16, 16), (200, 40, 90)).convert("CMYK"), "JPEG"), size=16)
    assert np.abs(encoded[:3, 8, 8].astype(int) - [200, 40, 90]).max() < 6


def test_grey_of_16_bits_keeps_its_range():
    picture = PIL.Image.fromarray(np.full((4, 4), 128 * 257, np.uint16))
    assert (encode_one(picture, size=4, mode="L")[0] == 128).all()


def test_palette_with_a_transparent_colour():
    picture = PIL.Image.new("P", (2, 2), 0)
    picture.putpalette([*RED, *BLUE])
    picture.putpixel((1, 1), 1)
    encoded = encode_one(encoded_file(picture, transparency=0), size=2)
    assert tuple(encoded[:3, 0, 0]) == WHITE
    assert tuple(encoded[:3, 1, 1]) == BLUE


def test_exif_rotation_is_applied():
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # orientation: turn by 90° clockwise to see it upright
    picture = PIL.Image.new("RGB", (8, 8), RED)
    picture.paste(BLUE, (0, 0, 8, 4))  # blue above, which belongs to the right
    encoded = encode_one(encoded_file(picture, exif=exif.tobytes()), size=8)
    assert tuple(encoded[:3, 1, 1]) == RED
    assert tuple(encoded[:3, 1, 6]) == BLUE


def test_first_frame_of_an_animation():
    frames = [PIL.Image.new("RGB", (4, 4), colour) for colour in (RED, BLUE)]
    content = encoded_file(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert tuple(encode_one(content, size=4)[:3, 0, 0]) == RED


def test_large_jpeg_is_close_to_its_full_decoding():
    picture = noise(64, 64).resize((1200, 900), PIL.Image.Resampling.BICUBIC)
    content = encoded_file(picture, "JPEG", quality=95)
    expected = np.asarray(picture.resize((64, 48), PIL.Image.Resampling.BICUBIC)).transpose(2, 0, 1)
    difference = encode_one(content, size=64)[:3, 8:56].astype(int) - expected
    assert np.abs(difference).mean() < 4


# -- where pictures come from ---------------------------------------------------------------------------------------


def test_paths_start_at_the_root(tmp_path):
    (tmp_path / "sub").mkdir()
    noise(4, 4).save(tmp_path / "sub" / "a.png")
    by_root = Image(name="p", size=4, root=str(tmp_path)).encode(pl.Series(["sub/a.png"]))
    absolute = Image(name="p", size=4).encode(pl.Series([str(tmp_path / "sub" / "a.png")]))
    assert (by_root == absolute).all()
    assert (by_root[0, 3] == 255).all()


def test_a_missing_picture_is_not_a_black_one():
    black = encoded_file(PIL.Image.new("RGB", (4, 4), BLACK))
    encoded = Image(name="p", size=4).encode(pl.Series([black, None, b""], dtype=pl.Binary))
    assert (encoded[0, :3] == 0).all()
    assert (encoded[0, 3] == 255).all()
    assert (encoded[1:] == 0).all()
    for column in (pl.Series(["", None]), pl.Series([None, None])):
        assert (Image(name="p", size=4).encode(column) == 0).all()


def test_many_pictures_stay_in_order():
    contents = [encoded_file(PIL.Image.new("L", (2, 2), i % 256)) for i in range(600)]
    encoded = Image(name="p", size=2, mode="L").encode(pl.Series(contents))
    np.testing.assert_array_equal(encoded[:, 0, 0, 0], np.arange(600) % 256)


# -- what cannot be read --------------------------------------------------------------------------------------------


def damaged(tmp_path) -> list[str]:
    good = encoded_file(noise(64, 64))
    (tmp_path / "good.png").write_bytes(good)
    (tmp_path / "truncated.png").write_bytes(good[: len(good) // 2])
    (tmp_path / "truncated.jpg").write_bytes(encoded_file(noise(64, 64), "JPEG")[:600])
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "giant.png").write_bytes(header_of(30_000, 30_000))
    return ["truncated.png", "truncated.jpg", "text.png", "empty.png", "giant.png", "absent.png"]


def test_an_unreadable_picture_is_an_error_with_its_path(tmp_path):
    feature = Image(name="poster", root=str(tmp_path))
    for name in damaged(tmp_path):
        message = rf"Image feature 'poster': cannot read '.*{name}' in row 1 .*on_error: skip"
        with pytest.raises(UserError, match=message):
            feature.encode(pl.Series(["good.png", name]))
    with pytest.raises(UserError, match=r"'poster': .*absent.png' in row 0 .*no such file"):
        feature.encode(pl.Series(["absent.png"]))
    with pytest.raises(UserError, match=r"'poster': .*text.png' in row 0 .*Pillow"):
        feature.encode(pl.Series(["text.png"]))
    with pytest.raises(UserError, match=r"'poster': .*5 bytes in row 0"):
        feature.encode(pl.Series([b"12345"]))


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("text.jpg", b"Dear reader, this is no picture.", "format that Pillow"),
        ("empty.jpg", b"", "format that Pillow"),
        ("cut.png", encoded_file(noise(64, 64))[:5000], r"image file is truncated|broken PNG|unrecognized data"),
        ("cut.jpg", encoded_file(noise(64, 64), "JPEG")[:900], r"image file is truncated \(\d+ bytes not processed\)"),
        ("nothing.png", header_of(0, 0), "0 pixels"),
        ("line.png", header_of(7, 0), "0 pixels"),
        ("giant.png", header_of(30_000, 30_000), "64,000,000 pixels"),
        ("large.png", header_of(9_000, 8_000), "9,000 × 8,000 pixels; .*64,000,000"),
        ("floats.tiff", encoded_file(PIL.Image.new("F", (4, 4)), "TIFF"), "pixels are floats"),
    ],
    ids=lambda value: value if isinstance(value, str) and "." in value[-5:] else "",
)
def test_an_error_has_the_reason(tmp_path, name, content, reason):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(
        UserError, match=rf"Image feature 'p': cannot read '.*{name}' in row 0 \(counted.*: .*({reason})"
    ):
        Image(name="p", root=str(tmp_path)).encode(pl.Series([name]))


def test_unreadable_pictures_can_be_skipped_and_are_counted(tmp_path, caplog):
    names = damaged(tmp_path)
    with caplog.at_level(logging.WARNING):
        encoded = Image(name="p", root=str(tmp_path), on_error="skip").encode(pl.Series(["good.png", *names, None]))
    assert (encoded[0, 3] == 255).all()
    assert (encoded[1:] == 0).all()
    assert re.search(r"Image feature 'p': 6 of 8 pictures .*truncated\.png", caplog.text)


@pytest.mark.parametrize("size", [(9_000, 8_000), (10_000, 10_000), (30_000, 30_000)])
def test_giants_are_refused_by_their_header(size):
    with pytest.raises(UserError, match=r"pixels.* 64,000,000|64,000,000 pixels"):
        encode_one(header_of(*size))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 0}, "size is 0"),
        ({"mode": "HSV"}, "mode is 'HSV'; .*RGB, RGBA, L"),
        ({"on_error": "ignore"}, "on_error is 'ignore'; .*error, skip"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(UserError, match=f"Image feature 'p': {message}"):
        Image(name="p", **arguments)


def test_bad_columns(tmp_path):
    with pytest.raises(UserError, match="'p': column 'p' holds Int64"):
        Image(name="p").encode(pl.Series([1]))
    with pytest.raises(UserError, match=r"'p': root is '.*nowhere'"):
        Image(name="p", root=str(tmp_path / "nowhere")).encode(pl.Series(["a.png"]))


def test_json_round_trip():
    feature = Image(name="p", column="picture", size=32, mode="L", root="pictures", on_error="skip")
    assert feature.is_fitted
    assert feature_from_dict(json.loads(json.dumps(feature.to_dict()))) == feature

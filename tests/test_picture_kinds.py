"Pictures of every kind and in every form: the model sees what people see, or a sentence says why not."
import base64
import io
import logging
import pickle
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from file_server import Fault, FileServer, nobody
from PIL import Image, ImageDraw

from beit3_colab import evaluate
from beit3_colab.downloads.fetching import fetch
from beit3_colab.downloads.records import read_record
from beit3_colab.pictures.pixels import from_array
from beit3_colab.pictures.reading import check_image, fetch_picture, ImageError, open_picture, picture_file, read_image, refresh_picture, to_file
from beit3_colab.pictures.sources import FolderPictures, OwnPictures
from beit3_colab.pictures.thumbnails import Thumbnails, to_jpeg
from beit3_colab.scenes.description import make_scene
from beit3_colab.scenes.drawing import draw_scene

SCENE = draw_scene(make_scene(4))
COLORS, GREY = np.asarray(SCENE), np.asarray(SCENE.convert("L"))
RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16) # every level once


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("BEIT3_COLAB_CACHE", str(tmp_path/"cache"))
    return tmp_path/"cache"

def encode(image, kind="PNG", **options):
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()

def seen(source): return np.asarray(open_picture(source))

def grey_of(source):
    "The levels of a picture that must have come out grey."
    pixels = seen(source)
    assert (pixels == pixels[..., :1]).all()
    return pixels[..., 0]

def lying(image, orientation=6):
    "As a telephone stores it: on its side, with a note how to turn it."
    exif = Image.Exif()
    exif[0x0112] = orientation
    back = {6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270, 3: Image.Transpose.ROTATE_180, 2: Image.Transpose.FLIP_LEFT_RIGHT}
    return image.transpose(back[orientation]), exif

def tiff(bits, rows, packed, big=False, photometric=1):
    "A TIFF of one strip of grey, by hand: Pillow writes no twelve bits."
    mark = ">" if big else "<"
    entries = [(256, 4, rows.shape[1]), (257, 4, rows.shape[0]), (258, 3, bits), (259, 3, 1), (262, 3, photometric), (273, 4, 8), (277, 3, 1), (278, 4, rows.shape[0]), (279, 4, len(packed))]
    table = b"".join(struct.pack(mark + "HHI" + ("H2x" if kind == 3 else "I"), tag, kind, 1, value) for tag, kind, value in entries)
    head = (b"MM\0*" if big else b"II*\0") + struct.pack(mark + "I", 8 + len(packed))
    return head + packed + struct.pack(mark + "H", len(entries)) + table + b"\0"*4

def png16(values, color, transparent=b""):
    "A PNG of sixteen bits, by hand, with a transparent colour if given."
    def chunk(name, body): return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
    height, width = values.shape[:2]
    body = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, color, 0, 0, 0))
            + (chunk(b"tRNS", transparent) if transparent else b"") + chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b""))

WIDE = RAMP.astype(np.uint16)*257

@pytest.mark.parametrize("source", [
    png16(WIDE, 0), encode(Image.fromarray(WIDE), "TIFF"), encode(Image.fromarray(WIDE), "TIFF", compression="tiff_lzw"), tiff(16, RAMP, WIDE.astype(">u2").tobytes(), big=True),
    encode(Image.fromarray(WIDE), "JPEG2000"), b"P5 16 16 65535\n" + WIDE.astype(">u2").tobytes(),
    Image.fromarray(WIDE), Image.frombytes("I;16B", (16, 16), WIDE.astype(">u2").tobytes()), WIDE, WIDE.astype(">u2"), WIDE[None], WIDE[..., None], torch.from_numpy(WIDE.copy()),
    encode(Image.fromarray(np.float32(RAMP)/255), "TIFF"), Image.fromarray(np.float32(RAMP)), encode(Image.fromarray(np.int32(RAMP)), "TIFF"),
    RAMP, RAMP.astype(np.int64), RAMP/255, (RAMP/255 + .001).astype(np.float32), RAMP - .3, RAMP.astype(np.float16), torch.from_numpy(RAMP/np.float32(255)), torch.from_numpy(RAMP.copy())[None], np.ma.array(RAMP),
    Image.fromarray(RAMP), encode(Image.fromarray(RAMP).convert("LA")), Image.fromarray(RAMP).convert("P"), encode(Image.fromarray(RAMP).convert("RGBA"), "WEBP", lossless=True)],
    ids=lambda s: type(s).__name__ + (s[:4].hex() if isinstance(s, bytes) else str(getattr(s, "dtype", "")) or s.mode))
def test_every_kind_of_grey_has_its_levels(source): assert np.array_equal(grey_of(source), RAMP)

def test_bits_are_what_the_file_says():
    levels = np.linspace(0, 4095, 16).astype(np.uint16).reshape(2, 8)
    pairs = levels.reshape(-1, 2).astype(int)
    packed = np.stack([pairs[:, 0] >> 4, (pairs[:, 0] & 15) << 4 | pairs[:, 1] >> 8, pairs[:, 1] & 255], 1).astype(np.uint8).tobytes()
    assert np.array_equal(grey_of(tiff(12, levels, packed)), np.rint(levels/4095*255)) # twelve bits of twelve
    assert grey_of(png16(levels, 0)).max() == 16 # twelve of sixteen are dark, in a browser too
    assert np.array_equal(seen(png16(COLORS.astype(np.uint16)*257, 2)), COLORS)
    assert np.array_equal(grey_of(Image.fromarray(RAMP > 99)), (RAMP > 99)*255) and np.array_equal(grey_of(RAMP > 99), (RAMP > 99)*255)

NEGATIVE = {262: 0} # 0 is white, as radiographs have it

@pytest.mark.parametrize("source", [
    tiff(16, RAMP, (65_535 - WIDE).astype("<u2").tobytes(), photometric=0), tiff(8, RAMP, (255 - RAMP).tobytes(), photometric=0), encode(Image.fromarray(RAMP), "TIFF", tiffinfo=NEGATIVE),
    encode(Image.fromarray(65_535 - WIDE), "TIFF", tiffinfo=NEGATIVE), encode(Image.fromarray(65_535 - WIDE), "TIFF", tiffinfo=NEGATIVE, compression="tiff_lzw"), encode(Image.fromarray(1 - RAMP/np.float32(255)), "TIFF", tiffinfo=NEGATIVE)])
def test_a_tiff_whose_zero_is_white_is_no_negative(source):
    assert np.array_equal(grey_of(source), RAMP) and np.array_equal(grey_of(Image.open(io.BytesIO(source))), RAMP)
    assert np.array_equal(grey_of(to_file(Image.open(io.BytesIO(source)))[1]), RAMP)

def test_zero_is_white_where_a_photo_lies_on_its_side():
    assert np.array_equal(grey_of(encode(Image.fromarray(65_535 - WIDE), "TIFF", tiffinfo=NEGATIVE | {274: 3})), RAMP[::-1, ::-1])

@pytest.mark.parametrize("kind", [np.int64, np.int32, np.int8, np.uint32, np.uint64])
def test_a_mask_of_whole_numbers_is_not_black(kind):
    for levels in (2, 21): # a mask; classes
        with pytest.raises(ImageError, match=f"from 0 to {levels - 1}, which would be black or nearly so: scale them"): open_picture((RAMP % levels).astype(kind))
    assert not grey_of(np.zeros((4, 4), kind)).any() and grey_of(((RAMP > 9)*127).astype(kind)).max() == 127

def test_bytes_that_are_a_mask_are_told_once(caplog, monkeypatch):
    monkeypatch.setattr("beit3_colab.pictures.pixels._told", set())
    for _ in range(2): assert grey_of(RAMP % 2).max() == 1
    assert [r.message for r in caplog.records] == ["an array given as a picture holds only 0 and 1 of 0 … 255, which is black; give a mask as truth values: array.astype(bool)"]
    assert grey_of((RAMP % 2).astype(bool)).max() == 255

@pytest.mark.parametrize("bits", [8, 10, 12, 14])
def test_few_bits_of_sixteen_are_refused(bits):
    levels = np.linspace(0, 2**bits - 1, 16).astype(np.uint16).reshape(2, 8)
    for source in (levels, Image.fromarray(levels), torch.from_numpy(levels.copy())):
        with pytest.raises(ImageError, match=f"numbers from 0 to {2**bits - 1:,} in 16 bits, where 65,535 is white: scale them"): open_picture(source)
    assert grey_of(png16(levels, 0)).max() == round((2**bits - 1)/257) # a file says what is white

@pytest.mark.parametrize("source, says", [
    (np.float32([[0, .5], [1, 1.04]]), "numbers from 0 to 1.04, neither 0 … 1 nor 0 … 255: scale them"),
    (np.float32([[-.3, .9]]), "from -0.3 to 0.9, where 1 should be white"), (np.float32([[0, 255.6]]), "from 0 to 255.6"), (torch.tensor([[[-1., 1.]]*2]*3), "numbers from -1 to 1: .*turned back"), (np.float64([[0, np.nan]]), r"NaN or infinite numbers \(1 of 2\)"),
    (np.float32([[0, np.inf]]), "infinite"), (np.int16([[-1024, 3071]]), "from -1,024 to 3,071"), (np.int64([[0, 256]]), "from 0 to 256"), (np.uint16([[0, 200]]), "from 0 to 200 in 16 bits"),
    (np.float32([[0., 900.5]]), "from 0 to 900.5"), (Image.fromarray(np.int32([[0, 70_000]])), "picture given holds numbers from 0 to 70,000"),
    (encode(Image.fromarray(np.float32([[-3, 5]])), "TIFF"), "given as bytes holds numbers from -3 to 5"), (encode(Image.fromarray(np.float32([[np.nan, 5]])), "TIFF"), "NaN"),
    (np.ma.masked_equal(RAMP, 3), "1 masked numbers"), (np.array([[None]]), "object"), (np.array([["a"]]), "<U1"), (np.zeros((2, 2), complex), "complex"), (np.zeros(2, "V4").reshape(1, 2), r"\|V4"),
    (np.zeros((3, 3, 3), np.uint8), r"array \[3, 3, 3\], whose channels may come first or last"), (np.zeros((3, 40, 3)), "first or last"), (torch.zeros(1, 8, 3), "first or last"), (torch.zeros(4, 8, 3), "first or last"),
    (np.zeros((5, 5, 2), np.uint8), r"\[H, W, C\] or \[C, H, W\] .*not uint8 \[5, 5, 2\]"), (np.zeros((0, 4, 3), np.uint8), r"\[0, 4, 3\]"), (np.zeros(7), r"\[7\]"), (Image.fromarray(RAMP).convert("I;16"), "from 0 to 255 in 16 bits, where 65,535 is white"), (Image.new("RGB", (0, 4)), "has no pixels .0 × 4"), (np.array(7), r"\[\]"),
    (np.zeros((2, 8, 8, 3), np.uint8), r"batch \[2, 8, 8, 3\], not one picture: .*list\(array\)")])
def test_what_nobody_can_know_is_refused_with_the_range(source, says):
    with pytest.raises(ImageError, match=says) as refused: open_picture(source)
    assert len(str(refused.value)) < 400

def test_a_file_of_unknown_range_is_found_before_anything_is_answered(tmp_path, vqa, cache):
    Image.fromarray(np.float32([[-3, 5]])).save(tmp_path/"depth.tif")
    SCENE.save(tmp_path/"a.png")
    with pytest.raises(ImageError, match="from -3 to 5"): check_image((tmp_path/"depth.tif").read_bytes(), "depth.tif")
    with pytest.raises(ValueError, match="depth.tif holds numbers from -3 to 5.*nothing was answered"): evaluate(vqa, questions=tmp_path, question="Why?", output_dir=tmp_path/"run", progress=False)

def test_channels_first_and_last():
    for array in (COLORS, COLORS.transpose(2, 0, 1), COLORS/255, COLORS.astype(np.uint16)*257, torch.from_numpy(COLORS.copy()).permute(2, 0, 1), np.asfortranarray(COLORS), COLORS[::-1][::-1]):
        assert np.array_equal(seen(array), COLORS)
    assert from_array(np.uint8([[[9, 8, 7]]])).getpixel((0, 0)) == (9, 8, 7) and from_array(np.zeros((1, 5, 4), np.uint8)).size == (5, 1) and from_array(np.zeros((4, 5, 3))).size == (5, 4)
    half = torch.from_numpy(COLORS/np.float32(255)).permute(2, 0, 1).to(torch.bfloat16).requires_grad_() # coarser than eight bits
    assert abs(seen(half).astype(int) - COLORS).max() <= 1

def test_a_memory_map(tmp_path):
    np.save(tmp_path/"scan.npy", WIDE)
    assert np.array_equal(grey_of(np.load(tmp_path/"scan.npy", mmap_mode="r")), RAMP)

@pytest.mark.parametrize("mode, kind", [*((mode, None) for mode in ("RGBA", "LA", "PA", "RGBa", "La", "P")), # as PIL pictures
    ("RGBA", "PNG"), ("LA", "PNG"), ("P", "PNG"), ("RGBA", "WEBP"), ("RGBA", "TIFF"), ("LA", "TIFF"), ("RGBA", "GIF")])
def test_a_drawing_on_nothing_is_on_white(mode, kind):
    greys = mode in ("LA", "La")
    drawing = Image.new("LA" if greys else "RGBA", (40, 40), (0, 0) if greys else (0, 0, 0, 0))
    ImageDraw.Draw(drawing).rectangle((10, 10, 29, 29), fill=(0, 255) if greys else (0, 0, 0, 255))
    if mode == "PA":
        pairs = np.stack([np.zeros((40, 40), np.uint8), np.asarray(drawing)[..., 3]], -1)
        drawing = Image.frombytes("PA", (40, 40), pairs.tobytes())
        drawing.putpalette([0, 0, 0, 255, 255, 255])
    else: drawing = drawing.convert(mode) if mode != "P" else drawing.quantize(4)
    source = drawing if kind is None else encode(drawing, kind, **dict(lossless=True) if kind == "WEBP" else {})
    levels = grey_of(source)
    assert (levels[10:30, 10:30] == 0).all() and levels[0, 0] == 255 and (levels == 255).sum() == 1200
    name, kept = to_file(source)
    assert np.array_equal(grey_of(kept), levels) # put on white once

def test_transparent_colours_of_sixteen_bits():
    values = np.uint16([[0, 30_000], [65_535, 30_000]])
    assert grey_of(png16(values, 0, struct.pack(">H", 30_000))).tolist() == [[0, 255], [255, 255]]
    colors = np.stack([values]*3, -1)
    assert grey_of(png16(colors, 2, struct.pack(">HHH", 0, 0, 0))).tolist() == [[255, 117], [255, 117]]

def test_what_shines_through_is_mixed_with_white():
    assert seen(Image.new("RGBA", (1, 1), (255, 0, 0, 128)))[0, 0].tolist() == [255, 127, 127]
    assert np.array_equal(seen(SCENE.convert("RGBA")), COLORS) # opaque: not a bit is changed

@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "HSV", "LAB"])
def test_other_colour_spaces(mode):
    image = SCENE.convert(mode) if mode != "LAB" else lab(SCENE)
    assert abs(seen(image).astype(int) - COLORS).mean() < 3
    if mode == "CMYK": assert abs(seen(encode(image, "JPEG", quality=95)).astype(int) - COLORS).mean() < 3 # as Adobe's programs write it: inverted

def lab(image):
    from PIL import ImageCms
    return ImageCms.profileToProfile(image, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB")

def test_the_first_frame():
    for kind in ("GIF", "PNG", "WEBP", "TIFF"):
        moving = encode(Image.fromarray(RAMP), kind, save_all=True, append_images=[Image.new("L", (16, 16))], **dict(lossless=True) if kind == "WEBP" else {})
        assert np.array_equal(grey_of(moving), RAMP) and np.array_equal(grey_of(Image.open(io.BytesIO(moving))), RAMP), kind

@pytest.mark.parametrize("orientation", [2, 3, 6, 8])
def test_a_photo_is_upright_in_whatever_form(orientation, tmp_path):
    stored, exif = lying(SCENE, orientation)
    stored.save(tmp_path/"photo.png", exif=exif)
    opened = Image.open(tmp_path/"photo.png")
    for source in (tmp_path/"photo.png", (tmp_path/"photo.png").read_bytes(), opened, opened.convert("RGB"), opened.convert("RGBA"), opened.copy(), {"bytes": None, "path": str(tmp_path/"photo.png")}):
        assert np.array_equal(seen(source), COLORS)
        assert np.array_equal(seen(open_picture(source)), COLORS) and np.array_equal(seen(to_file(source)[1]), COLORS) # turned once
    assert "exif" not in Image.open(io.BytesIO(to_file(opened)[1])).info
    assert np.array_equal(np.asarray(opened), np.asarray(stored)) # what was given is left as it is

def test_a_turned_copy_is_told_once(caplog):
    stored, exif = lying(SCENE)
    opened = Image.open(io.BytesIO(encode(stored, exif=exif)))
    from beit3_colab.pictures import pixels
    pixels._told.clear()
    with caplog.at_level(logging.WARNING):
        for _ in range(3): open_picture(opened.convert("RGB"))
        open_picture(SCENE)
    assert [r.message.count("EXIF orientation and was turned") for r in caplog.records] == [1]

def test_the_reference_reads_as_before(tmp_path):
    "No turning, no white, no scaling: VQAv2's files are what its program sees."
    stored, exif = lying(SCENE)
    for name, content in {"photo.jpg": encode(stored, "JPEG", exif=exif), "logo.png": encode(Image.new("RGBA", (4, 4), (0, 0, 0, 0))), "scan.png": png16(WIDE, 0), "p.gif": encode(SCENE, "GIF")}.items():
        (tmp_path/name).write_bytes(content)
        expected = Image.open(tmp_path/name).convert("RGB")
        for read in (read_image(tmp_path/name), read_image(content), FolderPictures(tmp_path).read(name), read_image(Image.open(tmp_path/name))):
            assert read.size == expected.size and read.tobytes() == expected.tobytes()
            assert open_picture(read).tobytes() == expected.tobytes() # asked about again, it is the same picture

def test_views_show_what_the_model_saw(tmp_path, vqa, cache):
    "Of pictures that other programs would show otherwise."
    stored, exif = lying(SCENE)
    stored.save(tmp_path/"photo.jpg", exif=exif, quality=95)
    Image.fromarray(GREY.astype(np.uint16)*257).save(tmp_path/"scan.png")
    ImageDraw.Draw(logo := Image.new("RGBA", (60, 40), (0, 0, 0, 0))).ellipse((5, 5, 30, 30), fill="black")
    logo.save(tmp_path/"logo.png")
    rows = [dict(image=tmp_path/name, question="Where was this drawn?") for name in ("photo.jpg", "scan.png", "logo.png")]
    rows += [dict(image=Image.open(tmp_path/"photo.jpg"), question="Where was this drawn?"), dict(image=logo, question="Why?"), dict(image=GREY/255, question="Why?")]
    run = evaluate(vqa, questions=rows, output_dir=tmp_path/"run", progress=False)
    thumbnails = Thumbnails(run.data)
    for row, question, answer in zip(rows, run.questions, run.answers["answer"]):
        image = open_picture(row["image"])
        assert run.data.read_image(question).tobytes() == image.tobytes()
        assert thumbnails.get(question, 100).result().jpeg == to_jpeg(image, 100)
        assert vqa.ask(row["image"], row["question"], 1)[0].answer == answer
        assert np.allclose(vqa.attention(row["image"], row["question"]).weights, vqa.attention(image, row["question"]).weights, atol=1e-6)

def forms(content, path):
    text = base64.b64encode(content).decode()
    return [path, str(path), path.as_uri(), path.as_uri().replace("file://", "file://localhost"), content, bytearray(content), memoryview(content), io.BytesIO(content), open(path, "rb"),
            {"bytes": content, "path": "elsewhere.png"}, {"bytes": None, "path": str(path)}, {"path": path}, {"bytes": io.BytesIO(content)}, np.frombuffer(content, np.uint8),
            "data:image/png;base64," + text, "DATA:image/PNG;charset=utf-8;BASE64," + text, "data:;base64," + text.rstrip("="), "data:image/png," + "".join(f"%{b:02X}" for b in content),
            text, text.rstrip("="), base64.encodebytes(content).decode(), base64.urlsafe_b64encode(content).decode(), torch.from_numpy(COLORS.copy()).permute(2, 0, 1)]

def test_every_form(tmp_path, monkeypatch):
    path = tmp_path/"my scene é.png"
    SCENE.save(path)
    for number, source in enumerate(forms(path.read_bytes(), path)):
        for _ in range(2): assert np.array_equal(seen(source), COLORS), number # an open file is read from its beginning
        assert np.array_equal(seen(to_file(source)[1]), COLORS), number
    assert np.array_equal(seen(base64.b64encode(encode(SCENE, "JPEG", quality=100, subsampling=0)).decode()), seen(encode(SCENE, "JPEG", quality=100, subsampling=0))) # begins with /, as a path does
    for kind in ("JPEG2000", "WEBP", "GIF", "BMP", "TIFF"): assert np.array_equal(seen(base64.b64encode(encode(SCENE, kind)).decode()), seen(encode(SCENE, kind)))
    monkeypatch.setenv("HOME", str(tmp_path))
    for home in ("~/my scene é.png", Path("~")/"my scene é.png"): assert np.array_equal(seen(home), COLORS)

LONG = "x"*131_072

@pytest.mark.parametrize("source, says", [
    (None, r"there is no picture \(None\)"), (float("nan"), r"there is no picture \(nan\)"), (7, r"not int \(7\)"), (True, "not bool"), ([[1, 2], [3, 4]], r"cannot be a list; .*numpy.uint8\(numbers\)"), (object(), "not object"),
    ({"bytes": None, "path": None}, "both its 'bytes' and its 'path' are None"), ({"image": 1}, r"must have 'bytes' or 'path', not \['image'\]"), ({"bytes": b"", "path": None}, "is empty"), ({}, "must have 'bytes'"),
    (io.StringIO("cat"), r"is open as text; open it with open\(path, 'rb'\)"), (b"", "is empty"), ("s3://bucket/" + LONG, "must be a path, or an address that begins with https://"),
    ("data:image/png;base64,!!" + LONG, "no whole data: address"), ("data:image/png", "it has no comma"), ("data:image/png;base64," + LONG, "not a picture"), (LONG, "neither a path nor a picture in base64"), ("A"*9000, "neither a path nor"), ("x"*999, "too long for a path, and holds no picture in base64"),
    ("iVBORw0KGgo" + LONG, "damaged or cut short"), ("file://server/share/cat.png", "lies on another machine"), ("no/cat.png", "picture no/cat.png does not exist"), ("www.example.org/a.png", "does not exist; an address begins with https://"), ("", "there is no picture"), (" ", "there is no picture"), (np.zeros(9, np.uint8), "not a picture"), (Path("https://example.org/a.png"), "lost a slash"), ("a\0b", "cannot be read"),
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", "Git LFS pointer, not a picture: .*git lfs pull"), (b"<!DOCTYPE html>" + LONG.encode(), "web page"),
    (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG drawing, not a picture: export it as PNG"), (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99), "HEIC picture, not one that Pillow knows: convert it"),
    (b"%PDF-1.4\n", "PDF document"), (b"\0\0\0\x18ftypmp42" + bytes(99), "a video"), (b"PK\3\4" + bytes(99), "zip archive"), (b"\x93NUMPY\1\0" + bytes(99), "NumPy array"), (b"[1, 2]\n", "JSON"), (b"\x89PNG\r\n\x1a\n", "damaged or cut short")],
    ids=lambda v: repr(v).partition(" at 0x")[0][:30])
def test_what_is_no_picture_is_called_what_it_is(source, says):
    for read in (open_picture, to_file):
        with pytest.raises(ImageError, match=says) as refused: read(source)
        assert len(str(refused.value)) < 400

def test_too_many_pixels_are_told_with_the_limit(monkeypatch, tmp_path):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", SCENE.width*SCENE.height//2 - 1)
    for source in (encode(SCENE), tmp_path/"a.png"):
        (tmp_path/"a.png").write_bytes(encode(SCENE))
        with pytest.raises(ImageError, match=f"is too large: it has {SCENE.width*SCENE.height:,} pixels, and Pillow opens at most {SCENE.width*SCENE.height - 2:,}; make it smaller .*PIL.Image.MAX_IMAGE_PIXELS") as refused: open_picture(source)
        assert "DOS" not in str(refused.value)

def test_closed_ones():
    closed, file = Image.open(io.BytesIO(encode(SCENE))), io.BytesIO(encode(SCENE))
    closed.close()
    file.close()
    for source in (closed, file):
        for read in (open_picture, to_file):
            with pytest.raises(ImageError, match="cannot be read"): read(source)
    with pytest.raises(ImageError, match="cannot be read"): read_image(closed)

def test_damage_is_not_taken_for_black():
    content = encode(SCENE, "JPEG", progressive=True, quality=95)
    rng = np.random.default_rng(0)
    for place in rng.integers(2, len(content) - 60, 60): # what Pillow makes of it, or an error where it does not
        damaged = content[:place] + rng.bytes(40) + content[place + 40:]
        try: expected = Image.open(io.BytesIO(damaged)).convert("RGB").tobytes()
        except OSError: expected = None
        try: found = open_picture(damaged).tobytes()
        except ImageError: found = None
        assert found == expected

def test_pillow_says_nothing_in_any_thread():
    bad = encode(SCENE, "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff garbage")
    palette = encode(SCENE.convert("RGBA").quantize(8), "PNG", transparency=bytes(range(8)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        opened = Image.open(io.BytesIO(bad))
        warnings.simplefilter("error")
        before = list(warnings.filters)
        with ThreadPoolExecutor(4) as pool: assert all(image.size == SCENE.size for image in pool.map(open_picture, [bad, palette]*20))
        assert open_picture(opened).size == SCENE.size
        assert warnings.filters == before # others still hear theirs

def test_the_names_of_files():
    for kind, suffix in [("JPEG", "jpg"), ("JPEG2000", "jp2"), ("PNG", "png"), ("GIF", "gif"), ("WEBP", "webp"), ("TIFF", "tiff")]:
        name, content = to_file(encode(SCENE, kind))
        assert name.endswith("." + suffix) and content == encode(SCENE, kind)


LATER = draw_scene(make_scene(2))
NAMELESS = {"ETag": None, "Last-Modified": None}

def camera(): return FileServer({"/now.png": encode(SCENE)})

@pytest.mark.parametrize("hidden, status", [({}, 304), ({"ETag": 'W/"weak"'}, 304), ({"Last-Modified": None}, 304), (NAMELESS, 200)])
def test_an_address_shows_what_it_shows_now(hidden, status, cache):
    with camera() as server:
        server.faults["/now.png"] = [Fault(headers=hidden) for _ in range(3)]
        url = f"{server.url}/now.png"
        for _ in range(2): assert np.array_equal(seen(url), COLORS)
        assert [r.status for r in server.requests] == [200, status]
        server.files["/now.png"] = encode(LATER)
        server.faults["/now.png"] = [Fault(headers={k: v for k, v in hidden.items() if v is None})]
        assert np.array_equal(seen(url), np.asarray(LATER))
        assert read_record(picture_file(url))["sha256"] and fetch_picture(url) == picture_file(url) and len(server.requests) == 3
        assert np.array_equal(np.asarray(open_picture(url, fresh=False)), np.asarray(LATER)) and len(server.requests) == 3

def test_ask_asks_the_server_once(vqa, cache):
    with camera() as server:
        url = f"{server.url}/now.png"
        questions = ["Where was this drawn?", "What is the weather like?", "Is it day or night?"]*3
        first = vqa.ask(url, questions, 1, batch_size=1) # several windows
        assert first == vqa.ask(SCENE, questions, 1, batch_size=1) and len(server.requests) == 1
        server.files["/now.png"] = encode(LATER)
        assert vqa.ask([url, url], questions[:2], 1) == vqa.ask([LATER, LATER], questions[:2], 1) and len(server.requests) == 2
        vqa.attention(url, "Is it day or night?")
        assert [r.status for r in server.requests] == [200, 200, 304]

@pytest.mark.parametrize("fault", [Fault(status=503), Fault(status=404), Fault(cut=.5), Fault(content=b"rubbish"), Fault(content=b"<!DOCTYPE html>login")], ids=["busy", "gone", "broken", "rubbish", "login"])
def test_what_is_kept_is_used_and_said(fault, cache, caplog):
    with camera() as server:
        url = f"{server.url}/now.png"
        open_picture(url)
        server.files["/now.png"] = encode(LATER)
        server.faults["/now.png"] = [fault]
        with caplog.at_level(logging.WARNING): assert np.array_equal(seen(url), COLORS)
        told = [r.message for r in caplog.records]
        assert len(told) == 1 and told[0].startswith(f"the picture kept of {url} (20") and "is used, not the one of now" in told[0] and len(told[0]) < 600
        assert np.array_equal(seen(url), np.asarray(LATER)) # the next time it is there

def test_without_a_network(cache, caplog):
    with nobody() as nowhere:
        url = f"{nowhere}/now.png"
        path = picture_file(url)
        path.parent.mkdir(parents=True)
        with FileServer({"/now.png": encode(SCENE)}) as server: fetch(f"{server.url}/now.png", path)
        record = path.with_name(path.name + ".json")
        record.write_text(record.read_text().replace(server.url, nowhere))
        found = refresh_picture(url)
        assert found.path == path and found.silent and "cannot be reached" in found.remark
        pictures = OwnPictures(path.parent, ask=True)
        with caplog.at_level(logging.WARNING): assert pictures.read(url).tobytes() == SCENE.tobytes()
        assert [r.message.endswith("so with others of this server") for r in caplog.records] == [True]

def test_a_run_keeps_its_picture(cache, tmp_path):
    with camera() as server:
        url = f"{server.url}/now.png"
        first = OwnPictures(tmp_path, ask=True)
        assert first.read(url).tobytes() == first.read(url).tobytes() == SCENE.tobytes() and len(server.requests) == 1
        server.files["/now.png"] = encode(LATER)
        assert np.array_equal(seen(url), np.asarray(LATER)) # somebody asks meanwhile
        again = pickle.loads(pickle.dumps(OwnPictures(tmp_path, versions=first.versions)))
        for source in (first, again): assert source.read(url).tobytes() == SCENE.tobytes() and source.to_fetch([url]) == []
        assert OwnPictures(tmp_path, ask=True).read(url).tobytes() == LATER.tobytes()
        assert OwnPictures(tmp_path).read(url).tobytes() == LATER.tobytes() # without a note, what is kept
        assert [r.status for r in server.requests] == [200, 200, 304]
        again.path(url).unlink()
        with pytest.raises(ImageError, match="is another one by now, and the one that was asked about is no longer in the cache"): again.read(url)
        server.files["/now.png"] = encode(SCENE) # it is back
        refresh_picture(url)
        assert again.read(url).tobytes() == SCENE.tobytes()

def test_a_disk_without_links(cache, tmp_path, monkeypatch):
    def refuse(*args, **more): raise OSError(95, "not supported")
    monkeypatch.setattr("os.link", refuse)
    with camera() as server:
        pictures = OwnPictures(tmp_path, ask=True)
        assert pictures.read(f"{server.url}/now.png").tobytes() == SCENE.tobytes() and len(list((cache/"pictures").glob(".pinned*"))) == 0

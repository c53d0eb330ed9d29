"What a picture of somebody else can do at most: formats, sizes, memory, kinds of files, names, addresses."
import gc
import io
import os
import stat
import struct
import subprocess
import sys
import threading
import zipfile
import zlib
from pathlib import Path
from urllib.parse import quote_from_bytes, unquote_to_bytes

import numpy as np
import pytest
from file_server import FileServer
from PIL import Image

from beit3_colab.data.own import open_questions
from beit3_colab.machine.addresses import seal_address
from beit3_colab.machine.messages import UserError
from beit3_colab.pictures import given as forms
from beit3_colab.pictures import opening
from beit3_colab.pictures.given import ImageError
from beit3_colab.pictures.reading import check_image, fetch_picture, open_picture, picture_file, pictures_folder, preprocess, read_image, to_file
from beit3_colab.pictures.sources import find_damage, give_memory_folder, OwnPictures, ZipPictures
from beit3_colab.pictures.thumbnails import Thumbnails


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    for name in ("BEIT3_COLAB_LIMITS", "BEIT3_COLAB_PRIVATE_HOSTS"): monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("BEIT3_COLAB_CACHE", str(tmp_path/"cache"))

def encode(image, kind="PNG", **options):
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()

RED = encode(Image.new("RGB", (20, 10), "red"))

def png(width, height, kind=2, packed=b""):
    def chunk(name, body): return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)) + chunk(b"IDAT", packed or zlib.compress(b"")) + chunk(b"IEND", b"")

def webp(kind, width, height):
    body = {b"VP8L": struct.pack("<BI", 0x2f, (width - 1) | (height - 1) << 14), b"VP8 ": b"\0\0\0\x9d\1\x2a" + struct.pack("<HH", width, height),
            b"VP8X": bytes(4) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")}[kind] + bytes(8)
    return b"RIFF" + struct.pack("<I", 12 + len(body)) + b"WEBP" + kind + struct.pack("<I", len(body)) + body

def icon(inner): return struct.pack("<HHHBBBBHHII", 0, 1, 1, 16, 16, 0, 0, 1, 32, len(inner), 22) + inner

READERS = [open_picture, read_image, to_file, lambda content: check_image(content, "a.jpg")]
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"


# formats

@pytest.mark.parametrize("content, what", [(EPS, "a PostScript drawing"), (b"\xc5\xd0\xd3\xc6" + bytes(40), "a PostScript drawing"), (b"8BPS\0\1" + bytes(40), "a Photoshop file"), (b"SIMPLE  =                    T" + bytes(40), "a FITS file"), (b"GRIB" + bytes(40), "a GRIB file"), (b"\xd7\xcd\xc6\x9a\0\0" + bytes(40), "a Windows metafile")])
def test_a_format_that_starts_programs_is_refused_by_name(content, what, tmp_path, monkeypatch):
    (tmp_path/"gs").write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\necho 10.0\n")
    (tmp_path/"gs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    (tmp_path/"photo.jpg").write_bytes(content)
    for read in READERS:
        with pytest.raises(ImageError, match=f"is {what}.*which is not opened here: export it as PNG or JPEG"): read(content)
    with pytest.raises(ImageError, match=r"photo.jpg is"): open_picture(tmp_path/"photo.jpg")
    assert "is no whole picture" in find_damage(content) and not (tmp_path/"ran").exists()

def test_every_format_that_pillow_has_is_opened_at_the_first_try(tmp_path):
    "In a process of its own: here other tests have loaded Pillow's modules."
    kinds = ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "DIB", "PPM", "JPEG2000", "AVIF", "ICO", "QOI", "SGI", "PCX", "TGA", "MPO"]
    Image.init()
    kinds = [kind for kind in kinds if kind in Image.SAVE]
    for kind in kinds: Image.new("RGB", (16, 16), "red").save(tmp_path/kind, kind)
    code = ("import sys\nfrom pathlib import Path\nfrom beit3_colab.pictures.reading import read_image\n"
            "for path in sys.argv[1:]: assert read_image(Path(path)).size == (16, 16), path\n"
            "from PIL import Image; assert 'EPS' not in Image.OPEN, 'all plugins were loaded'")
    for kind in kinds: subprocess.run([sys.executable, "-c", code, tmp_path/kind], check=True, cwd=Path(__file__).parent.parent) if kind in ("WEBP", "TGA", "MPO") else None
    subprocess.run([sys.executable, "-c", code, *(tmp_path/kind for kind in kinds)], check=True, cwd=Path(__file__).parent.parent)


# sizes

BOMBS = [(png(1, 100_000_000), "1 × 100,000,000 pixels"), (png(100_000_000, 1, 0), "100,000,000 × 1 pixels"), (png(12_000, 10_001), "12,000 × 10,001 pixels and 120,000,000 are allowed"), (png(13_000, 13_000, 0), "13,000 × 13,000"),
         *((webp(kind, 12_800, 12_800), "12,800 × 12,800 pixels, which count twice in WEBP") for kind in (b"VP8L", b"VP8 ", b"VP8X")), (icon(png(13_000, 13_000, 6)), "13,000 × 13,000"),
         (b"P6 13000 13000 255\n", "13,000 × 13,000"), (b"GIF89a" + struct.pack("<HH", 65_535, 65_535) + bytes(3) + b"," + struct.pack("<HHHHB", 0, 0, 65_535, 65_535, 0) + b"\2\2\x4c\1\0;", "65,535 × 65,535|4,294,836,225 pixels")]

@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("content, told", BOMBS, ids=range(len(BOMBS)))
def test_too_large_a_picture_is_told_with_the_remedy(content, told, tmp_path):
    with zipfile.ZipFile(tmp_path/"a.zip", "w") as z: z.writestr("a", content)
    for read in (*READERS, lambda content: ZipPictures(tmp_path/"a.zip").read("a")):
        with pytest.raises(ImageError, match=told) as error: read(content)
        assert "raise" in str(error.value) and len(str(error.value)) < 400
    assert "is no whole picture" in find_damage(content)

LIMITED = """
import sys, time
from pathlib import Path
from beit3_colab.machine.device import peak_memory
from beit3_colab.pictures.reading import ImageError, open_picture
base, begun = peak_memory().host, time.process_time()
for path in sys.argv[1:]:
    try: open_picture(Path(path))
    except ImageError: pass
    else: raise SystemExit(path + " was taken")
print(peak_memory().host - base, time.process_time() - begun)
"""

def test_a_refused_picture_takes_no_memory(tmp_path):
    for i, (content, _) in enumerate(BOMBS): (tmp_path/f"{i}").write_bytes(content)
    found = subprocess.run([sys.executable, "-c", LIMITED, *(tmp_path/f"{i}" for i in range(len(BOMBS)))], check=True, capture_output=True, text=True, cwd=Path(__file__).parent.parent)
    grown, seconds = map(float, found.stdout.split())
    assert grown < 60e6 and seconds < 5 # bytes; all of Pillow's modules among them

def test_in_memory_as_well():
    wide = np.lib.stride_tricks.as_strided(np.zeros(1, np.uint8), (1, 70_000, 3), (0, 0, 0)) # takes no memory
    large = np.lib.stride_tricks.as_strided(np.zeros(1, np.uint8), (20_000, 20_000, 3), (0, 0, 0))
    for read in (open_picture, to_file, read_image):
        for given in (wide, large):
            with pytest.raises(ImageError, match="is too large"): read(given)
        with pytest.raises(ImageError, match="is too large"): read(Image.new("L", (1, 70_000)))
        with pytest.raises(ImageError, match=r"has no pixels \(0 × 4\)"): read(Image.new("RGB", (0, 4)))
    with pytest.raises(ImageError, match="has no pixels"): preprocess(Image.new("RGB", (0, 0)), 32)

def test_a_tile_larger_than_its_picture():
    entries = [(256, 4, 16), (257, 4, 16), (258, 3, 8), (259, 3, 8), (262, 3, 1), (277, 3, 1), (322, 4, 40_000), (323, 4, 40_000), (324, 4, 8), (325, 4, 8)]
    content = b"II*\0" + struct.pack("<I", 16) + zlib.compress(b"") + struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries) + bytes(4)
    for read in READERS:
        with pytest.raises(ImageError, match="40,000 × 40,000 pixels"): read(content)

def test_limits_can_be_raised_and_lowered(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
    monkeypatch.setenv("BEIT3_COLAB_LIMITS", "picture_pixels=199")
    for read in READERS:
        with pytest.raises(ImageError, match="20 × 10 pixels and 199 are allowed; .*BEIT3_COLAB_LIMITS=picture_pixels=NUMBER"): read(RED)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10**12) # Pillow's alone does not raise ours
    with pytest.raises(ImageError, match="BEIT3_COLAB_LIMITS=picture_pixels"): open_picture(RED)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", opening._USUAL)
    monkeypatch.setenv("BEIT3_COLAB_LIMITS", "picture_pixels=1e9")
    with opening.opened_file(png(20_000, 20_000)) as image: assert image.size == (20_000, 20_000) # Pillow's gave way
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50) # lowered by somebody who meant it
    with pytest.raises(ImageError, match="PIL.Image.MAX_IMAGE_PIXELS"): open_picture(RED)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert open_picture(RED).size == (20, 10)

def test_no_memory_is_an_image_error(monkeypatch):
    def refuse(*args, **more): raise MemoryError
    monkeypatch.setattr(Image.Image, "convert", refuse)
    for read in (open_picture, read_image):
        with pytest.raises(ImageError, match="needs more memory than there is; make it smaller"): read(RED)
    monkeypatch.setattr(Image.Image, "resize", refuse)
    with pytest.raises(ImageError, match="needs more memory"): preprocess(Image.new("RGB", (9, 9)), 32)

def test_large_pictures_wait_for_each_other(monkeypatch):
    monkeypatch.setenv("BEIT3_COLAB_LIMITS", "pixels_at_once=500")
    inside, most, lock = [], [], threading.Lock()
    def read():
        for _ in range(20):
            with opening.opened_file(RED) as image:
                with lock: inside.append(image.width*image.height); most.append(sum(inside))
                image.load()
                with lock: inside.pop()
    threads = [threading.Thread(target=read) for _ in range(6)]
    for thread in threads: thread.start()
    for thread in threads: thread.join(30)
    assert max(most) <= 500 and len(most) == 120 and not opening._room._used
    monkeypatch.setenv("BEIT3_COLAB_LIMITS", "pixels_at_once=10")
    assert open_picture(RED).size == (20, 10) # larger than the room: alone in it

@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P", "L", "1", "CMYK", "I;16", "F", "YCbCr", "LAB", "PA", "La", "RGBa"])
def test_in_parts_as_in_one(mode, monkeypatch):
    from beit3_colab.pictures import pixels
    values = np.random.default_rng(0).integers(0, 256, (61, 37, 4), np.uint8)
    base = Image.fromarray(values, "RGBA")
    if mode == "I;16": image = Image.fromarray(values[..., 0].astype(np.uint16)*257)
    elif mode == "F": image = Image.fromarray(values[..., 0].astype(np.float32)/255)
    elif mode == "LAB": image = Image.frombytes("LAB", (37, 61), values[..., :3].tobytes())
    elif mode in ("PA", "La", "RGBa"): image = Image.frombytes(mode, (37, 61), values[..., :len(mode) if mode != "RGBa" else 4].tobytes())
    else: image = base.convert(mode) if mode in ("RGBA", "LA") else base.convert("RGB").convert(mode)
    if mode == "RGB": image.info["transparency"] = tuple(map(int, values[3, 3, :3]))
    whole = pixels.as_seen(image).tobytes()
    monkeypatch.setattr(pixels, "_BAND", 100)
    assert pixels.as_seen(image).tobytes() == whole


# kinds of files and names

def test_pipes_and_devices_are_no_pictures(tmp_path):
    os.mkfifo(tmp_path/"pipe.png")
    os.symlink("/dev/zero", tmp_path/"zero.png")
    for name, told in [(tmp_path/"pipe.png", "is a pipe, not a file"), ("/dev/zero", "is a device, not a file"), (tmp_path/"zero.png", "is a device, not a file")]:
        for read in (open_picture, read_image, to_file, lambda p: OwnPictures(tmp_path).read(str(p))):
            with pytest.raises(ImageError, match=told) as error: read(name)
            assert str(error.value).count("picture ") == 1

def test_bytes_have_a_limit(tmp_path, monkeypatch):
    (tmp_path/"a.png").write_bytes(RED)
    monkeypatch.setenv("BEIT3_COLAB_LIMITS", f"picture_bytes={len(RED) - 1}")
    for given in (tmp_path/"a.png", RED, io.BytesIO(RED), open(tmp_path/"a.png", "rb")):
        with pytest.raises(ImageError, match="BEIT3_COLAB_LIMITS=picture_bytes=NUMBER"): open_picture(given)
    with pytest.raises(ImageError, match="given as text has 5,000 characters; the limit"): open_picture("data:image/png;base64," + "A"*4978)
    monkeypatch.setenv("BEIT3_COLAB_LIMITS", f"picture_bytes={len(RED)}")
    assert open_picture(tmp_path/"a.png").size == open_picture(io.BytesIO(RED)).size == (20, 10)

def test_an_open_device_has_an_end(monkeypatch):
    monkeypatch.setenv("BEIT3_COLAB_LIMITS", "picture_bytes=100000")
    with open("/dev/zero", "rb") as zero, pytest.raises(ImageError, match="has more than 100,000 bytes"): open_picture(zero)

@pytest.mark.parametrize("name", ["a\0b.png", "x"*5000, "", ".", "..", "a/\0"])
def test_names_that_no_disk_takes(name, tmp_path):
    source = OwnPictures(tmp_path)
    assert source.has(name) is False
    with pytest.raises(ImageError): source.read(name)

def test_thumbnails_say_why(tmp_path):
    os.mkfifo(tmp_path/"pipe")
    class Data:
        def read_image(self, question): return read_image(tmp_path/"pipe")
    class Question: image = image_id = "pipe"
    assert "is a pipe" in Thumbnails(Data()).get(Question).result(10).error


# what a run that was sent may show

def test_a_confined_source_stays_in_its_folder(tmp_path):
    (tmp_path/"run").mkdir()
    for path in ("passport.png", "run/a.png"): (tmp_path/path).write_bytes(RED)
    sent = OwnPictures(tmp_path/"run", tmp_path/"run"/"pictures", confined=True)
    assert sent.read("a.png").size == (20, 10)
    for name in ("../passport.png", str(tmp_path/"passport.png"), "x/../../passport.png", "..\\passport.png"):
        assert not sent.has(name) and sent.missing([name]) == [name]
        for ask in (sent.read, sent.path):
            with pytest.raises(ImageError, match=r"passport.png lies outside .*data_path=… \(--data-path\)"): ask(name)
    for name in ("memory:../a.png", "memory:/etc/passwd", "memory:x/y.png", "memory:"):
        with pytest.raises(ImageError, match="has no name that was given"): sent.read(name)
        assert not OwnPictures(tmp_path/"run", tmp_path/"run").has(name)
    assert OwnPictures(tmp_path/"run").read("../passport.png").size == (20, 10) # a table of one's own

def test_nothing_is_asked_unasked(tmp_path):
    with FileServer({"/a.png": RED, "/b.png": RED}) as server:
        quiet = OwnPictures(tmp_path, fetches=False, of_file=True)
        with pytest.raises(ImageError, match=r"not in the cache, and 127.0.0.1 was not asked.*open_run\(folder, fetch_pictures=True\), or --fetch-pictures"): quiet.read(f"{server.url}/a.png")
        assert not server.requests
        fetch_picture(f"{server.url}/a.png") # by hand
        assert quiet.read(f"{server.url}/a.png").size == (20, 10) and len(server.requests) == 1
        for ask in (False, True):
            with pytest.raises(ImageError, match="stands in a file: set BEIT3_COLAB_PRIVATE_HOSTS=127.0.0.1"): OwnPictures(tmp_path, of_file=True, ask=ask).read(f"{server.url}/b.png")
        assert len(server.requests) == 1
        versions = OwnPictures(tmp_path, ask=True)
        versions.read(f"{server.url}/a.png")
        again = OwnPictures(tmp_path, versions=versions.versions, fetches=False)
        assert again.read(f"{server.url}/a.png").size == (20, 10) and len(server.requests) == 2

def test_sealed_addresses_find_what_is_kept(tmp_path):
    with FileServer({"/a.png": RED}) as server:
        url = server.url.replace("://", "://bob:HUNTER2@") + "/a.png?token=s3cr3t"
        sealed = seal_address(url)
        assert picture_file(url) == picture_file(sealed) and picture_file(url).suffix == ".png"
        with pytest.raises(ImageError, match="may be a secret was not kept; if the picture needs it, give the questions again") as error: OwnPictures(tmp_path).read(sealed)
        assert "s3cr3t" not in str(error.value)
        source = OwnPictures(tmp_path, ask=True)
        source.read(url)
        assert list(source.versions) == [sealed]
        for ask in (False, True): assert OwnPictures(tmp_path, versions=source.versions, ask=ask).read(sealed).size == (20, 10)
        assert OwnPictures(tmp_path, ask=True).read(sealed).size == (20, 10) and len(server.requests) == 1
        server.files["/a.png"] = b"rubbish"
        with pytest.raises(ImageError) as error: fetch_picture(url.replace("s3cr3t", "s3cr3t2"))
        assert "s3cr3t" not in str(error.value) and "HUNTER2" not in str(error.value)

def test_pictures_given_in_memory_are_private_and_go_with_the_questions(tmp_path):
    before = set(pictures_folder().glob("memory-*"))
    def kept(): return [p for p in pictures_folder().glob("memory-*") if p not in before]
    data = open_questions([{"image": RED, "question": "What?"}])
    folder, = kept()
    picture, = folder.iterdir()
    assert [stat.S_IMODE(p.stat().st_mode) for p in (folder.parent, folder, picture)] == [0o700, 0o700, 0o600]
    saved = data.keep_in(tmp_path)
    del data
    gc.collect()
    assert not kept() and saved.read_image(saved.questions[0]).size == (20, 10)
    with pytest.raises(UserError): open_questions([{"image": RED, "question": "What?"}, {"image": RED, "question": 3}])
    gc.collect()
    assert not kept()

def test_what_a_killed_program_left_goes_after_a_week():
    old, new = pictures_folder()/"memory-old", pictures_folder()/"memory-new"
    for folder in (old, new): folder.mkdir(exist_ok=True)
    os.utime(old, (1, 1))
    assert give_memory_folder(OwnPictures("")).name.startswith("memory-") and not old.exists() and new.exists()


# zips

def test_a_zip_of_a_later_version_or_of_none(tmp_path):
    path = tmp_path/"a.zip"
    with zipfile.ZipFile(path, "w") as z: z.writestr("val2014/a.png", RED)
    content = bytearray(path.read_bytes())
    content[content.find(b"PK\1\2") + 6] = 200
    path.write_bytes(content)
    with pytest.raises(UserError, match="a.zip is damaged or cut short, or no zip file at all .*version"): ZipPictures(path)
    os.mkfifo(tmp_path/"pipe.zip")
    with pytest.raises(UserError, match="is a pipe, not a file"): ZipPictures(tmp_path/"pipe.zip")

def test_a_zip_of_too_many_pictures(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path/"a.zip", "w") as z: z.writestr("a", b""), z.writestr("b", b"")
    monkeypatch.setenv("BEIT3_COLAB_LIMITS", "zip_pictures=1")
    with pytest.raises(UserError, match="holds 2 files; the limit is 1 files .*zip_pictures=NUMBER"): ZipPictures(tmp_path/"a.zip")


# how many parts

def tiff(*entries, room=0): return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries) + bytes(4 + room)

SHARED = tiff(*((40_000 + i, 7, 50_000, 8) for i in range(1000)), room=40_000) # a thousand tags that lie on each other
SIZED = [(256, 4, 1, 16), (257, 4, 1, 16), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 8), (277, 3, 1, 1), (279, 4, 1, 256)]
def segment(marker, body): return b"\xff" + bytes([marker]) + struct.pack(">H", len(body) + 2) + body
def chunk(name, body): return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

JPEG = encode(Image.new("RGB", (16, 16), "red"), "JPEG")
PROGRESSIVE = encode(Image.effect_noise((64, 64), 50), "JPEG", progressive=True)
SCAN = PROGRESSIVE[PROGRESSIVE.rindex(b"\xff\xda"):-2]
GIF = encode(Image.new("P", (16, 16)), "GIF")
GIF_AT = GIF.index(b",\0\0\0\0\x10\0\x10\0") # its picture
CROWDED = {
    "remarks": (JPEG[:2] + segment(0xfe, b"x")*20_001 + JPEG[2:], "has more than 20,000 parts; .*BEIT3_COLAB_LIMITS=picture_parts=NUMBER"),
    "scans": (PROGRESSIVE[:-2] + SCAN*100 + PROGRESSIVE[-2:], "has more than 100 scans; .*BEIT3_COLAB_LIMITS=jpeg_scans=NUMBER"),
    "scans behind an end": (PROGRESSIVE[:-2] + segment(0xfe, b"\xff\xd9") + SCAN*100 + PROGRESSIVE[-2:], "has more than 100 scans"),
    "chunks": (RED[:33] + chunk(b"aaAa", b"")*20_001 + RED[33:], "has more than 20,000 parts"),
    "remarks of a GIF": (GIF[:GIF_AT] + b"!\xfe" + b"\1x"*20_001 + b"\0" + GIF[GIF_AT:], "has more than 20,000 parts"),
    "figures": (b"P3 2000 1600 255\n" + b"1 "*5_000_000, "has 10.0 MB of figures; export it as PNG, or .*BEIT3_COLAB_LIMITS=plain_bytes=NUMBER"),
    "a remark": (b"P6 #" + b"x"*200_000 + b"\n16 16 255\n" + bytes(768), "has a remark of more than 100,000 bytes"),
    "tags": (tiff(*SIZED, *((40_000 + i, 7, 50_000, 8) for i in range(1000)), room=40_000), "has tags that are longer than the file"),
    "EXIF": (JPEG[:2] + segment(0xe1, b"Exif\0\0" + SHARED[:60_000]) + JPEG[2:], "has tags that are longer than the file"),
    "EXIF in parts": (JPEG[:2] + segment(0xe1, b"Exif\0\0" + SHARED[:9000]) + segment(0xe1, b"Exif\0\0" + SHARED[9000:]) + JPEG[2:], "has tags that are longer"),
    "EXIF of a megabyte": (JPEG[:2] + segment(0xe1, b"Exif\0\0" + bytes(60_000))*17 + JPEG[2:], "has more than 1.0 MB of EXIF"),
    "MPO": (JPEG[:2] + segment(0xe2, b"MPF\0" + SHARED[:60_000]) + JPEG[2:], "has tags that are longer than the file")}

@pytest.mark.parametrize("kind", CROWDED)
def test_a_small_picture_with_very_many_parts(kind):
    content, told = CROWDED[kind]
    for read in READERS:
        with pytest.raises(ImageError, match=told): read(content)

@pytest.mark.parametrize("content", [RED[:33] + chunk(b"eXIf", SHARED) + RED[33:], RED[:33] + chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(b"\nexif\n%8d\n" % len(SHARED) + SHARED.hex().encode())) + RED[33:]], ids=["eXIf", "in figures"])
def test_exif_of_a_png(content):
    with pytest.raises(ImageError, match="has tags that are longer than the file"): open_picture(content)
    assert read_image(content).size == (20, 10) # which does not look at them

def test_crowded_pictures_take_little_memory_and_time(tmp_path):
    for i, (content, _) in enumerate(CROWDED.values()): (tmp_path/f"{i}").write_bytes(content)
    found = subprocess.run([sys.executable, "-c", LIMITED, *(tmp_path/f"{i}" for i in range(len(CROWDED)))], check=True, capture_output=True, text=True, cwd=Path(__file__).parent.parent)
    grown, seconds = map(float, found.stdout.split())
    assert grown < 100e6 and seconds < 5

def test_what_cameras_and_programs_write_is_opened():
    exif = Image.Exif()
    exif[0x0112], exif[0x010f] = 6, "x"*60_000
    exif.get_ifd(0x8769)[0x9286] = b"ASCII\0\0\0" + b"y"*4000
    noise = Image.effect_noise((300, 200), 90)
    video = np.random.default_rng(0).integers(0, 256, 20_000_000, np.uint8).tobytes() # which a phone puts behind its picture
    assert video.count(b"\xff\xda") > 100
    for content in (encode(noise, "JPEG", exif=exif), encode(noise, "JPEG", exif=exif, progressive=True), encode(noise, "JPEG", progressive=True) + video, encode(noise, "JPEG") + video, encode(noise, "PNG", exif=exif), encode(noise, "TIFF", exif=exif), encode(noise, "WEBP", exif=exif),
                    encode(noise, "MPO", save_all=True, append_images=[noise]), encode(noise, "GIF", comment=b"z"*60_000), encode(noise, "TIFF", compression="tiff_lzw"), encode(noise, "PPM")):
        assert sorted(open_picture(content).size) == sorted(read_image(content).size) == [200, 300]

def test_one_thread_may_hold_two_pictures(monkeypatch):
    monkeypatch.setenv("BEIT3_COLAB_LIMITS", "pixels_at_once=300")
    def nested():
        with opening.opened_file(RED) as a, opening.opened_file(RED) as b: done.append(a.size == b.size)
    done = []
    threads = [threading.Thread(target=nested, daemon=True) for _ in range(4)]
    for thread in threads: thread.start()
    for thread in threads: thread.join(10)
    assert done == [True]*4 and not opening._room._used and not opening._room._held


# what stands in the place of a picture

@pytest.mark.parametrize("address", ["http://[::1/a.png", "http://exa\u2100mple.com/a.png", "https://h.example/\ud800.png"])
def test_what_is_no_address(address):
    for read in (open_picture, to_file, fetch_picture, picture_file, OwnPictures(Path()).read):
        with pytest.raises(ImageError, match="is no address: |half a character|is none"): read(address)

@pytest.mark.parametrize("address", ["https:/bob:HUNTER2@h.example/a.png?token=s3cr3t", "file://bob:HUNTER2@h/a.png", "www.h.example/a.png?token=s3cr3t", "ftp://bob:HUNTER2@h/a.png?token=s3cr3t", "file://[bob:HUNTER2@h/a.png"])
def test_messages_about_addresses_that_lost_something(address):
    for source in (address, address if address.startswith("file:") else Path(address)): # file:/bob:… is a path
        with pytest.raises(ImageError) as error: open_picture(source)
        assert not {"HUNTER2", "s3cr3t"} & {word for word in ("HUNTER2", "s3cr3t") if word in str(error.value)}

def test_escapes_of_data_addresses():
    for text in (b"", b"%", b"%4", b"%41", b"%%41%4%zz%aF%Af", b"a%20b%", b"%2525", bytes(range(256))): assert forms._unescape(text) == unquote_to_bytes(text)
    text = b"x" + b"%41"*1_400_000 + b"%" # cut in every place
    for begin in range(3): assert forms._unescape(text[begin:]) == unquote_to_bytes(text[begin:])
    assert np.array_equal(open_picture("data:image/png," + quote_from_bytes(RED)), open_picture(RED))

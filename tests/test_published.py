"A published checkpoint by its name, from a local server that answers under the official path."
from pathlib import Path

import pytest
from file_server import Fault, FileServer
from official_standin import RELEASES, mirror

from beit3_colab import load_model
from beit3_colab.machine.messages import UserError

GOLDEN = Path(__file__).parent/"golden"
NAME = "beit3_base_patch16_480_vqa"


@pytest.fixture
def server(tmp_path, monkeypatch):
    files = {f"{RELEASES}/{NAME}.pth": (GOLDEN/"tiny_beit3_vqa.pth").read_bytes(), f"{RELEASES}/beit3.spm": (GOLDEN/"tiny.spm").read_bytes()}
    with FileServer(files) as server:
        monkeypatch.setenv("BEIT3_COLAB_CACHE", str(tmp_path))
        monkeypatch.setenv("BEIT3_COLAB_MIRROR", mirror(server))
        yield server

def load(): return load_model(NAME, config={"num_heads": 4}, answers=[str(i) for i in range(40)], device="cpu")

def test_downloaded_once_and_used(server):
    vqa = load()
    assert vqa.name == NAME and vqa.tokenizer is not None and len(vqa.ask(b_image(), "What color is the kite?")) == 5
    before = len(server.requests)
    load()
    assert len(server.requests) == before

def test_a_dropped_connection_is_resumed(server):
    server.fail(f"{RELEASES}/{NAME}.pth", Fault(cut=0.3))
    load()
    assert len(server.asked(f"{RELEASES}/{NAME}.pth")) == 2

def test_missing_on_the_server(server):
    server.fail(f"{RELEASES}/beit3.spm", *[Fault(status=404)]*10)
    with pytest.raises(UserError, match="404"): load()

def b_image():
    import io
    from PIL import Image
    out = io.BytesIO()
    Image.new("RGB", (40, 30), "red").save(out, "PNG")
    return out.getvalue()

"Every Triton kernel, in the forms that the library itself would ask for, compiled for GPUs that are not here: each fits its chip."
import json
import subprocess
import sys

from built import ROOT
from test_speed import need_triton

SCRIPT = ROOT/"scripts"/"compile_kernels.py"
CHIPS = {"T4", "A100", "A40", "L4", "H100", "B200", "RTX 5090"} # compute capability 7.5 to 12.0


def test_every_kernel_compiles_for_every_chip(tmp_path):
    need_triton("3.6") # older ones do not know every chip
    done = subprocess.run([sys.executable, SCRIPT, "--json", tmp_path/"forms.json"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    forms = json.loads((tmp_path/"forms.json").read_text())
    assert {f["chip"] for f in forms} == CHIPS
    by_chip = {chip: [f for f in forms if f["chip"] == chip] for chip in CHIPS}
    for chip, found in by_chip.items(): # what a run asks for there, and what no run does
        kernels, asked = {f["kernel"] for f in found}, " ".join(f["what"] for f in found)
        assert {"_norm_kernel", "_patch_kernel"} <= kernels and "*fp16" in asked, chip
        assert ("_attend_kernel" in kernels) == ("_product_kernel" in kernels) == (chip == "H100"), chip
        assert ("_rounded_product_kernel" in kernels) == (chip == "H100"), chip
        assert ("fp8" in asked) == (chip in ("L4", "H100", "B200", "RTX 5090")), chip
        assert ("*bf16" in asked) == ("_part_kernel" in kernels) == ("_backward_kernel" in kernels) == (chip != "T4"), chip
    widths = [f["what"] for f in by_chip["T4"]]
    for width in (768, 3072, 1024, 4096): assert any(f"WIDTH={width} " in what for what in widths), width
    last = {what.partition("LAST=")[2].split()[0] for f in by_chip["H100"] if "LAST=" in (what := f["what"])}
    assert last == {"16", "32", "64"} # what whole tiles of keys leave over
    def forms_of(kernel, *names): return {tuple(f["what"].partition(f"{name}=")[2].split()[0] for name in names): f for f in by_chip["H100"] if f["kernel"] == kernel}
    yes, no = "True", "False"
    products = forms_of("_rounded_product_kernel", "OUT", "ROUNDED", "GELU", "MOMENTS")
    assert set(products) == {(yes, no, no, no), (yes, yes, no, yes), (no, yes, yes, yes), (no, yes, no, no)} # values; onto the stream; into the hidden layer; queries and keys
    attention = forms_of("_attend_kernel", "Q", "K", "V", "MOMENTS", "ROUNDED")
    assert set(attention) == {("3", "3", "3", no, no), ("3", "3", "3", yes, no), ("1", "2", "2", no, no), ("2", "2", "1", yes, yes)}
    rounded = attention["2", "2", "1", yes, yes]
    assert "fp8e4nv" in rounded["what"] and rounded["registers"] <= 128 # four programs for each processor
    assert all(f["registers"] and f["shared"] is not None for f in forms)


CAN_FAIL = """
import contextlib, sys
sys.path.insert(0, {scripts!r})
import compile_kernels as c, torch, triton
from torch._subclasses.fake_tensor import FakeTensorMode
from beit3_colab.model import kernels
from beit3_colab.model.beit3 import Beit3Config
recorder = c.Recorder()
c.pretend(recorder)
assert c.never_recorded(recorder) == sorted(c.all_kernels()) and "gelu_block" in c.all_kernels()
config = Beit3Config(64, embed_dim=64, num_heads=1, num_layers=2, ffn_dim=128, vocab_size=64, num_classes=8)
kernels.ATTEND_TILE = 256, 128, 4, 3 # too large for a thread's registers
with FakeTensorMode(allow_non_fake_inputs=True), torch.device("cuda"), torch.no_grad():
    recorder.chip = c.CHIPS[4]
    c.record_model(config, torch.float16, (9,))
left = c.never_recorded(recorder)
assert "_part_kernel" in left and "_backward_kernel" in left and not {{"gelu_block", "_norm_kernel", "_attend_step"}} & set(left), left
one = next(job for job in recorder.found.values() if job[1].fn.fn.__name__ == "_attend_kernel")
print(c.compile_form(*one).fault)
small = c.Chip("small", (9, 0), 1, 16) # KiB
kernels.ATTEND_TILE = 64, 64, 4, 3
recorder.found.clear()
with FakeTensorMode(allow_non_fake_inputs=True), torch.device("cuda"), torch.no_grad(): c.record_model(config, torch.bfloat16, (9,))
one = next(job for job in recorder.found.values() if job[1].fn.fn.__name__ == "_attend_kernel")
print(c.compile_form(small, *one[1:]).fault)
def ends(*_, **__): c.os.abort()
jobs = list(recorder.found.values())[:3]
good, c.real_compile = c.real_compile, ends
print([f.fault for f in c.compile_all(jobs, 2)])
def raises(*_, **__): raise AssertionError("no such instruction")
c.real_compile = raises
print(c.compile_all(jobs[:1], 2)[0].fault)
"""

def test_what_does_not_fit_is_seen(tmp_path, monkeypatch):
    "The check can fail: by registers, by shared memory, by a compiler that raises or ends its process; and by a kernel that nobody launched."
    need_triton("3.6")
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    done = subprocess.run([sys.executable, "-c", CAN_FAIL.format(scripts=str(ROOT/"scripts"))], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    registers, shared, ended, raised = done.stdout.splitlines()
    assert registers.endswith("bytes of a thread do not fit into its registers") and shared.endswith("bytes of shared memory, and the chip has 16384")
    assert ended == str(["the compiler ended its process (-6)"]*3) and raised == "AssertionError: no such instruction"


BEFOREHAND = """
import sys
sys.path.insert(0, {scripts!r})
import compile_kernels as c, torch
from torch._subclasses.fake_tensor import FakeTensorMode
from beit3_colab.model.beit3 import Beit3Config, Beit3ForVQA, model_size
from beit3_colab.model.folded import FoldedBeit3
from beit3_colab.model.folded_float8 import RoundedBeit3
recorder = c.Recorder()
c.pretend(recorder)
recorder.chip = next(chip for chip in c.CHIPS if chip.name == "H100")
configs = [model_size(size, image_size=side, num_layers=2, vocab_size=64, num_classes=8) for size, side in (("base", 224), ("base", 480), ("large", 768))]
configs.append(Beit3Config(128, embed_dim=192, num_heads=6, num_layers=2, ffn_dim=768, vocab_size=64, num_classes=8))
for kind, kernels in ((FoldedBeit3, 5), (RoundedBeit3, 8)): # product, statistics, attention, placing, patches; and the rounded ones
    for config in configs:
        with FakeTensorMode(allow_non_fake_inputs=True), torch.device("cuda"), torch.no_grad():
            torch.set_default_dtype(torch.float16)
            model = Beit3ForVQA(config).eval()
            torch.set_default_dtype(torch.float32)
            form = kind(model)
            for use in form._uses(): use()
            before, side = set(recorder.found), config.image_size
            assert len({{source.fn.fn.__name__ for _, source, *_ in recorder.found.values()}}) == kernels
            images = torch.empty(2, side, side, 3, dtype=torch.uint8)
            for length in (1, 9, 11, 12, 24, 27, 28, 40, 62, 64):
                ids, rows = torch.zeros(3, length, dtype=torch.long), torch.zeros(3, dtype=torch.long)
                form(images, ids, rows)
                form(images[:1].expand(3, -1, -1, -1), ids, None, torch.full((3,), length))
            later = [(c.describe(source, options), config) for key, (_, source, _, options) in recorder.found.items() if key not in before]
            assert not later, later
print(len(recorder.found))
"""

def test_what_is_compiled_beforehand_is_all_that_batches_ask_for():
    need_triton("3.6")
    done = subprocess.run([sys.executable, "-c", BEFOREHAND.format(scripts=str(ROOT/"scripts"))], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 20

"""A kernel that cannot be compiled or started does not end a run: the plain form goes on, and says so once.

Where there is no GPU, the form laid out for one runs on the CPU, with functions in the kernels' place that fail as kernels do."""
import os
import subprocess
import sys

import pytest
import torch

from beit3_colab import evaluate, open_run
from beit3_colab.commands import doctor
from beit3_colab.machine.messages import UserError
from beit3_colab.model import folded, folded_float8, fused, kernels
from beit3_colab.model import vqa as predict
from beit3_colab.model.batching import finish_batch, pad_questions, start_batch
from beit3_colab.model.beit3 import Beit3Config, Beit3ForVQA, init_weights
from beit3_colab.model.vqa import load_model, VQA

FORMS = ("norm_rows", "cut_patches", "attend_rows", "attend_cls")


class Broken:
    "Stands in a kernel's place: does what the plain form does, `good` times, and then raises."
    def __init__(self, name, error, good=0): self.plain, self.error, self.good, self.calls = getattr(kernels, name), error, good, 0
    def __call__(self, *args, **kwargs):
        self.calls += 1
        if self.calls > self.good: raise self.error
        return self.plain(*args, **kwargs)


@pytest.fixture
def pretend(monkeypatch):
    "Let the CPU be a device that runs kernels; some may be broken."
    def prepare(**broken):
        for module in (fused, predict): monkeypatch.setattr(module, "can_fuse", lambda device, dtype: True)
        monkeypatch.setattr(fused, "can_attend", lambda device, head_dim: True)
        monkeypatch.setattr(predict, "repays_compilation", lambda config, questions: True)
        for name in FORMS: monkeypatch.setattr(fused, f"fused_{name}", broken.get(name) or Broken(name, None, good=10**9))
    return prepare


def small_vqa(**more):
    torch.manual_seed(0)
    config = Beit3Config(image_size=32, embed_dim=32, num_heads=1, num_layers=2, ffn_dim=64, vocab_size=100, num_classes=9)
    return VQA(init_weights(Beit3ForVQA(config), std=.5).eval(), list("abcdefghi"), **more)

def ask(vqa, lengths=(5, 5, 3, 2), told=None):
    "Confidences of some questions, all in one batch where the model mixes lengths."
    told = [] if told is None else told
    torch.manual_seed(1)
    images, ids = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8), [torch.randint(4, 99, (n,)).tolist() for n in lengths]
    groups = [range(len(ids))] if vqa.mixes else [[i] for i in range(len(ids))]
    found = []
    for group in groups:
        padded, counts = pad_questions([ids[i] for i in group])
        found += finish_batch(start_batch(vqa, images, [i % 2 for i in group], padded, told.append, counts=counts), vqa.answers)
    return found

ERRORS = {
    "compiler": FileNotFoundError(2, "No such file or directory: 'gcc'"),
    "assembler": subprocess.CalledProcessError(255, ["ptxas", "--gpu-name=sm_75"]),
    "launch": RuntimeError("Triton Error [CUDA]: invalid device function"),
    "driver": RuntimeError("Triton Error [CUDA]: the provided PTX was compiled with an unsupported toolchain."),
    "version": AttributeError("'NoneType' object has no attribute 'start'"),
    "check": AssertionError(),
}

@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS)
def test_the_plain_form_answers_and_says_so_once(pretend, name, error):
    truth, told = ask(small_vqa()), []
    pretend(**{name: Broken(name, error)})
    vqa = small_vqa().expect(1)
    assert vqa.form == "kernels" and vqa.mixes
    assert ask(vqa, told=told) == truth and ask(vqa, told=told) == truth
    assert len(told) == 1 and told[0].startswith("cpu: the fast kernels do not run here (") and type(error).__name__ in told[0] and "\n" not in told[0] and len(told[0]) < 400
    assert "the plain form answers" in told[0] and not vqa.mixes and vqa.fast is None
    assert vqa.form.startswith("plain: kernels do not run here (") and vqa.kernel_fault in told[0]

def test_a_working_kernel_is_not_given_up(pretend):
    pretend()
    told, vqa = [], small_vqa().expect(1)
    for (answers, confidences, _), (others, expected, _) in zip(ask(vqa, told=told), ask(small_vqa())):
        assert answers[0] == others[0] and confidences == pytest.approx(expected, abs=1e-4)
    assert told == [] and vqa.form == "kernels" and small_vqa().form == "plain"

@pytest.mark.parametrize("good", [1, 3, 7])
def test_a_later_shape_may_be_the_first_that_fails(pretend, good):
    "Kernels are compiled anew for some shapes: the batch at hand is answered again, by the plain form."
    pretend(norm_rows=Broken("norm_rows", RuntimeError("out of resource: shared memory, Required: 131072"), good))
    told, vqa = [], small_vqa().expect(1)
    for (answers, confidences, _), (others, expected, _) in zip(ask(vqa, told=told), ask(small_vqa())):
        assert answers[0] == others[0] and confidences == pytest.approx(expected, abs=1e-4)
    assert len(told) == 1 and "shared memory" in told[0]

def test_what_triton_itself_raises(pretend, monkeypatch):
    "The real kernels, on a device that Triton has no driver for."
    pytest.importorskip("triton")
    if torch.cuda.is_available(): pytest.skip("here they would run")
    truth, told = ask(small_vqa()), []
    real = {name: getattr(kernels, f"fused_{name}") for name in FORMS}
    pretend(**real)
    vqa = small_vqa().expect(1)
    assert ask(vqa, told=told) == truth and len(told) == 1 and vqa.kernel_fault, told

def test_errors_that_are_not_the_kernels_are_not_swallowed(pretend):
    truth = ask(small_vqa())
    def start(error, name="norm_rows"):
        pretend(**{name: Broken(name, error)})
        return small_vqa().expect(1)
    told, vqa = [], start(torch.cuda.OutOfMemoryError("CUDA out of memory")) # a smaller batch is tried
    with pytest.raises(UserError, match="one question does not fit into the memory"): ask(vqa, told=told)
    assert "going on with 2" in told[0] and not vqa.kernel_fault
    for lost in ("CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be…", "Triton Error [CUDA]: unspecified launch failure"):
        vqa = start(RuntimeError(lost))
        with pytest.raises(UserError, match="stopped working in this process .*the answers of a run are kept: start again with the same output_dir"): ask(vqa)
        assert not vqa.kernel_fault
    vqa = start(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt): ask(vqa)
    pretend()
    vqa = small_vqa().expect(1)
    with pytest.raises((RuntimeError, IndexError)): vqa.logits(torch.zeros(1, 24, 40, 3, dtype=torch.uint8), torch.zeros(1, 4, dtype=torch.long)) # pictures of a wrong shape
    assert not vqa.kernel_fault and ask(small_vqa()) != [] and truth

def test_a_mistake_in_a_kernels_own_lines_is_seen(monkeypatch):
    "Such as buffers that do not fit each other: the plain form would hide it."
    with pytest.raises(TypeError): kernels.guarded_kernel(kernels.fused_norm_rows, "norm_rows")(torch.zeros(2, 4))
    if kernels.triton is None: return
    with pytest.raises((RuntimeError, ZeroDivisionError)): kernels.guarded_kernel(kernels.fused_cut_patches, "cut_patches")(torch.zeros(1, 8, 8, 3), 0, torch.float16)

def spoiled(name, spoil, good=0):
    "A kernel that runs and gives wrong numbers, after so many good calls."
    plain, calls = getattr(kernels, name), []
    def run(*args, **kwargs):
        calls.append(1)
        found = plain(*args, **kwargs)
        return found if len(calls) <= good else spoil(found)
    return run

WRONG = {
    "nan": ("norm_rows", lambda found: found.fill_(float("nan"))),
    "norm": ("norm_rows", lambda found: found + .5),
    "patches": ("cut_patches", lambda found: found.flip(0)),
    "attention": ("attend_rows", lambda found: found.roll(1, 0)),
    "cls": ("attend_cls", lambda found: found.flip(1)),
    "last row": ("attend_cls", lambda found: torch.cat((found[:-1], -found[-1:]))), # of the batch alone
}

@pytest.mark.parametrize("lengths", [(5, 5, 3, 2), (4, 4, 4, 4)], ids=["mixed", "equal"])
@pytest.mark.parametrize("name, spoil", WRONG.values(), ids=WRONG)
def test_wrong_numbers_are_seen_at_the_first_batch(pretend, name, spoil, lengths):
    truth, told = ask(small_vqa(), lengths), []
    pretend(**{name: spoiled(name, spoil)})
    vqa = small_vqa().expect(1)
    for found in (ask(vqa, lengths, told), ask(vqa, lengths, told)):
        for (answers, confidences, _), (others, expected, _) in zip(found, truth): # alone in a batch, sums round in another order
            assert answers == others and confidences == pytest.approx(expected, abs=2e-5)
    assert not vqa.mixes
    warning, = told
    assert "the fast kernels do not agree with the plain form (logits of the first batch are " in warning and "the plain form answers" in warning
    assert ("not finite" in warning) == (spoil is WRONG["nan"][1]) and vqa.form == f"plain: kernels do not agree with the plain form ({vqa.kernel_fault})"

def test_only_the_first_batch_of_a_kind_is_compared(pretend, monkeypatch):
    pretend()
    compared, real = [], predict.check_agreement
    monkeypatch.setattr(predict, "check_agreement", lambda found, *more: (compared.append(len(found)), real(found, *more)))
    vqa, told = small_vqa().expect(1), []
    for _ in range(3): ask(vqa, told=told) # of mixed lengths
    assert compared == [3]
    for _ in range(3): ask(vqa, (4, 4), told) # of equal ones: another form of the attention
    assert compared == [3, 2] and told == [] and vqa.form == "kernels"
    ask(small_vqa().expect(1)) # another model
    assert compared == [3, 2, 3]

def test_float8_that_does_not_agree_ends_with_a_sentence(pretend, monkeypatch):
    pretend(norm_rows=lambda *args, float8=False, **kwargs: kernels.norm_rows(*args, **kwargs) + .5)
    vqa = small_vqa(float8=True)
    for expert in vqa.fast.layers: expert[0].float8 = False # the products stay in the model's own format: no device here has float8's
    for image, _ in vqa.fast.layers:
        plain = fused.FastExpert(image.expert, image.norm)
        for part in ("qkv", "kv", "out", "fc1", "fc2"): setattr(image, part, getattr(plain, part))
    with pytest.raises(UserError, match=r"dtype='float8' has no form without kernels, and they do not agree with the plain form \(logits.*rounding explains 0.3\); use dtype='float16'"): ask(vqa)

def test_a_model_that_gives_nan_stays_an_error(pretend):
    pretend()
    vqa = small_vqa()
    with torch.no_grad(): vqa.model.head[-1].bias.fill_(float("nan"))
    with pytest.raises(UserError, match="the model gives NaN"): ask(vqa.expect(1))
    assert not vqa.kernel_fault # it is the weights

def test_float8_has_no_other_form(pretend):
    pretend(norm_rows=Broken("norm_rows", RuntimeError("ptxas fatal: Value 'sm_89' is not defined")))
    vqa = small_vqa(float8=True)
    with pytest.raises(UserError, match=r"dtype='float8' has no form without kernels, and they do not run here \(norm_rows: RuntimeError: ptxas fatal.*use dtype='float16'"): ask(vqa)
    assert not vqa.kernel_fault

def test_triton_that_cannot_be_imported_is_told_on_a_gpu_alone(monkeypatch):
    monkeypatch.setattr(kernels, "triton", None)
    monkeypatch.setattr(kernels, "_import_fault", "Triton cannot be imported (OSError: libcuda.so.1)")
    assert kernels.why_not(torch.device("cpu"), torch.float16) == ""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    assert kernels.why_not(torch.device("cuda"), torch.float32) == "" # nor would anybody expect them
    assert "libcuda" in kernels.why_not(torch.device("cuda"), torch.float16)
    monkeypatch.setattr(predict, "why_not", lambda device, dtype: "Triton cannot be imported (OSError: libcuda.so.1)")
    truth, told, vqa = ask(small_vqa()), [], small_vqa()
    vqa.compiles = True
    assert ask(vqa, told=told) == truth and len(told) == 1 and "libcuda.so.1" in told[0]

@pytest.mark.parametrize("good", [0, 20])
def test_a_run_goes_on(pretend, tmp_path, good):
    "From its first batch, or from one in its middle: the same file to the byte as without kernels; the report has the warning once."
    common = dict(device="cpu", limit=40, batch_size=4, progress=False)
    plain = evaluate(output_dir=tmp_path/"plain", **common)
    pretend(attend_rows=Broken("attend_rows", RuntimeError("Triton Error [CUDA]: device kernel image is invalid"), good))
    run = evaluate(output_dir=tmp_path/"run", **common)
    assert run.submission.read_bytes() == plain.submission.read_bytes()
    warning, = [text for text in run.report().warnings if "kernel" in text]
    assert "attend_rows: RuntimeError: Triton Error [CUDA]: device kernel image is invalid" in warning

def test_a_run_with_wrong_numbers_goes_on(pretend, tmp_path):
    common = dict(device="cpu", limit=40, batch_size=4, progress=False)
    plain = evaluate(output_dir=tmp_path/"plain", **common)
    pretend(attend_rows=spoiled("attend_rows", lambda found: found.roll(1, 0)))
    run = evaluate(output_dir=tmp_path/"run", **common)
    assert run.submission.read_bytes() == plain.submission.read_bytes()
    report = run.report()
    warning, = [text for text in report.warnings if "kernel" in text]
    assert "cpu: the fast kernels do not agree with the plain form (logits of the first batch are off by " in warning
    assert "do not agree with the plain form" in report.setup["form"] and "do not agree with the plain form" in str(report)

GROUP = """
import sys
sys.path.insert(0, {tests!r})
from pytest import MonkeyPatch
import test_kernel_fallback as t
t.pretend.__wrapped__(MonkeyPatch())(attend_rows=t.spoiled("attend_rows", lambda found: found.roll(1, 0)))
run = t.evaluate(output_dir={folder!r}, device="cpu", limit=150, batch_size=2, progress=False)
"""

def test_each_of_several_processes_tells_of_it_once(tmp_path):
    "Each of its own device, with its own figure: one GPU of eight may be the one with the fault."
    from processes import environment, free_port
    code, port = GROUP.format(tests=os.path.dirname(__file__), folder=str(tmp_path)), free_port()
    started = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment(
        RANK=rank, LOCAL_RANK=rank, WORLD_SIZE=2, LOCAL_WORLD_SIZE=2, MASTER_ADDR="127.0.0.1", MASTER_PORT=port)) for rank in range(2)]
    output = [process.communicate(timeout=240)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0], output
    found = open_run(tmp_path).report()
    told = [text for text in found.warnings if "kernel" in text]
    assert len(told) == 2 and all("do not agree with the plain form" in text for text in told) and found.setup["processes"].startswith("2 ")

def test_a_lost_gpu_ends_a_run_with_a_sentence_wherever_it_shows(monkeypatch, tmp_path):
    from beit3_colab.run import windows
    def lost(images, device): raise RuntimeError("CUDA error: device-side assert triggered\nCUDA kernel errors might be asynchronously reported")
    monkeypatch.setattr(windows, "to_device", lost)
    with pytest.raises(UserError, match="the GPU has stopped working in this process .CUDA error: device-side assert triggered.; the answers of a run are kept") as caught:
        evaluate(limit=4, output_dir=tmp_path, device="cpu", progress=False)
    assert "asynchronously" not in str(caught.value) and list(tmp_path.glob("answers-*"))

def fails_where(name, is_form):
    "A kernel that does what its plain form does, but for some calls."
    plain = getattr(kernels, name)
    def run(*args, **kwargs):
        if is_form(args, kwargs): raise RuntimeError("Triton Error [CUDA]: invalid device function")
        return plain(*args, **kwargs)
    return run

@pytest.mark.parametrize("name, is_form", [
    ("norm_rows", lambda args, more: args[0].shape[1] == 768), ("norm_rows", lambda args, more: args[0].shape[1] == 3072), ("norm_rows", lambda args, more: more.get("gelu")), ("norm_rows", lambda args, more: more.get("shift") is not None),
    ("norm_rows", lambda args, more: more.get("source")), ("norm_rows", lambda args, more: more.get("target") and more.get("add") is not None), ("norm_rows", lambda args, more: more.get("add") is None and not more.get("gelu")),
    ("cut_patches", lambda args, more: True), ("attend_rows", lambda args, more: len(args) == 3), ("attend_rows", lambda args, more: len(args) > 3), ("attend_cls", lambda args, more: len(args) == 3), ("attend_cls", lambda args, more: len(args) > 3)])
def test_every_form_of_a_run_is_tried(monkeypatch, name, is_form):
    monkeypatch.setattr(kernels, "can_attend", lambda device, head_dim: True)
    for form in FORMS: monkeypatch.setattr(kernels, f"fused_{form}", getattr(kernels, form))
    tried = kernels.try_kernels(torch.device("cpu"), torch.bfloat16)
    assert tried == dict.fromkeys(FORMS, "") # the plain forms agree with themselves
    monkeypatch.setattr(kernels, f"fused_{name}", fails_where(name, is_form))
    assert kernels.try_kernels(torch.device("cpu"), torch.bfloat16) == tried | {name: "RuntimeError: Triton Error [CUDA]: invalid device function"}
    plain = getattr(kernels, name)
    def wrong(*args, **kwargs): # numbers that are off in this form alone
        found = plain(*args, **kwargs)
        return found + 1 if is_form(args, kwargs) else found
    monkeypatch.setattr(kernels, f"fused_{name}", wrong)
    assert "its numbers are up to 1" in kernels.try_kernels(torch.device("cpu"), torch.float16)[name]

def test_the_doctor_tries_kernels(monkeypatch):
    found = {"norm_rows": "", "cut_patches": "CompilationError: no sm_75"}
    monkeypatch.setattr(kernels, "can_fuse", lambda *_: True)
    monkeypatch.setattr(kernels, "try_kernels", lambda *_: found)
    monkeypatch.setattr(folded, "try_folding", lambda *_: {})
    monkeypatch.setattr(folded_float8, "try_rounding", lambda *_: {})
    text = doctor.describe_kernels(problems := [], torch.device("cuda"), torch.float16)
    assert text == "norm_rows works; cut_patches does not: CompilationError: no sm_75"
    assert len(problems) == 1 and "the plain form of the model answers" in problems[0].what and "driver" in problems[0].remedy
    monkeypatch.setattr(folded, "try_folding", lambda *_: {"multiply_rows": "no descriptors"})
    monkeypatch.setattr(kernels, "try_kernels", lambda *_: {"norm_rows": ""})
    doctor.describe_kernels(problems := [], torch.device("cuda"), torch.float16)
    assert "multiply_rows does not: no descriptors" in problems[0].what and "those without folded norms answer" in problems[0].what
    monkeypatch.setattr(kernels, "can_fuse", lambda *_: False)
    monkeypatch.setattr(kernels, "why_not", lambda *_: "")
    assert doctor.describe_kernels(problems := [], torch.device("cuda"), torch.float32) == "not for this GPU; the plain form answers" and not problems


if kernels.triton is not None:
    import triton
    from triton import language as tl

    @triton.jit
    def does_not_compile(
        x_ptr, add_ptr, shift_ptr, w_ptr, b_ptr, out_ptr, scale_ptr, rows, eps, count, x_stride, x_offset, out_stride, out_offset,
        WIDTH: tl.constexpr, BLOCK: tl.constexpr, ROWS: tl.constexpr, ADD: tl.constexpr, SHIFT: tl.constexpr, GELU: tl.constexpr, FLOAT8: tl.constexpr,
    ):
        tl.store(out_ptr, tl.no_such_operation(rows))

class Launch:
    "The real kernel, on a grid that no GPU takes."
    def __init__(self): self.kernel = kernels._norm_kernel
    def __getitem__(self, grid): return lambda *args, num_warps: self.kernel[(1, 70_000, 1)](*args, num_warps=num_warps)

class Resources:
    "The real kernel, with more threads than any GPU has."
    def __init__(self): self.kernel = kernels._norm_kernel
    def __getitem__(self, grid): return lambda *args, num_warps: self.kernel[grid](*args, num_warps=1024)

def test_what_tritons_compiler_raises():
    "Compiled for a T4, which need not be here."
    from test_speed import compile_for, need_triton
    need_triton("3.3")
    constants, half = dict(WIDTH=64, BLOCK=64, ROWS=1, ADD=False, SHIFT=False, GELU=False, FLOAT8=False), "*fp16"
    def compiled(): compile_for(75, does_not_compile, constants, 2, x_ptr=half, add_ptr=half, shift_ptr=half, w_ptr=half, b_ptr=half, out_ptr=half, scale_ptr="*fp32", eps="fp32")
    with pytest.raises(kernels.KernelError, match="norm_rows: .*no_such_operation") as caught: kernels.guarded_kernel(compiled, "norm_rows")()
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300

if torch.cuda.is_available() and kernels.triton: # what only a GPU can show is there where one is
    def test_on_a_gpu_the_kernels_work():
        assert set(kernels.try_kernels(torch.device("cuda"), torch.float16).values()) == {""}

    @pytest.mark.parametrize("how", ["compile", "launch", "resources"])
    def test_on_a_gpu_a_broken_kernel_gives_the_plain_answers(monkeypatch, tmp_path, how):
        monkeypatch.setattr(predict, "repays_compilation", lambda config, questions: True)
        monkeypatch.setattr(folded_float8, "can_fold", lambda *_: False) # on Hopper norms would be folded into products
        common = dict(device="cuda", dtype="float16", limit=40, batch_size=8, progress=False)
        with monkeypatch.context() as only_plain:
            only_plain.setattr(predict, "can_fuse", lambda *_: False)
            plain = evaluate(output_dir=tmp_path/"plain", **common)
        monkeypatch.setattr(kernels, "_norm_kernel", does_not_compile if how == "compile" else Launch() if how == "launch" else Resources())
        run = evaluate(output_dir=tmp_path/"run", **common)
        assert run.submission.read_bytes() == plain.submission.read_bytes()
        assert len([text for text in run.report().warnings if "norm_rows: " in text]) == 1, run.report().warnings
        assert "norm_rows does not: " in doctor.describe_kernels(problems := [], torch.device("cuda"), torch.float16) and problems
        monkeypatch.undo()
        model = load_model("sample", device="cuda", dtype="float16").expect(10**9)
        assert model.form == "kernels" and model.logits(torch.zeros(1, *[model.config.image_size]*2, 3, dtype=torch.uint8), torch.full((1, 4), 5)).isfinite().all() # the device is still well

    @pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
    def test_on_a_gpu_wrong_numbers_give_the_plain_answers(monkeypatch, tmp_path, dtype):
        monkeypatch.setattr(predict, "repays_compilation", lambda config, questions: True)
        common = dict(device="cuda", dtype=dtype, limit=40, batch_size=8, progress=False)
        right = evaluate(output_dir=tmp_path/"right", **common)
        assert not [text for text in right.report().warnings if "kernel" in text] and right.report().setup["form"] == "kernels" # rounding is no fault
        with monkeypatch.context() as only_plain:
            only_plain.setattr(predict, "can_fuse", lambda *_: False)
            plain = evaluate(output_dir=tmp_path/"plain", **common)
        real = fused.fused_cut_patches
        monkeypatch.setattr(fused, "fused_cut_patches", lambda *args: real(*args).flip(0))
        run = evaluate(output_dir=tmp_path/"run", **common)
        assert run.submission.read_bytes() == plain.submission.read_bytes()
        assert [text for text in run.report().warnings if "do not agree with the plain form" in text]

def test_everything_is_imported_where_triton_is_missing():
    "macOS, Windows, PyTorch for CPUs. Each module: names that only kernels have are not asked for."
    code = ("import sys; sys.modules['triton'] = None; import importlib, pkgutil, beit3_colab\n"
            "for part in ('model', 'training', 'run', 'evaluation', 'commands'):\n"
            "    package = importlib.import_module(f'beit3_colab.{part}')\n"
            "    for module in pkgutil.iter_modules(package.__path__): importlib.import_module(f'beit3_colab.{part}.{module.name}')")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert not done.returncode, done.stderr

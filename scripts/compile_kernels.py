"""Compile the library's Triton kernels for GPUs that need not be here, and say what each takes of the chip.

    python scripts/compile_kernels.py          # the forms that differ most: what the tests run
    python scripts/compile_kernels.py --all    # every form of every published size, minutes

No list of forms is kept here. The model and the training's operations run on tensors that have shapes but no numbers
(PyTorch's FakeTensorMode), on a device that says it is the chip in question, so the library chooses its kernels, tiles
and warps as it would there. Triton binds and specialises each launch itself; only its compiler and its driver are
replaced by ones that write down what was to be compiled. That is then compiled for real, down to the chip's machine
code by the assembler that Triton brings along. A form must compile, its shared memory must fit the chip, and what its
registers cannot hold must stay small. A kernel of the library that was never launched on any chip is a fault, too.
"""
import argparse
import contextlib
import itertools
import json
import multiprocessing.connection
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
import types
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import triton
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from triton.runtime.jit import JITFunction

real_compile = triton.compile


@dataclass(frozen=True)
class Chip:
    "What a form must fit."
    name: str          # a GPU of the kind
    capability: tuple[int, int] # compute capability
    processors: int    # multiprocessors of that GPU
    shared: int        # KiB of shared memory that a program may have

CHIPS = [
    Chip("T4", (7, 5), 40, 64),
    Chip("A100", (8, 0), 108, 163),
    Chip("A40", (8, 6), 84, 99),
    Chip("L4", (8, 9), 58, 99),
    Chip("H100", (9, 0), 132, 227),
    Chip("B200", (10, 0), 148, 227),
    Chip("RTX 5090", (12, 0), 170, 99),
]
# Bytes of a thread that may not fit into its registers: an eighth of what they hold. One form is beyond with Triton 3.9.0,
# on an H100: the folded product with residual and moments, 184 in float16 and 272 in bfloat16 (3.8.0: 128 and 0; 3.6.0: none).
SPILLED = 128


@dataclass
class Form:
    "One form of a kernel on one chip."
    chip: str
    kernel: str        # its name
    what: str          # its constants, types of its pointers, warps and stages
    shared: int = 0    # bytes of shared memory
    registers: int = 0 # of a thread
    spilled: int = 0   # bytes of a thread that did not fit into registers
    seconds: float = 0. # of a processor that it took
    fault: str = ""    # what is wrong with it


class Recorder:
    "Stands in for Triton's compiler and driver; notes what was to be compiled."
    def __init__(self):
        self.chip, self.found = None, {} # (chip, source's hash, options) → (chip, source, target, options)

    def __call__(self, source, target=None, options=None, **_):
        self.found[self.chip.name, source.hash(), str(sorted(options.items(), key=str))] = self.chip, source, target, options
        nothing = types.SimpleNamespace(function=None, packed_metadata=None, metadata=None, c_wrapper=None)
        nothing.launch_metadata = nothing.run = nothing._init_handles = lambda *args, **kwargs: None
        return nothing

    def get_current_target(self):
        major, minor = self.chip.capability
        return GPUTarget("cuda", 10*major + minor, 32)

    def get_current_device(self): return CHIPS.index(self.chip) # what was compiled is kept by device
    def get_current_stream(self, device=None): return 0
    def get_device_interface(self): return torch.cuda

def pretend(recorder):
    "Let this process have whatever GPU the recorder names."
    driver.set_active(recorder)
    triton.compiler.compile = recorder
    FakeTensor.data_ptr = lambda tensor: tensor.storage_offset()*tensor.element_size() # all memory begins aligned
    FakeTensor.item = lambda tensor: 1.5 # the size of weights: no form depends on it
    def properties(device=None):
        chip = recorder.chip
        return types.SimpleNamespace(name=chip.name, major=chip.capability[0], minor=chip.capability[1],
                                     multi_processor_count=chip.processors)
    torch.cuda.get_device_capability = lambda device=None: recorder.chip.capability
    torch.cuda.get_device_name = lambda device=None: recorder.chip.name
    torch.cuda.get_device_properties = properties
    stream = types.SimpleNamespace(wait_stream=lambda other: None)
    torch.cuda.Stream = torch.cuda.current_stream = lambda device=None: stream
    torch.cuda.stream = lambda stream: contextlib.nullcontext()
    from beit3_colab.model.folded import FoldedBeit3
    FoldedBeit3.compile = lambda self: None # what batches ask for is what counts


def record_model(config, dtype, lengths, float8=False):
    "Launch what answering launches: questions of equal length, and where the GPU mixes them of different ones."
    from beit3_colab.model.beit3 import Beit3ForVQA
    from beit3_colab.model.vqa import VQA
    torch.set_default_dtype(dtype)
    model = Beit3ForVQA(config).eval()
    torch.set_default_dtype(torch.float32)
    vqa, forms = VQA.__new__(VQA), [] # not by `__init__`, which looks at numbers
    for folding_fault in ("", "it was given up"): # where one form fails, a simpler one is tried
        vars(vqa).update(model=model, float8=float8, compiles=True, kernel_fault="", folding_fault=folding_fault, _fast=None)
        forms.append(vqa.fast)
    side = config.image_size
    images, rows = torch.empty(2, side, side, 3, dtype=torch.uint8), torch.zeros(BATCH, dtype=torch.long)
    for fast in {type(form): form for form in forms}.values():
        for length in lengths if fast.mixes else lengths[:1]:
            ids, counts = torch.zeros(BATCH, length, dtype=torch.long), torch.full((BATCH,), length)
            fast(images, ids, rows)
            if fast.mixes: fast(images, ids, rows, counts)

def record_training(config, dtype, lengths):
    "Launch what the fast training pass launches, forward and backward."
    if not lengths: return
    from beit3_colab.training.kernels import fused_gelu_norm, fused_gelu_norm_backward, join_words, part_words
    n, heads, d, ffn = 1 + config.num_patches, config.num_heads, config.head_dim, config.ffn_dim
    hidden, weight = torch.empty(2*n, ffn, dtype=dtype), torch.empty(ffn)
    out, mean, rstd = fused_gelu_norm(hidden, weight, weight, config.layernorm_eps)
    fused_gelu_norm_backward(hidden, out, mean, rstd, weight, weight)
    for length in lengths:
        qkv, counts = torch.empty(2, n + length, 3, heads, d, dtype=dtype), torch.ones(2, dtype=torch.long)
        out, sums = torch.empty(2, n + length, heads, d, dtype=dtype), torch.empty(2, heads, n + length)
        join_words(qkv, counts, out, sums, n)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        parts = q, k[:, :, :n], v[:, :, :n]
        for like in (torch.empty_like, torch.Tensor.contiguous): # as cuDNN lays its gradients out, or might
            part_words((qkv, counts, out, sums), out, tuple(map(like, parts)), n)


@dataclass(frozen=True)
class Work:
    "What a run may ask for."
    config: object     # `Beit3Config`
    dtype: torch.dtype
    lengths: tuple[int, ...] = () # tokens of questions that are answered
    float8: bool = False # whether they are answered in float8, too
    training: tuple[int, ...] = () # tokens that a training pads questions to

BATCH = 128 # questions
SIDES = 224, 384, 480, 768
ANSWERED = 9, 24, 40, 56, 63, 64 # whole tiles of keys, and more or less of one after them
TRAINED = 16, 32, 64, 100

def list_work(everything):
    "All that a run may ask for, or what tells most of it."
    from beit3_colab.model.beit3 import Beit3Config, model_size
    def sized(size, side): return model_size(size, image_size=side, num_layers=2, vocab_size=64, num_classes=8)
    other = Beit3Config(128, embed_dim=192, num_heads=6, num_layers=2, ffn_dim=768, vocab_size=64, num_classes=8) # no published one
    if everything:
        configs = [other, *itertools.starmap(sized, itertools.product(("base", "large"), SIDES))]
        return [Work(c, dtype, ANSWERED, True, TRAINED) for c in configs for dtype in (torch.float16, torch.bfloat16)]
    return [
        Work(sized("base", 480), torch.float16, (9, 24, 62), True),
        Work(sized("large", 768), torch.float16, (9,), True),
        Work(sized("base", 224), torch.bfloat16, (9, 62), False, (16, 64, 100)),
        Work(other, torch.float16, (9,)),
    ]

def record(recorder, everything):
    "Launch all work on every chip that would take it."
    from beit3_colab.machine.messages import UserError
    from beit3_colab.model.kernels import check_float8
    for recorder.chip in CHIPS:
        for work in list_work(everything):
            if work.dtype == torch.bfloat16 and recorder.chip.capability < (8, 0): continue # nobody asks for it there
            record_model(work.config, work.dtype, work.lengths)
            if work.float8:
                try: check_float8(torch.device("cuda"))
                except UserError: pass
                else: record_model(work.config, work.dtype, work.lengths[:1], float8=True)
            if recorder.chip.capability >= (8, 0): record_training(work.config, work.dtype, work.training)

def all_kernels():
    "Every kernel of the library by name; those that others call are compiled with them."
    import importlib
    import pkgutil

    import beit3_colab
    found = {}
    for module in pkgutil.walk_packages(beit3_colab.__path__, "beit3_colab."):
        path = Path(beit3_colab.__path__[0], *module.name.split(".")[1:])
        source = path/"__init__.py" if module.ispkg else path.with_suffix(".py")
        if "triton.jit" not in source.read_text(encoding="utf-8"): continue
        for name, value in vars(importlib.import_module(module.name)).items():
            if isinstance(value, JITFunction) and value.fn.__module__ == module.name: found[name] = value
    return found

def never_recorded(recorder):
    "Names of kernels that no chip was asked to run, be it by way of another."
    kernels = all_kernels()
    seen = {source.fn.fn.__name__ for _, source, _, _ in recorder.found.values()}
    todo = list(seen)
    while todo: # those that a kernel calls
        words = set(re.findall(r"\w+", kernels[name].src)) if (name := todo.pop()) in kernels else set()
        more = (words & set(kernels)) - seen
        seen |= more
        todo += more
    return sorted(set(kernels) - seen)


def describe(source, options):
    "The constants and the types of pointers of a form."
    names = source.fn.arg_names
    def name_of(key): return names[key[0]] if isinstance(key, tuple) else names[key] if isinstance(key, int) else key
    constants = {name_of(key): value for key, value in source.constants.items()}
    types_ = sorted({t for t in source.signature.values() if isinstance(t, str) and (t.startswith("*") or "desc" in t)})
    return (f"{' '.join(f'{k}={v}' for k, v in constants.items())} {' '.join(types_)} "
            f"{options['num_warps']} warps {options['num_stages']} stages")

def usage(cubin):
    "Registers of a thread, and bytes that it keeps elsewhere, as the assembler noted them."
    import triton.backends.nvidia
    tool = Path(triton.backends.nvidia.__file__).parent/"bin"/"cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        done = subprocess.run([tool, "-res-usage", file.name], capture_output=True, text=True, check=True)
    return int(re.search(r"REG:(\d+)", done.stdout)[1]), int(re.search(r"STACK:(\d+)", done.stdout)[1])

def used_time(): # seconds of a processor, the assembler's included
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))

def compile_form(chip, source, target, options):
    "Compile one form, and hold it against its chip."
    form, start = Form(chip.name, source.fn.fn.__name__, describe(source, options)), used_time()
    try:
        compiled = real_compile(source, target=target, options=options)
        form.shared = compiled.metadata.shared
        form.registers, form.spilled = usage(compiled.asm["cubin"])
    except Exception as error: # whatever a compiler may raise
        form.fault = f"{type(error).__name__}: {' '.join(str(error).split())[:400]}"
    form.seconds = used_time() - start
    if form.shared > 1024*chip.shared: form.fault = f"{form.shared} bytes of shared memory, and the chip has {1024*chip.shared}"
    elif form.spilled > SPILLED: form.fault = f"{form.spilled} bytes of a thread do not fit into its registers"
    return form

def _work(jobs, connection):
    "Compile the forms whose numbers come, one at a time."
    while True: connection.send(compile_form(*jobs[connection.recv()]))

def compile_all(jobs, processes):
    "Compile forms in processes of their own: a compiler may end its process, too, and that is a fault of one form."
    context, found, todo = multiprocessing.get_context("fork"), {}, list(range(len(jobs)))[::-1]
    under_way = {} # connection → its process, and the number of the form that it compiles
    def hand_out(connection, process):
        if not todo: process.kill()
        else:
            under_way[connection] = process, todo.pop()
            connection.send(under_way[connection][1])
    def start():
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(jobs, theirs), daemon=True) # jobs are inherited: they cannot be sent
        process.start()
        theirs.close()
        hand_out(ours, process)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TRITON_CACHE_DIR"] = folder # what an earlier run left would hide a compiler's fault
        for _ in range(min(processes, len(jobs))): start()
        while under_way:
            for connection in multiprocessing.connection.wait(list(under_way)):
                process, number = under_way.pop(connection)
                try: found[number] = connection.recv()
                except EOFError:
                    process.join()
                    chip, source, _, options = jobs[number]
                    found[number] = Form(chip.name, source.fn.fn.__name__, describe(source, options),
                                         fault=f"the compiler ended its process ({process.exitcode})")
                    if todo: start()
                else: hand_out(connection, process)
    return [found[i] for i in range(len(jobs))]

def table(forms):
    "For each chip and kernel: how many forms, and the most that one takes."
    lines = ["| chip | kernel | forms | shared, KiB | registers | spilled, bytes | seconds |", "| --- | --- | --- | --- | --- | --- | --- |"]
    for (chip, kernel), group in itertools.groupby(sorted(forms, key=lambda f: ([c.name for c in CHIPS].index(f.chip), f.kernel)), key=lambda f: (f.chip, f.kernel)):
        group = list(group)
        most = [max(getattr(f, name) for f in group) for name in ("shared", "registers", "spilled")]
        lines.append(f"| {chip} | `{kernel}` | {len(group)} | {most[0]/1024:.1f} | {most[1]} | {most[2]} | {sum(f.seconds for f in group):.1f} |")
    return "\n".join(lines)

def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--all", action="store_true", help="every form of every published size")
    parser.add_argument("--chips", nargs="+", help="only these capabilities, such as 7.5 9.0")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--json", type=Path, help="where to write each form")
    args = parser.parse_args()
    from beit3_colab.model.folded import TensorDescriptor
    if args.chips: CHIPS[:] = [c for c in CHIPS if ".".join(map(str, c.capability)) in args.chips]
    recorder, start = Recorder(), time.perf_counter()
    pretend(recorder)
    with FakeTensorMode(allow_non_fake_inputs=True), torch.device("cuda"), torch.no_grad(): record(recorder, args.all)
    between = time.perf_counter()
    forms = compile_all(list(recorder.found.values()), args.processes)
    if args.json: args.json.write_text(json.dumps([asdict(f) for f in forms], indent=1))
    print(table(forms))
    print(f"\n{len(forms)} forms; Triton {triton.__version__}; {between - start:.0f} s to find them, "
          f"{time.perf_counter() - between:.0f} s to compile them in {args.processes} processes")
    faults = [f"{f.chip}: {f.kernel} ({f.what}): {f.fault}" for f in forms if f.fault]
    if not args.chips and TensorDescriptor is not None: # an older Triton has no form for some
        faults += [f"{name} was never launched" for name in never_recorded(recorder)]
    print("\n".join(faults))
    sys.exit(bool(faults))

if __name__ == "__main__": main()

"""How fast the model is, against the reference on the same machine in the same run.

    python benchmarks/model_speed.py                                # a GPU: base-480, large-480, large-768
    python benchmarks/model_speed.py --device cpu --sizes base-480  # a CPU

Both sides get random weights and pictures that lie on the device already. The reference runs as it is documented: batches of 16 (2 on a
CPU), fp16 autocast on a GPU, questions padded to 64 tokens. Ours runs batches of one length, as `evaluate` makes them.
"""
import argparse
import math
import time

import reference
import torch
from common import Results, machine, processor_seconds, table, timed

from beit3_colab.model import kernels
from beit3_colab.model import vqa as predict
from beit3_colab.model.folded_float8 import lay_out
from beit3_colab.model.fused import FastBeit3, operations
from beit3_colab.model.beit3 import Beit3Config, Beit3ForVQA, init_weights, model_size
from beit3_colab.model.vqa import DOUBLE_CHECK, VQA, predict_logits

MANY = 10**9 # questions: enough to compile for
POOL = 40 # questions of which a share is in doubt
TILES = [(128, 64, 4, 3), (128, 64, 8, 3), (64, 64, 4, 2), (64, 64, 4, 4), (128, 64, 8, 2), (64, 128, 4, 2), (128, 128, 8, 2)] # other tiles of attention: queries, keys, warps, stages


def configuration(size):
    "The configuration of `base-480` and the like; `tiny-64` is for trying the benchmark itself."
    kind, pixels = size.split("-")
    if kind == "tiny": return Beit3Config(image_size=int(pixels), embed_dim=64, num_heads=2, num_layers=2, ffn_dim=256)
    return model_size(kind, image_size=int(pixels))


def matmul_rate(device):
    "Operations a second of a large bfloat16 matrix product."
    n = 8192 if device == "cuda" else 1024
    a = torch.randn(n, n, device=device, dtype=torch.bfloat16)
    return 2*n**3 / timed(lambda: a @ a)


def build(config, device, dtype="float32"):
    "A model in evaluation mode with weights that `init_weights` has not seen yet."
    with torch.device(device): return Beit3ForVQA(config).eval().requires_grad_(False).to(getattr(torch, dtype))


class Side:
    "One size of the model on the device: exact weights, pictures, questions, and what float32 says of some."
    def __init__(self, size, batch, tokens, device):
        torch.manual_seed(0)
        self.size, self.config, self.device = size, configuration(size), device
        self.exact = init_weights(build(self.config, device))
        pixels = self.config.image_size
        self.images = torch.randint(0, 256, (batch, pixels, pixels, 3), dtype=torch.uint8, device=device)
        self.ids = torch.randint(4, self.config.vocab_size, (batch, tokens), device=device)
        few = min(batch, (64 if self.config.embed_dim <= 768 else 16) if device == "cuda" else 2)
        self.few = self.images[:few], self.ids[:few]
        self.truth = predict_logits(self.exact, *self.few)

    def model(self, dtype):
        "The same weights in another dtype."
        model = build(self.config, self.device, dtype)
        model.load_state_dict(self.exact.state_dict())
        return model

    def measure(self, dtype, form, peak, seconds):
        "A row of the table: `plain` is `beit3_colab.model.beit3`, `fast` is what `evaluate` runs on this device."
        before = torch.cuda.memory_allocated() if self.device == "cuda" else 0
        vqa = VQA(self.model(dtype if dtype != "float8" else "float16"), float8=dtype == "float8").expect(MANY if form == "fast" else 1)
        if form == "fast" and self.device == "cuda" and vqa.fast is None: raise RuntimeError("the kernels cannot run here")
        run, found = vqa.logits, vqa.logits(*self.few)
        error = (found - self.truth).pow(2).mean().sqrt().item() / self.truth.std().item()
        agree = (found.argmax(1) == self.truth.argmax(1)).float().mean().item()
        rate = len(self.ids) / timed(lambda: run(self.images, self.ids).topk(5), seconds)
        processor = processor_seconds(lambda: run(self.images, self.ids)) / len(self.ids) if self.device == "cpu" else None
        memory = None
        if self.device == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            run(self.images[:64], self.ids[:64])
            memory = torch.cuda.max_memory_allocated() - before + self.images[:64].numel()
        return dict(rate=rate, share=operations(self.config, self.ids.shape[1])*rate/peak if peak else None, rms=error, top1=agree, checked=len(self.truth), processor=processor, memory=memory)

    def measure_doubtful(self, share):
        "A row for bfloat16 with float32 where it is in doubt, which is made to be in a share of the questions: random weights say nothing of how often a trained model is."
        vqa, size = VQA(self.exact, rough=self.model("bfloat16")), len(self.ids)
        images = torch.randint(0, 256, (POOL, *self.images.shape[1:]), dtype=torch.uint8, device=self.device)
        ids = torch.randint(4, self.config.vocab_size, (POOL, self.ids.shape[1]), device=self.device)
        batches = list(zip(images.split(size), ids.split(size)))
        best = torch.cat([predict_logits(vqa.rough, *batch) for batch in batches]).topk(2).values
        margins, count, usual = (best[:, 0] - best[:, 1]).sort().values, round(share*POOL), predict.IN_DOUBT
        predict.IN_DOUBT = (margins[count] if count < POOL else margins[-1] + 1).item()
        try:
            def run():
                for batch in batches: vqa.logits(*batch).topk(5)
            run()
            start, spent = time.perf_counter(), time.process_time()
            run()
            return dict(rate=POOL / (time.perf_counter() - start), processor=(time.process_time() - spent) / POOL)
        finally: predict.IN_DOUBT = usual

    def graph_rate(self, seconds):
        "Questions a second when the whole batch is one CUDA graph: what the launches cost."
        fast = lay_out(self.model("float16"))
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream): fast(self.images, self.ids)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.inference_mode(), torch.cuda.graph(graph): fast(self.images, self.ids)
        return dict(rate=len(self.ids) / timed(graph.replay, seconds))

    def variant_rate(self, seconds, tile=None, layout=lay_out):
        "Questions a second of the fast form in float16, built otherwise."
        usual = kernels.ATTEND_TILE
        kernels.ATTEND_TILE = tile or usual
        try:
            fast = layout(self.model("float16"))
            error = (fast(*self.few).float() - self.truth).pow(2).mean().sqrt().item() / self.truth.std().item()
            return dict(rate=len(self.ids) / timed(lambda: fast(self.images, self.ids).topk(5), seconds), rms=error)
        finally: kernels.ATTEND_TILE = usual

    def sdpa_rate(self, seconds):
        "Questions a second with PyTorch's own attention."
        fast = FastBeit3(self.model("float16"))
        fast.attend, fast.attend_cls = kernels.attend_rows, kernels.attend_cls
        return dict(rate=len(self.ids) / timed(lambda: fast(self.images, self.ids).topk(5), seconds))

    def batch_rate(self, seconds, batch):
        "Questions a second of the fast form in float16, in batches of another size."
        fast, times = lay_out(self.model("float16")), -(-batch // len(self.ids))
        images, ids = self.images.repeat(times, 1, 1, 1)[:batch], self.ids.repeat(times, 1)[:batch]
        return dict(rate=batch / timed(lambda: fast(images, ids).topk(5), seconds))

    def profile(self, dtype, path, calls=3):
        "Milliseconds a batch by kernel."
        from torch.autograd import DeviceType
        from torch.profiler import ProfilerActivity, profile
        vqa = VQA(self.model(dtype if dtype != "float8" else "float16"), float8=dtype == "float8").expect(MANY)
        run, kind = lambda: vqa.logits(self.images, self.ids), DeviceType.CUDA if self.device == "cuda" else DeviceType.CPU
        seconds = timed(run, .1, 1)
        activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if self.device == "cuda" else [])
        with profile(activities=activities) as profiler:
            for _ in range(calls): run()
            if self.device == "cuda": torch.cuda.synchronize()
        spent = lambda e: (e.self_device_time_total if self.device == "cuda" else e.self_cpu_time_total) / calls / 1000
        rows = sorted(((spent(e), e.count // calls, e.key) for e in profiler.key_averages() if e.device_type == kind), reverse=True)
        if path:
            with open(path, "a") as f:
                print(f"{self.size} {dtype}: a batch of {len(self.ids)} takes {1000*seconds:.2f} ms; by kernel: milliseconds, calls, name", file=f)
                for ms, count, name in rows[:40]: print(f"{ms:9.3f} {count:5d} {name[:150]}", file=f)
        groups = {}
        for ms, _, name in rows: groups[kernel_group(name)] = groups.get(kernel_group(name), 0) + ms
        return dict(batch_ms=1000*seconds, kernels_ms=sum(ms for ms, *_ in rows), groups={k: round(v, 3) for k, v in groups.items()}, top=[(round(ms, 3), n, name[:80]) for ms, n, name in rows[:12]])


def kernel_group(name):
    "What a kernel is for, by its name."
    low = name.lower()
    for group, parts in dict(attention=("attend", "flash", "fmha", "sdpa", "attention"), norm=("norm",), patches=("patch",),
                             products=("product", "gemm", "nvjet", "cutlass", "cublas", "sm90_xmma", "wgmma", "mm")).items():
        if any(p in low for p in parts): return group
    return "other"


def sample_agreement(device, dtypes):
    "To how many of the sample's questions a dtype gives float32's answer, with how large a difference of logits."
    from beit3_colab.model.batching import plan_batches
    from beit3_colab.run.windows import plan_windows, read_windows
    from beit3_colab.model.vqa import load_model
    from beit3_colab.scenes.sample import open_sample
    data = open_sample()
    def logits(dtype, many):
        vqa, found = load_model("sample", device=device, dtype=dtype).expect(many), {}
        for window in read_windows(plan_windows(data.questions, 64), data.questions, data, vqa, 4):
            for batch in plan_batches([len(ids) for ids in window.input_ids], 64):
                rows = torch.tensor([window.rows[i] for i in batch])
                out = vqa.logits(window.images[rows], torch.tensor([window.input_ids[i] for i in batch]))
                found |= {window.indices[i]: row for i, row in zip(batch, out.cpu())}
        return torch.stack([found[i] for i in range(len(data.questions))])
    truth = logits("float32", 1)
    for dtype in dtypes:
        for form, many in (("plain", 1), ("fast", MANY)):
            if dtype in ("float8", DOUBLE_CHECK) and form == "plain" or device != "cuda" and form == "fast" and dtype != DOUBLE_CHECK: continue
            found = logits(dtype, many)
            best = truth.topk(2).values
            other = found.argmax(1) != truth.argmax(1)
            yield dict(dtype=dtype, form=form, same=int((~other).sum()), questions=len(truth), rms=((found - truth).pow(2).mean().sqrt() / truth.std()).item(),
                       largest=(found - truth).abs().max().item(), margins=[round(m, 4) for m in (best[:, 0] - best[:, 1])[other].tolist()])


COLUMNS = {"model": lambda r: r["size"], "dtype": lambda r: r["dtype"], "form": lambda r: r["form"], "questions/s": lambda r: f"{r['rate']:,.4g}" if r["rate"] < 100 else f"{r['rate']:,.0f}",
           "× reference": lambda r: r.get("ratio") and f"{r['ratio']:.2f}", "processor seconds a question": lambda r: r.get("processor") and f"{r['processor']:.2f} ({r['processor_ratio']:.2f} ×)",
           "share of peak": lambda r: r.get("share") and f"{r['share']:.0%}",
           "logits' rms error": lambda r: "rms" in r and f"{r['rms']:.2%}" or "", "top-1 as float32": lambda r: "top1" in r and f"{r['top1']:.0%} of {r['checked']}" or "",
           "peak memory at batch 64": lambda r: r.get("memory") and f"{r['memory']/1e9:.2f} GB"}


def print_tables(rows):
    "What was found, as Markdown."
    of = lambda kind: [r for r in rows if r["kind"] == kind]
    for r in of("machine"): print(r["text"] + (f", bfloat16 matrix product {r['peak']/1e12:.0f} TFLOP/s" if r["peak"] else ""))
    base = {r["size"]: r["rate"] for r in of("model") if r["form"] == "reference" and "rate" in r}
    spent = {r["size"]: r["processor"] for r in of("model") if r["form"] == "reference" and r.get("processor")}
    for r in of("model") + of("variant"):
        if "rate" in r and r["size"] in base: r["ratio"] = r["rate"] / base[r["size"]]
        if r.get("processor"): r["processor_ratio"] = spent.get(r["size"], math.nan) / r["processor"]
    shown = {name: show for name, show in COLUMNS.items() if any(show(r) for r in of("model") if "error" not in r)}
    if of("model"): print(table(shown, of("model")))
    if of("variant"): print(table({"base in float16, built otherwise": lambda r: r["name"], "questions/s": lambda r: f"{r['rate']:,.0f}", "× reference": lambda r: r.get("ratio") and f"{r['ratio']:.2f}"}, of("variant")))
    for r in of("profile"): print(f"{r['size']} {r['dtype']}:", r.get("error") or f"a batch {r['batch_ms']:.2f} ms, kernels {r['kernels_ms']:.2f}: " + ", ".join(f"{k} {v:.2f}" for k, v in r["groups"].items()))
    if of("agreement"): print(table({"sample in": lambda r: r["dtype"], "form": lambda r: r["form"], "top-1 as float32": lambda r: f"{r['same']} of {r['questions']}", "logits' rms error": lambda r: f"{r['rms']:.3%}",
                                     "largest": lambda r: f"{r['largest']:.3f}", "float32's margin where another": lambda r: r["margins"]}, of("agreement")))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--sizes", nargs="*", default=["base-480", "large-480", "large-768"])
    parser.add_argument("--dtypes", nargs="+", default=["float16", "bfloat16", "float8"] if torch.cuda.is_available() else ["float32"])
    parser.add_argument("--forms", nargs="*", default=["fast", "plain"])
    parser.add_argument("--in-doubt", type=float, nargs="+", default=[0, .1, .2], help=f"shares of questions that {DOUBLE_CHECK} asks again")
    parser.add_argument("--tokens", type=int, default=9, help="tokens of a question, <s> and </s> included")
    parser.add_argument("--batch", type=int, help="questions in a batch; without it 128 (32 above 480 px), 4 on a CPU")
    parser.add_argument("--seconds", type=float, default=1., help="for each timing")
    parser.add_argument("--no-reference", action="store_true")
    parser.add_argument("--agreement", action="store_true", help="compare dtypes on the built-in sample as well")
    parser.add_argument("--variants", action="store_true", help="measure other ways to build the first size's fast form")
    parser.add_argument("--profile", metavar="FILE", help="append kernels' times there")
    parser.add_argument("--warm", action="store_true", help="only compile what a measurement will need")
    parser.add_argument("--json", help="append results there")
    args = parser.parse_args()
    results, on_gpu = Results(args.json), args.device == "cuda"
    if args.warm: return warm(args)
    batches = {s: args.batch or (4 if not on_gpu else 128 if configuration(s).image_size <= 480 else 32) for s in args.sizes}
    peak = matmul_rate(args.device) if on_gpu else None
    results.add("machine", text=machine(args.device), peak=peak)
    if not args.no_reference and args.sizes: measure_reference(args, results, peak)
    for i, size in enumerate(args.sizes):
        side = Side(size, batches[size], args.tokens, args.device)
        for form in args.forms:
            for dtype in args.dtypes:
                if dtype == "float8" and form == "plain" or not on_gpu and form == "fast": continue
                if dtype == DOUBLE_CHECK:
                    for share in args.in_doubt: results.attempt("model", lambda: side.measure_doubtful(share), size=size, dtype=f"{dtype}, {share:.0%} in doubt", form=form)
                    continue
                results.attempt("model", lambda: side.measure(dtype, form, peak, args.seconds), size=size, dtype=dtype, form=form)
                if on_gpu: torch.cuda.empty_cache()
        if args.profile:
            for dtype in args.dtypes[:1] + [d for d in args.dtypes[1:] if d == "float8"]: results.attempt("profile", lambda: side.profile(dtype, args.profile), size=size, dtype=dtype)
        if args.variants and not i: variants(side, args, results)
        del side
    if args.agreement:
        for row in sample_agreement(args.device, args.dtypes): results.add("agreement", **row)
    if args.variants and on_gpu: # last: a capture that fails leaves the device's context unusable
        side = Side(args.sizes[0], batches[args.sizes[0]], args.tokens, args.device)
        results.attempt("variant", lambda: side.graph_rate(args.seconds), size=args.sizes[0], name="as one CUDA graph")
    print_tables(results.rows)


def without_side(model):
    "The usual layout, all on one stream."
    fast = lay_out(model)
    fast.side = None
    return fast


def variants(side, args, results):
    "Other ways to build the fast form."
    add = lambda name, run: results.attempt("variant", run, size=side.size, name=name)
    add("as it is", lambda: side.variant_rate(args.seconds))
    if args.device == "cuda": add("question's stream not beside", lambda: side.variant_rate(args.seconds, layout=without_side))
    add("with norms between the products", lambda: side.variant_rate(args.seconds, layout=FastBeit3))
    add("the same, PyTorch's attention", lambda: side.sdpa_rate(args.seconds))
    if args.device == "cuda":
        for batch in (32, 64, 96, 192, 256): add(f"batches of {batch}", lambda: side.batch_rate(args.seconds, batch))
    for tile in TILES[:3]: add(f"attention's tile {tile}", lambda: side.variant_rate(args.seconds, tile=tile))


def measure_reference(args, results, peak):
    "Rows of the reference: questions a second at its batch, memory at 64."
    on_gpu = args.device == "cuda"
    speed = {s: f"{s}:16:10" if on_gpu else f"{s}:2:3" for s in args.sizes}
    runs = list(speed.values()) + [f"{s}:64:1" for s in args.sizes if on_gpu]
    found = {}
    def run(): found.update(reference.start(sorted(runs, key=lambda r: r.split(":")[0]), args.device, args.tokens)); return {}
    results.attempt("reference", run)
    for size, name in speed.items():
        if name not in found: continue
        rate = found[name]["rate"]
        results.add("model", size=size, dtype="fp16 autocast" if on_gpu else "float32", form="reference", rate=rate, processor=None if on_gpu else found[name]["processor"], share=operations(configuration(size), 64)*rate/peak if peak else None,
                    memory=found.get(f"{size}:64:1", {}).get("peak"))


def warm(args):
    "Compile the kernels of these sizes and dtypes."
    usual = kernels.ATTEND_TILE
    for size in args.sizes:
        for dtype in args.dtypes:
            config = configuration(size)
            model = build(config, args.device, dtype if dtype != "float8" else "float16")
            images = torch.zeros(2, config.image_size, config.image_size, 3, dtype=torch.uint8, device=args.device)
            for tile in [usual] + (TILES if args.variants else []):
                kernels.ATTEND_TILE = tile
                fast = lay_out(model, dtype == "float8")
                for tokens in (args.tokens, 24, 50) if tile == usual else (args.tokens,): fast(images, torch.full((2, tokens), 5, device=args.device))


if __name__ == "__main__": main()

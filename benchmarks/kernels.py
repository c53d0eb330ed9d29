"""The kernels alone, at base's and large's sizes: how near to the memory's and the matrix units' rates, and attention's back ends side by side.

    python benchmarks/kernels.py

Rates count each input once and each output once. Attention's back ends get what they need as it lies in the joint buffer; their copies are counted.
"""
import argparse

import torch
import torch.nn.functional as F
from common import Results, machine, table, timed
from model_speed import TILES

from beit3_colab.model import kernels
from beit3_colab.model.fused import Float8Linear


def products(rows, width, device):
    "Operations a second of a layer's matrix products."
    for name, n, k in (("queries, keys, values", 3*width, width), ("after attention", width, width), ("fc1", 4*width, width), ("fc2", width, 4*width)):
        x, w = torch.randn(rows, k, device=device, dtype=torch.bfloat16), torch.randn(n, k, device=device, dtype=torch.bfloat16)
        yield f"product {name}, bfloat16", lambda: dict(operations=2*rows*n*k, seconds=timed(lambda: F.linear(x, w), .15))
        def eight():
            linear, read = Float8Linear(w), (x.to(torch.float8_e4m3fn), torch.ones(rows, 1, device=device))
            return dict(operations=2*rows*n*k, seconds=timed(lambda: linear(read), .15))
        yield f"product {name}, float8", eight


def norms(rows, width, device):
    "Bytes a second of the norm's forms, with several numbers of warps."
    form = kernels.fused_norm_rows if device == "cuda" else lambda *args, warps=None, **kwargs: kernels.norm_rows(*args, **kwargs)
    for d, gelu in ((width, False), (4*width, True)):
        x, add = (torch.randn(rows, d, device=device, dtype=torch.bfloat16) for _ in range(2))
        shift, w, b = (torch.randn(d, device=device, dtype=torch.bfloat16) for _ in range(3))
        for warps in (None, 1, 2, 4, 8) if device == "cuda" else (None,):
            for float8 in (False, True):
                if gelu: call = lambda: form(x, w, b, 1e-5, shift=shift, gelu=True, float8=float8, warps=warps)
                else: call = lambda: form(x, w, b, 1e-5, add=add, shift=shift, float8=float8, warps=warps)
                passes = (1 if gelu else 3) * 2 + (1 if float8 else 2) # bytes for an element
                yield f"norm of {d}{' after GELU' if gelu else ' after the sum'}{', to float8' if float8 else ''}, {f'{warps} warps' if warps else 'as it is'}", lambda: dict(bytes=passes*rows*d, seconds=timed(call, .06))


def attentions(batch, n, heads, device):
    "Operations a second of attention's back ends."
    qkv = torch.randn(batch*n, 3*heads*64, device=device, dtype=torch.bfloat16)
    done = lambda call: dict(operations=4*batch*n*n*heads*64, seconds=timed(call, .1))
    if device == "cuda":
        for tile in [kernels.ATTEND_TILE] + TILES:
            def ours():
                usual, kernels.ATTEND_TILE = kernels.ATTEND_TILE, tile
                try: return done(lambda: kernels.fused_attend_rows(qkv, batch, heads))
                finally: kernels.ATTEND_TILE = usual
            yield f"attention, ours, tile {tile}", ours
        counts = torch.full((batch,), n - 2, dtype=torch.int32, device=device)
        yield "attention, ours, questions of several lengths", lambda: done(lambda: kernels.fused_attend_rows(qkv, batch, heads, counts, n - 9))
        if torch.cuda.get_device_capability(device) >= (8, 9):
            qk, values = qkv[:, :2*heads*64].to(torch.float8_e4m3fn), qkv[:, 2*heads*64:].contiguous()
            yield "attention, ours, queries, keys and result in e4m3", lambda: done(lambda: kernels.fused_attend_rounded_rows(qk, values, batch, heads, counts, n - 9))
        q, kv = torch.randn(batch, heads*64, device=device, dtype=torch.bfloat16), torch.randn(batch*n, 2*heads*64, device=device, dtype=torch.bfloat16)
        yield "attention of cls, ours", lambda: dict(bytes=2*kv.numel(), seconds=timed(lambda: kernels.fused_attend_cls(q, kv, heads, counts), .05))
    from torch.nn.attention import SDPBackend, sdpa_kernel
    for backend in ("FLASH_ATTENTION", "CUDNN_ATTENTION", "EFFICIENT_ATTENTION"):
        def theirs():
            with sdpa_kernel(getattr(SDPBackend, backend)): return done(lambda: kernels.attend_rows(qkv, batch, heads))
        yield f"attention, PyTorch, {backend.split('_')[0].lower()}", theirs


def flex_attention_rate(batch, n, heads, device):
    "FlexAttention, which must be compiled."
    from torch.nn.attention.flex_attention import flex_attention
    q, k, v = torch.randn(batch*n, 3*heads*64, device=device, dtype=torch.bfloat16).view(batch, n, 3, heads, 64).permute(2, 0, 3, 1, 4)
    call = torch.compile(flex_attention, dynamic=False)
    return dict(operations=4*batch*n*n*heads*64, seconds=timed(lambda: call(q, k, v).transpose(1, 2).reshape(batch*n, -1), .1))


def describe(r):
    "A rate in words."
    return f"{r['operations']/r['seconds']/1e12:.0f} TFLOP/s" if "operations" in r else f"{r['bytes']/r['seconds']/1e12:.2f} TB/s"


def print_tables(rows):
    "What was found, as Markdown."
    for r in rows:
        if r["kind"] == "machine": print(r["text"])
    found = [r for r in rows if r["kind"] == "kernel"]
    if found: print(table({"kernel": lambda r: r["name"], "model": lambda r: r["size"], "ms": lambda r: f"{1000*r['seconds']:.3f}", "rate": describe}, found))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--patches", type=int, default=900)
    parser.add_argument("--flex", action="store_true", help="FlexAttention too, which torch.compile takes long over")
    parser.add_argument("--json", help="append results there")
    args = parser.parse_args()
    results, n = Results(args.json), args.patches + 10
    results.add("machine", text=machine(args.device))
    block = torch.randn(args.batch * 2**20, device=args.device)
    results.attempt("kernel", lambda: dict(bytes=8*block.numel(), seconds=timed(block.clone, .1)), name="copy", size="")
    del block
    with torch.inference_mode():
        for size, width, heads in (("base", 768, 12), ("large", 1024, 16)):
            for name, run in attentions(args.batch, n, heads, args.device): results.attempt("kernel", run, name=name, size=size)
            for make in (products, norms):
                if size == "base" or make is products:
                    for name, run in make(args.batch*n, width, args.device): results.attempt("kernel", run, name=name, size=size)
        if args.flex: results.attempt("kernel", lambda: flex_attention_rate(args.batch, n, 12, args.device), name="attention, FlexAttention", size="base")
    print_tables(results.rows)


if __name__ == "__main__": main()

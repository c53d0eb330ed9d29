"""Runs a Gluon kernel's own Python source on a CPU: what Hopper does beside the program is done late and at random, and misuse that the hardware would not tell is an error.

Triton interprets no Gluon. Here each group of warps is a Python thread, of which one runs at a time: at each operation that others could notice, a seeded choice says what is next: a
group that can go on, or something that was started: a copy into shared memory, a copy out of it, a matrix product. So a seed always gives the same run, and where nothing is left to choose
that is a deadlock, which is known at once.

- A copy into shared memory leaves NaN at its place when it starts, and the numbers when it is done. A copy out of it, and a product, read theirs when they are done.
- Seeds 0, 3, 6, … do what reads shared memory at the last moment that the waits allow.
- Besides, each use of a place is compared with those before it (`ordered`): if no wait puts the one after the other, that is an error even if this run's order was a good one."""
import importlib.util
import itertools
import math
import random
import sys
import threading
from pathlib import Path
from types import FunctionType, SimpleNamespace

import torch

SHARED_BYTES = 227*1024 # that a program may have on Hopper


class Fault(Exception):
    "What a kernel must not do."

class _Stopped(BaseException):
    "Ends the other groups after a fault."

def check(right, says):
    if not right: raise Fault(says)


class Block(torch.Tensor):
    "Numbers in registers, with what Gluon's tensors can do and torch's cannot."
    def to(self, dtype):
        x = self.as_subclass(torch.Tensor)
        if dtype == torch.float8_e4m3fn: x = x.float().clamp(-448, 448) # as the hardware does; NaN stays NaN
        return block(x.to(dtype))

    def split(self): return self[..., 0], self[..., 1]

def block(tensor): return tensor.as_subclass(Block)

class Pointer:
    "To numbers in global memory."
    def __init__(self, memory, offset=0): self.memory, self.offset = memory, offset
    def __add__(self, more): return Pointer(self.memory, self.offset + more)

    def used(self, mask): # offsets
        check(self.offset.shape == mask.shape, f"a mask {list(mask.shape)} for {list(self.offset.shape)} numbers")
        at = self.offset[mask].as_subclass(torch.Tensor)
        if len(at): check(at.min() >= 0 and at.max() < self.memory.numel(), f"numbers {at.min()} to {at.max()} of a buffer of {self.memory.numel()}")
        return at

class Matrix:
    "One in global memory, as the copy engine knows it."
    def __init__(self, descriptor): # Gluon's, which has looked at its strides
        self.memory, self.shape, self.block_shape, self.layout = descriptor.base, tuple(descriptor.shape), list(descriptor.block_shape), descriptor.layout
        self.dtype, self.sent = self.memory.dtype, torch.zeros(self.shape, dtype=torch.bool) # and what has been sent to it
        check(self.memory.is_contiguous() and self.memory.ndim == 2, "a matrix that is not contiguous")
        check(self.shape[1]*self.dtype.itemsize % 16 == 0, f"rows of {self.shape[1]} numbers are no multiple of 16 bytes")
        check(max(self.block_shape) <= 256, f"a box of {self.block_shape}")

    def box(self, place, corner): # what is inside the matrix: of it, and of the place
        check(list(place.numbers.shape) == self.block_shape and not place.turned, f"a box of {self.block_shape} and a place for {list(place.numbers.shape)}")
        check(place.numbers.dtype == self.dtype, f"{self.dtype} and {place.numbers.dtype}")
        check(place.layout == self.layout, f"{self.layout} and {place.layout}")
        check(corner[1]*self.dtype.itemsize % 16 == 0, f"column {corner[1]} is not at a multiple of 16 bytes")
        size = [max(0, min(b, n - c)) for b, n, c in zip(self.block_shape, self.shape, corner)]
        part = tuple(slice(c, c + n) for c, n in zip(corner, size))
        return self.memory[part], place.numbers[:size[0], :size[1]], self.sent[part]


class Place:
    "A part of shared memory that is used as a whole."
    def __init__(self, name, numbers, layout):
        self.name, self.numbers, self.layout, self.turned = name, numbers, layout, False
        self.history = SimpleNamespace(write=None, reads=[], unfenced=None) # who wrote it last, who has read that, who wrote it without a fence

    def permute(self, order):
        check(tuple(order) == (1, 0), f"order {order}")
        turned = Place(self.name, self.numbers.t(), self.layout)
        turned.history, turned.turned = self.history, not self.turned
        return turned

    def use(self, user, writes, asynchronous):
        "`user` has `clock`, `moment` = (whose, when) and `name`."
        kept = self.history
        check(kept.unfenced is None or not asynchronous, f"{user.name} uses {self.name}, which {kept.unfenced} wrote without a fence")
        check(writes or kept.write is not None, f"{user.name} reads {self.name}, which nobody has written")
        for other, does in [(kept.write, "writes")]*(kept.write is not None) + [(r, "reads") for r in kept.reads]*writes:
            (whose, when), name = other
            if user.ordered: check(user.clock.get(whose, -1) >= when, f"{user.name} {'writes' if writes else 'reads'} {self.name} while {name} {does} it")
        if writes: kept.write, kept.reads, kept.unfenced = (user.moment, user.name), [], None if asynchronous else user.name
        else: kept.reads.append((user.moment, user.name))

class Memory:
    "A part of shared memory: several places of one form."
    def __init__(self, places): self.places = places
    def index(self, i):
        check(0 <= i < len(self.places), f"place {i} of {len(self.places)}")
        return self.places[i]

class Barrier:
    "An mbarrier."
    def __init__(self, name): self.name, self.count = name, None
    def init(self, count): self.count, self.pending, self.bytes, self.phase, self.clock, self.known = count, count, 0, 0, {}, {}

    def arrive(self, count, clock, expected=0):
        check(self.count is not None, f"{self.name} was not initialized")
        check(count <= self.pending, f"more than {self.count} arrivals at {self.name} in its phase {self.phase}")
        self.pending, self.bytes = self.pending - count, self.bytes + expected
        self.advance(clock)

    def copied(self, count, clock):
        self.bytes -= count
        check(self.pending or self.bytes >= 0, f"{self.name} gets {-self.bytes} bytes more than expected in its phase {self.phase}")
        self.advance(clock)

    def advance(self, clock):
        join(self.clock, clock)
        if self.pending or self.bytes: return
        self.phase, self.pending = self.phase + 1, self.count
        join(self.known, self.clock)

    def has_completed(self, parity): return self.phase & 1 != parity

def join(clock, other):
    for whose, when in other.items(): clock[whose] = max(when, clock.get(whose, -1))


class Work:
    "Something that is done beside the program."
    def __init__(self, group, name, queue, do):
        machine = group.machine
        self.name, self.queue, self.do, self.ordered, self.done, self.moment = f"{name} of {group.name}", queue, do, machine.ordered, False, (next(machine.numbers), 0)
        self.clock = {**group.clock, self.moment[0]: 0}
        group.tick()

class Product(Work):
    value = None
    def _unfinished(self, *_): raise Fault(f"{self.name} is used before it was waited for")
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = _unfinished

class Group:
    "A group of warps."
    def __init__(self, machine, number, warps, function, arguments):
        self.machine, self.number, self.warps, self.name, self.ordered = machine, number, warps, f"group {number}", machine.ordered
        self.turn, self.ended, self.waits, self.can_go_on = threading.Event(), False, "its start", lambda: True
        self.clock, self.unfenced, self.copies, self.products = {number: 0}, [], [], [] # what it has started and not waited for
        self.thread = threading.Thread(target=self.work, args=(function, arguments), daemon=True)

    @property
    def moment(self): return self.number, self.clock[self.number]
    def tick(self): self.clock[self.number] += 1

    def work(self, function, arguments):
        machine = self.machine
        try:
            self.go_on()
            function(*arguments)
            for left in (self.copies, self.products): check(not left, f"{self.name} ends without a wait for {left and left[0].name}")
        except _Stopped: pass
        except BaseException as error: machine.fault = machine.fault or error
        self.ended = True
        machine.choose()

    def go_on(self):
        self.turn.wait()
        self.turn.clear()
        if self.machine.fault: raise _Stopped

    def pause(self, waits="its turn", can_go_on=lambda: True):
        "Others may go on; and it may, when it can."
        self.waits, self.can_go_on = waits, can_go_on
        self.machine.choose()
        self.go_on()

    def start(self, work):
        self.machine.under_way.append(work)
        self.pause()
        return work

    def wait_for(self, started, left, what):
        "Until at most `left` of what was started are not done."
        due = started[:max(0, len(started) - left)]
        self.pause(what, lambda: all(work.done for work in due))
        for work in due: join(self.clock, work.clock)
        del started[:len(due)]


class Machine:
    "One program: its groups of warps, its shared memory, and what is under way."
    def __init__(self, seed, ordered, program, programs):
        self.ordered, self.program, self.programs, self.random, self.numbers = ordered, program, programs, random.Random(seed), itertools.count(100)
        self.fault, self.under_way, self.all_copies, self.bytes, self.memories, self.groups = None, [], [], 0, 0, []
        self.soon = (0, .05, .4)[seed % 3] # how often something under way is done although a group could go on
        self.running = None
        self.rank()

    def rank(self): self.ranks = [self.random.random() for _ in range(8)]

    def run(self, groups):
        self.groups, self.finished = groups, threading.Event()
        for group in groups: group.thread.start()
        self.choose()
        check(self.finished.wait(60), "the program does not end")
        for group in groups: group.thread.join()
        if self.fault: raise self.fault
        for work in self.all_copies: check(any(work.moment[0] in group.clock for group in groups), f"the program ends without a wait for {work.name}")

    def choose(self):
        "Who goes on; what is done on the way there."
        while not self.fault:
            left = [g for g in self.groups if not g.ended]
            if not left: break
            able = [g for g in left if g.can_go_on()]
            if able and not (self.under_way and self.random.random() < self.soon):
                if self.random.random() < .05: self.rank()
                self.running = max(able, key=lambda g: self.ranks[g.number])
                return self.running.turn.set()
            if self.under_way: self.do_one()
            else: self.fault = Fault("deadlock: " + "; ".join(f"{g.name} waits for {g.waits}" for g in left))
        self.finished.set()
        for group in self.groups: group.turn.set()

    def do_one(self):
        first = {work.queue: work for work in reversed(self.under_way)} # a queue's products are done one after the other
        choice = list(first.values())
        if not self.soon: choice = [work for work in choice if work.queue[0] == "in"] or choice
        work = self.random.choice(choice)
        self.under_way.remove(work)
        try: work.do(work)
        except BaseException as error: self.fault = error
        work.done = True


class Language:
    "What a kernel's module imports from Gluon, for one launch after the other."
    def __init__(self):
        self.seed, self.ordered, self.machine = 0, True, None
        self.gl = SimpleNamespace(
            float16=torch.float16, bfloat16=torch.bfloat16, float32=torch.float32, float8e4nv=torch.float8_e4m3fn, int64=torch.int64,
            program_id=lambda axis: self.machine.program, num_programs=lambda axis: self.machine.programs, static_range=range,
            cdiv=lambda a, b: -(-a//b), minimum=min, arange=lambda start, end, layout: block(torch.arange(start, end)),
            zeros=lambda shape, dtype, layout: block(torch.zeros(shape, dtype=dtype)), sum=lambda x, axis: x.sum(axis),
            abs=torch.abs, where=torch.where,
            NVMMADistributedLayout=self.distributed_layout, SliceLayout=lambda axis, parent: ("slice", axis, parent),
            load=self.load, store=self.store, allocate_shared_memory=self.allocate, warp_specialize=self.warp_specialize)
        self.mbarrier = SimpleNamespace(MBarrierLayout=lambda: "mbarrier", init=lambda bar, count: bar.init(count), wait=self.wait, arrive=self.arrive, expect=self.expect)
        self.tma = SimpleNamespace(store_wait=self.store_wait, async_copy_global_to_shared=self.copy_in, async_copy_shared_to_global=self.copy_out)

    @property
    def group(self): return self.machine.running

    # registers and global memory
    def distributed_layout(self, version, warps_per_cta, instr_shape):
        check(list(version) == [3, 0] and math.prod(warps_per_cta) == self.group.warps, f"a layout for {warps_per_cta} warps of {self.group.warps}")
        return "distributed", tuple(warps_per_cta), tuple(instr_shape)

    def load(self, pointer, mask=None, other=torch.nan): # without `other` what is not meant may be anything
        at = block(torch.as_tensor(pointer.offset))
        if mask is None: mask = block(torch.ones(at.shape, dtype=torch.bool))
        found = torch.full(mask.shape, other, dtype=pointer.memory.dtype)
        found[mask.as_subclass(torch.Tensor)] = pointer.memory.view(-1)[Pointer(pointer.memory, at).used(mask)]
        return block(found)

    def store(self, pointer, x, mask):
        check(x.dtype == pointer.memory.dtype and x.shape == mask.shape, f"{x.dtype} {list(x.shape)} for {pointer.memory.dtype} {list(mask.shape)}")
        pointer.memory.view(-1)[pointer.used(mask)] = x[mask].as_subclass(torch.Tensor)

    # shared memory
    def allocate(self, dtype, shape, layout): # memories are numbered from 1 in the order of their places in the program
        machine = self.machine
        machine.bytes += math.prod(shape)*dtype.itemsize
        machine.memories += 1
        check(machine.bytes <= SHARED_BYTES, f"{machine.bytes} bytes of shared memory")
        names = [f"memory {machine.memories}[{i}]" for i in range(shape[0])]
        if layout == "mbarrier": return Memory([Barrier(name) for name in names])
        return Memory([self.place(name, torch.full(shape[1:], torch.nan).to(dtype), layout) for name in names])

    def place(self, name, numbers, layout):
        place = Place(name, numbers, layout)
        place.load, place.store = (lambda to: self.load_place(place, to)), lambda x: self.store_place(place, x)
        return place

    def load_place(self, place, layout):
        self.group.pause()
        place.use(self.group, False, False)
        return block(place.numbers.clone())

    def store_place(self, place, x):
        self.group.pause()
        check(x.shape == place.numbers.shape and x.dtype == place.numbers.dtype, f"{x.dtype} {list(x.shape)} for {place.numbers.dtype} {list(place.numbers.shape)}")
        place.use(self.group, True, False)
        self.group.unfenced.append(place.history)
        place.numbers.copy_(x.as_subclass(torch.Tensor))

    def fence_async_shared(self):
        for history in self.group.unfenced: history.unfenced = None
        self.group.unfenced.clear()

    # barriers
    def wait(self, bar, parity):
        check(bar.count is not None, f"{bar.name} was not initialized")
        check(parity in (0, 1), f"a wait for a phase of parity {parity}")
        self.group.pause(f"parity {parity} of {bar.name}, in its phase {bar.phase}", lambda: bar.has_completed(parity))
        join(self.group.clock, bar.known)

    def arrive(self, bar, count=1):
        self.group.pause()
        bar.arrive(count, self.group.clock)
        self.group.tick()

    def expect(self, bar, count):
        self.group.pause()
        bar.arrive(1, self.group.clock, count)
        self.group.tick()

    # what is done beside the program
    def copy_in(self, matrix, corner, bar, place):
        group = self.group
        def do(work):
            source, target, sent = matrix.box(place, corner)
            check(not sent.any(), f"{work.name} reads at {corner} what has been sent there")
            place.numbers.zero_()
            target.copy_(source)
            bar.copied(math.prod(matrix.block_shape)*matrix.dtype.itemsize, work.clock)
        check(bar.count is not None, f"{bar.name} was not initialized")
        matrix.box(place, corner)
        work = Work(group, f"a copy into {place.name}", ("in", next(self.machine.numbers)), do)
        place.use(work, True, True)
        place.numbers.fill_(torch.nan)
        self.machine.all_copies.append(work)
        group.start(work)

    def copy_out(self, matrix, corner, place):
        group = self.group
        def do(work):
            target, source, sent = matrix.box(place, corner)
            check(not sent.any(), f"{work.name} sends again to {corner}")
            sent.fill_(True)
            target.copy_(source)
        matrix.box(place, corner)
        work = Work(group, f"a copy out of {place.name}", ("out", next(self.machine.numbers)), do)
        place.use(work, False, True)
        group.copies.append(work)
        group.start(work)

    def store_wait(self, left): self.group.wait_for(self.group.copies, left, f"all but {left} of its copies out of shared memory")

    def warpgroup_mma(self, a, b, total, use_acc=True, is_async=False):
        group = self.group
        def do(work):
            work.value = a.numbers.float() @ b.numbers.float()
            if use_acc: work.value += total.value if isinstance(total, Product) else total.as_subclass(torch.Tensor)
        shapes = [list(x.numbers.shape) for x in (a, b)]
        check(group.warps == 4 and is_async, "products are for 4 warps, and asynchronous here")
        check(a.numbers.dtype == b.numbers.dtype and shapes[0][0] == 64 and shapes[0][1]*a.numbers.dtype.itemsize % 32 == 0, f"{shapes} of {a.numbers.dtype}")
        check(shapes[0][1] == shapes[1][0] and shapes[1][1] <= 256 and not a.turned, f"{shapes} do not fit")
        check(b.turned or b.numbers.dtype.itemsize > 1, "products of e4m3 want rows of both sides")
        check(not isinstance(total, Product) or not group.products or group.products[-1] is total, "a product is added to one that is not the last")
        work = Product(group, f"a product with {a.name}", ("product", group.number), do)
        for place in (a, b): place.use(work, False, True)
        group.products.append(work)
        return group.start(work)

    def warpgroup_mma_wait(self, left, deps):
        self.group.wait_for(self.group.products, left, f"all but {left} of its products")
        found = [block(x.value) if isinstance(x, Product) and x not in self.group.products else x for x in deps]
        return found[0] if len(found) == 1 else tuple(found)

    # programs
    def warp_specialize(self, functions, warps, registers):
        check(len(warps) == len(registers) == len(functions) - 1 and all(24 <= n <= 240 and n % 8 == 0 for n in registers), f"{warps} warps with {registers} registers")
        self.machine.run([Group(self.machine, i, n, *each) for i, (n, each) in enumerate(zip([self.warps, *warps], functions))])

    def launch(self, kernel, programs, arguments, num_warps):
        "Its programs, one after the other."
        arguments = [Pointer(x) if isinstance(x, torch.Tensor) else Matrix(x) if hasattr(x, "block_shape") else x for x in arguments]
        for x in arguments: check(not isinstance(x, Pointer) or x.memory.is_contiguous(), "a buffer that is not contiguous")
        self.warps = num_warps
        for program in range(programs):
            self.machine = Machine(self.seed + 3*program, self.ordered, program, programs)
            kernel(*arguments)

class Kernel:
    "What is launched as `kernel[(programs,)](…)`."
    def __init__(self, language, function): self.language, self.function = language, function
    def __getitem__(self, grid): return lambda *arguments, num_warps: self.language.launch(self.function, *grid, arguments, num_warps)


def load_copy(name, path, was="", becomes=""):
    "A copy of a module, which is written to `path`, with one place of its source changed."
    source = Path(importlib.util.find_spec(name).origin).read_text(encoding="utf-8")
    if was:
        if source.count(was) != 1: raise ValueError(f"{source.count(was)} times in {name}: {was}")
        source = source.replace(was, becomes)
    path.write_text(source, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(f"{name}_of_a_test", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module # dataclasses look there
    try: spec.loader.exec_module(module)
    finally: del sys.modules[spec.name]
    return module

def stand_in(module, name, functions=()):
    "Have a module's kernel of this name run on the stand-in, which is given back. `functions` are those of Triton that it calls. The rest of the module stays as it is."
    language = Language()
    inside = dict(vars(module), gl=language.gl, mbarrier=language.mbarrier, tma=language.tma)
    inside.update({each: getattr(language, each) for each in ("warpgroup_mma", "warpgroup_mma_wait", "fence_async_shared")})
    triton = {"tl": SimpleNamespace(abs=torch.abs, exp2=torch.exp2, maximum=lambda x, least: x.clamp_min(least))}
    for each, found in vars(module).items():
        if type(found).__name__ == "GluonJITFunction": inside[each] = FunctionType(found.fn.__code__, inside, each)
        elif each in functions: inside[each] = FunctionType(found.fn.__code__, triton, each)
    setattr(module, name, Kernel(language, inside[name]))
    return language

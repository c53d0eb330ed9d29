"Tries in processes of their own, which may hang, crash or eat memory without harm to the others."
import contextlib
import io
import json
import os
import random
import re
import resource
import select
import shutil
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

OUTCOMES = ("own error", "accepted", "traceback", "hang", "crash", "over memory", "silently accepted", "unclean text")
FAULTS = OUTCOMES[2:]
# what a terminal obeys, or nobody sees
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
LONGEST = 2_000 # characters of a message


class Attempt(NamedTuple):
    "One damaged input, and what a user does with it."
    what: str # what was done to the good input
    read: Callable # without arguments: what a user calls
    judge: Callable = lambda result: "" # why the result should not have been given; "" where nothing could be known
    after: Callable = lambda error: "" # of what `read` raised, or None: which harm was done all the same


@dataclass(frozen=True)
class Format:
    "A format that the library reads."
    name: str
    prepare: Callable # a folder → what all tries need: good inputs, loaded models
    attempt: Callable # (that, random.Random, a folder for this try) → `Attempt`
    share: float = 1. # of the tries, beside other formats
    foreign: tuple = () # packages whose own errors a user sees unchanged, since theirs is the call
    alone: bool = False # whether no server may be asked, and no file that is not the sender's may be read


@dataclass(frozen=True)
class Bounds:
    "What a try may take."
    seconds: float = 10. # of the clock, on a machine that does nothing else; twice that when it is tried again
    memory: int = 1_500_000_000 # bytes more than before
    file: int = 300_000_000 # bytes of a file that it writes
    batch: int = 50 # tries in a process


@dataclass
class Status(Exception):
    "What a command said, and its exit status."
    code: int
    said: str = field(repr=False)


class Refused(Exception):
    "A command ended with status 2 and this line."


def run_command(*arguments):
    "Run a command of the library in this process; what it printed. Raises `Refused` for status 2."
    from beit3_colab.commands.cli import main
    with streams() as (out, said):
        try: status = main([str(a) for a in arguments])
        except SystemExit as stop: status = stop.code
    sys.stdout.write(out.getvalue()) # it is looked at by whoever called
    sys.stderr.write(said.getvalue())
    if status == 0: return out.getvalue()
    lines = said.getvalue().splitlines()
    if status == 2 and lines: raise Refused(lines[-1])
    raise Status(status, said.getvalue())


def _chain(error):
    "An error, and those that led to it."
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__

def _wants_memory(error):
    return any(isinstance(e, MemoryError) or "allocate memory" in str(e)[:500] for e in _chain(error))

def _own_folder():
    import beit3_colab
    return f"{Path(beit3_colab.__file__).parent}{os.sep}" # a clone may lie in a folder of the same name, with all that is installed

def _is_foreign(error, packages):
    "Whether an error was raised by a package that the user called."
    frames = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    ours = max((i for i, name in enumerate(frames) if name.startswith(_own_folder())), default=-1)
    return any(f"{os.sep}{package}{os.sep}" in name for package in packages for name in frames[ours + 1:])

def classify(error, foreign=()):
    "The outcome that an error is."
    from beit3_colab.machine.distributed import GroupError
    from beit3_colab.machine.messages import UserError
    if isinstance(error, (UserError, GroupError, Refused)):
        return "over memory" if type(error.__context__) is MemoryError else "own error"
    if _wants_memory(error): return "over memory"
    return "own error" if _is_foreign(error, foreign) else "traceback"

def unclean(text, longest=LONGEST):
    "What is wrong with a text that somebody will see; nothing, mostly."
    if len(text) > longest: return f"{len(text)} characters: {text[:100]!r}"
    found = CONTROLS.search(text.replace("\r\n", "\n"))
    return f"{found[0]!r} in {text[max(0, found.start() - 60):found.end() + 20]!r}" if found else ""


@contextlib.contextmanager
def streams():
    "Standard output and error as texts."
    kept = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = io.StringIO(), io.StringIO()
    try: yield sys.stdout, sys.stderr
    finally: sys.stdout, sys.stderr = kept

_seen = [] # what this process did that the system was asked for, see `watch`
_PROGRAMS = ("os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "os.spawn")
ELSEWHERE = ("/etc/passwd", "/dev/zero") # files of others, which mutations name

def watch():
    "Note from now on when this process starts programs, connects, or opens what is not meant for it."
    def note(event, args):
        if event in _PROGRAMS: _seen.append(("program", f"{event} {args[0]!r:.60}"))
        elif event == "socket.connect": _seen.append(("server", str(args[1])[:60]))
        elif event == "open" and isinstance(args[0], str) and os.path.abspath(args[0].partition("\0")[0]) in ELSEWHERE:
            _seen.append(("file", args[0][-60:]))
    sys.addaudithook(note)

def _what_happened(format):
    "What a try did that nobody asked for."
    odd = [text for kind, text in _seen if kind == "program" or format.alone]
    return f"a try led to {odd[0]}" if odd else ""

def try_once(format, good, seed, folder, show=False):
    "One try in this process: {seed, outcome, what, message}."
    place = folder/f"try-{seed:08}"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    attempt = format.attempt(good, random.Random(f"{format.name} {seed}"), place)
    error, reason = None, ""
    _seen.clear()
    with streams() as (out, err):
        try: reason = attempt.judge(attempt.read())
        except BaseException as e: error = e # noqa: BLE001 - whatever it is, it is what is looked for
    if show and error: traceback.print_exception(error)
    if show: print(out.getvalue() + err.getvalue(), end="")
    outcome, message = ("accepted", "") if error is None else (classify(error, format.foreign),
                                                               f"{type(error).__name__}: {error}")
    harm = _what_happened(format) or attempt.after(error)
    shown = unclean(out.getvalue() + err.getvalue(),
                    10**6) or (unclean(str(error)) if outcome == "own error" and not _is_foreign(error,
                            format.foreign) else "")
    if outcome in ("own error", "accepted"):
        if "Traceback (most recent" in err.getvalue(): outcome, message = "traceback", err.getvalue()
        elif reason or harm: outcome, message = "silently accepted", reason or harm
        elif shown: outcome, message = "unclean text", shown
    if outcome == "traceback" and error is not None: message += f" [{_where(error)}]"
    shutil.rmtree(place, ignore_errors=True)
    return dict(seed=seed, outcome=outcome, what=attempt.what[:300],
                message=message[:600].encode("utf-8", "replace").decode())

def _where(error): # the last line of ours that it passed
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename.startswith(_own_folder())]
    frame = frames[-1] if frames else traceback.extract_tb(error.__traceback__)[-1]
    return f"{Path(frame.filename).parent.name}/{Path(frame.filename).name}:{frame.lineno}"


def _peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss*1024 # of this process, in bytes

def _data_bytes():
    return next(int(line.split()[1])*1024 for line in Path("/proc/self/status").read_text().splitlines()
                if line.startswith("VmData"))

def _child(format, good, seeds, folder, bounds, pipe):
    "Try one seed after the other, and tell of each on a pipe when it begins and when it has ended."
    def tell(**what): os.write(pipe, json.dumps(what).encode() + b"\n")
    base = _peak()
    most = _data_bytes() + 3*bounds.memory # what asks for more gets a MemoryError
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    resource.setrlimit(resource.RLIMIT_FSIZE, (bounds.file, bounds.file))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    watch()
    for seed in seeds:
        tell(begin=seed)
        begun = time.monotonic()
        try: found = try_once(format, good, seed, folder)
        except BaseException: # noqa: BLE001
            found = dict(seed=seed, outcome="tool", what="", message=traceback.format_exc()[-2_000:])
        more = _peak() - base
        if more > bounds.memory and found["outcome"] not in ("traceback", "tool"): found["outcome"] = "over memory"
        tell(**found, seconds=round(time.monotonic() - begun, 3), megabytes=more//1_000_000)
        if more > bounds.memory: return # the peak stays: a new process for the next

def _listen(pid, pipe, seconds):
    "What a child tells; at its end how it ended: (results, the seed that it did not finish or None, whether it hung)."
    buffer, found, begun, since = b"", [], None, time.monotonic()
    while True:
        ready, _, _ = select.select([pipe], [], [], max(0, since + seconds - time.monotonic()))
        if not ready:
            os.kill(pid, signal.SIGKILL)
            return found, begun, True
        block = os.read(pipe, 1 << 16)
        if not block: return found, begun, False
        *lines, buffer = (buffer + block).split(b"\n")
        for line in map(json.loads, lines):
            since = time.monotonic()
            if "begin" in line: begun = line["begin"]
            else:
                found.append(line)
                begun = None

def _run_batch(format, good, seeds, folder, bounds):
    "Results of the seeds that a child got through; the last may be a hang or a crash."
    r, w = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.close(r)
            quiet = os.open(os.devnull, os.O_RDWR)
            for number in (0, 1, 2): os.dup2(quiet, number) # libraries in C print as well
            _child(format, good, seeds, folder, bounds, w)
            status = 0
        finally: os._exit(status)
    os.close(w)
    found, open_seed, hung = _listen(pid, r, bounds.seconds)
    os.close(r)
    _, status = os.waitpid(pid, 0)
    if open_seed is not None:
        how = f"no end after {bounds.seconds:g} s" if hung else f"ended by itself: {os.waitstatus_to_exitcode(status)}"
        found.append(dict(seed=open_seed, outcome="hang" if hung else "crash", what="", message=how,
                          seconds=bounds.seconds, megabytes=0))
    return found

def run_seeds(format, good, seeds, folder, bounds=Bounds()):
    """Try seeds in children; yields a result for each.

    What hung or crashed is tried once more, alone and with twice the time."""
    seeds = list(seeds)
    while seeds:
        found = _run_batch(format, good, seeds[:bounds.batch], folder, bounds)
        if not found: raise RuntimeError(f"a process for {format.name} ended before its first try")
        if found[-1]["outcome"] in ("hang", "crash"):
            again = Bounds(2*bounds.seconds, bounds.memory, bounds.file, 1)
            found[-1:] = _run_batch(format, good, [found[-1]["seed"]], folder, again)
        seeds = seeds[len(found):]
        yield from found


def count(results):
    "{outcome: how many} of results, all outcomes."
    found = Counter(r["outcome"] for r in results)
    return {outcome: found[outcome] for outcome in OUTCOMES}

def table(by_format):
    "A Markdown table like that of a report: {format: results}."
    lines = ["| format | tries | " + " | ".join(OUTCOMES) + " | slowest | memory |", "|" + " --- |"*(len(OUTCOMES) + 4)]
    def line(name, results):
        slowest, most = max(r["seconds"] for r in results), max(r["megabytes"] for r in results)
        numbers = [f"{len(results):,}", *(f"{n:,}" for n in count(results).values()), f"{slowest:.1f} s",
                   f"{most:,} MB"]
        return f"| {name} | " + " | ".join(numbers) + " |"
    lines += [line(name, results) for name, results in by_format.items() if results]
    everything = [r for results in by_format.values() for r in results]
    return "\n".join([*lines, line("**all**", everything)]) if everything else "\n".join(lines)

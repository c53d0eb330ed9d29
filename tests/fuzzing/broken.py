"Readers that are broken on purpose: the fuzz must find each of them out."
import ctypes
import time

from .children import Attempt, Format

def _format(name, read, judge=lambda result: "", after=lambda error: ""):
    return Format(f"broken: {name}", lambda folder: None, lambda good, rng, place: Attempt(name, read, judge, after),
                  alone=True)

def hang():
    while True: time.sleep(1)

def lack(): return {}["a"]

def crash(): ctypes.string_at(0)

def eat():
    kept = bytearray()
    while True: kept += bytes(100_000_000)

def want():
    "As where a huge size is asked for at once, and the error that comes of it is explained."
    from beit3_colab.machine.messages import UserError
    try: return bytearray(10**12)
    except MemoryError: raise UserError("too large") from None

def say_escape():
    "An error that is not cleaned where it is shown."
    from beit3_colab.machine.messages import UserError
    class Raw(UserError):
        def __str__(self): return "a name \x1b[31m in a message"
    raise Raw

def print_escape(): print("\x9b1m")

def say_much():
    from beit3_colab.machine.messages import UserError
    raise UserError("x"*3_000)

def start_program():
    import subprocess
    subprocess.run(["true"])
    refuse()

def ask_server():
    import socket
    try: socket.create_connection(("127.0.0.1", 9), 1)
    except OSError: pass

def read_elsewhere(): open("/proc/../etc/passwd").close()

def refuse():
    from beit3_colab.machine.messages import UserError
    raise UserError("no picture")

FORMATS = (
    _format("hang", hang),
    _format("traceback", lack),
    _format("crash", crash),
    _format("over memory", eat),
    _format("over memory, explained", want),
    _format("silently accepted", lambda: "1", lambda result: "" if isinstance(result, int) else "a text"),
    _format("harm", refuse, after=lambda error: "a file was changed"),
    _format("program", start_program),
    _format("server", ask_server),
    _format("file", read_elsewhere),
    _format("unclean message", say_escape),
    _format("unclean output", print_escape),
    _format("long message", say_much),
    _format("own error", refuse),
    _format("accepted", lambda: 1, lambda result: "" if isinstance(result, int) else "a text"))

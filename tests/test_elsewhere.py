"""The library on a Windows and a macOS that are played: what it needs of Linux is not there (tests/elsewhere/sitecustomize.py).

What these systems do otherwise, nobody has seen here; the workflow has jobs for them."""
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

TESTS = Path(__file__).parent


def play(system, place, *arguments):
    "Run Python as on another system; the finished process."
    (place/"tmp").mkdir(exist_ok=True)
    environment = dict(BEIT3_ELSEWHERE=system, BEIT3_ELSEWHERE_PLACE=str(place), TMPDIR=str(place/"tmp"), PYTHONPATH=f"{TESTS/'elsewhere'}{os.pathsep}{TESTS.parent}")
    return subprocess.run([sys.executable, "-X", "warn_default_encoding", *arguments], cwd=place, env=os.environ | environment, capture_output=True, text=True, timeout=1200)

@pytest.mark.parametrize("system", ["windows", "macos"])
def test_all_that_is_portable_works(system, tmp_path):
    pytest_itself = "-W", "ignore::EncodingWarning", "-m", "pytest", "-q", "-p", "no:xdist", "-p", "no:cacheprovider", "-o", "addopts="
    few = ["-k", "module or known_figure or two_ or torn or folder or doctor"]*(system == "macos")
    done = play(system, tmp_path, *pytest_itself, "--basetemp", tmp_path/"base", "--rootdir", TESTS.parent, TESTS/"test_portable.py", *few)
    assert done.returncode == 0, done.stdout[-6000:]
    assert " passed" in done.stdout and " failed" not in done.stdout

FAULTS = { # what the library may not do, and what would come of it
    "os.getuid()": "AttributeError",
    "os.memfd_create('x')": "AttributeError",
    "import fcntl": "ModuleNotFoundError",
    "import resource": "ModuleNotFoundError",
    "signal.SIGKILL": "AttributeError",
    "select.poll()": "AttributeError",
    "open('/proc/self/status', encoding='utf-8')": "FileNotFoundError",
    "open('12:30:00.json', 'wb')": "OSError",
    "Path('what?').mkdir()": "OSError",
    "Path('nul.txt').write_bytes(b'')": "OSError",
    "held = open('a', 'wb'); Path('b').write_bytes(b''); os.replace('b', 'a')": "PermissionError",
    "held = open('a', 'wb'); os.unlink('a')": "PermissionError",
    "Path('a').write_bytes(b'x'); held = mapped('a'); Path('a').unlink()": "PermissionError",
    "Path('a').write_text('x')": "EncodingWarning",
    "open('a', 'w')": "EncodingWarning",
    "os.symlink('a', 'b')": "PermissionError",
}
PLAY = """
import traceback
ours = {{"__name__": "beit3_colab.forged"}} # the library, for the one who plays
exec('''import mmap, os, select, signal
from pathlib import Path
def mapped(name):
    with open(name, "rb") as file: return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
''', ours)
try: exec({code!r}, ours)
except BaseException as error: print(type(error).__name__)
else: print("nothing")
"""

@pytest.mark.parametrize("code", FAULTS)
def test_what_windows_lacks_or_refuses_is_found(code, tmp_path):
    "The player can fail: forged lines of the library, with one fault each."
    done = play("windows", tmp_path, "-c", PLAY.format(code=code))
    assert done.stdout.strip() == FAULTS[code], done.stderr

def test_lines_by_descriptor_are_text_on_windows(tmp_path):
    code = "fd = os.open('a', os.O_CREAT | os.O_WRONLY{}); os.write(fd, b'x' + bytes([10])); os.close(fd)"
    for more, content in (("", b"x\r\n"), (" | os.O_BINARY", b"x\n")):
        play("windows", tmp_path, "-c", PLAY.format(code=code.format(more)))
        assert (tmp_path/"a").read_bytes() == content
        (tmp_path/"a").unlink()

def test_the_others_are_left_alone(tmp_path):
    "What is no part of the library sees the system as it is."
    code = textwrap.dedent("""
        import fcntl, os, signal
        print(os.getuid() >= 0, signal.SIGKILL > 0, len(open("/proc/self/status").read()) > 0)""")
    assert play("windows", tmp_path, "-W", "ignore::EncodingWarning", "-c", code).stdout.split() == ["True"]*3

def test_the_list_of_portable_files_names_what_is_there():
    "The workflow's other systems run these: `python -m pytest @tests/portable.txt`."
    listed = (TESTS/"portable.txt").read_text().split()
    assert len(listed) > 10 and len(set(listed)) == len(listed) and all((TESTS.parent/name).is_file() for name in listed)
    assert "@tests/portable.txt" in (TESTS.parent/".github"/"workflows"/"test.yml").read_text()

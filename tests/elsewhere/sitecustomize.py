"""Python reads this at its start where this folder is on PYTHONPATH: the library then sees another operating system than the one it runs on.

BEIT3_ELSEWHERE=windows or macos says which. What these systems lack is taken from the modules that the library imports (and only there: others
belong to this system), /proc and its like are not there for it, and with `windows` the disk is one of Windows: no name with :, ? or the like, no
file that is replaced or deleted while somebody of this process has it open, files by descriptor in text mode unless O_BINARY says otherwise.
Children of the library inherit it. It stands in for machines that are not here, and is none."""
import builtins
import errno
import fcntl as real_fcntl
import importlib
import io
import os
import re
import shutil
import struct
import sys
import types
import warnings

SYSTEM = os.environ.get("BEIT3_ELSEWHERE", "")
PLACE = os.path.realpath(os.environ.get("BEIT3_ELSEWHERE_PLACE", "/nowhere")) # below it the disk has the system's rules

LINUX_ONLY = "memfd_create sched_getaffinity sched_setaffinity posix_fadvise sendfile pidfd_open eventfd splice copy_file_range".split()
POSIX_ONLY = LINUX_ONLY + """fork forkpty getuid geteuid getgid getegid getgroups getpgid getpgrp setpgid setsid getsid killpg setuid setgid
    mkfifo mknod uname getloadavg sysconf confstr pathconf statvfs fstatvfs chown lchown fchown chroot pread pwrite readv writev nice openpty
    O_NOFOLLOW O_NONBLOCK O_DIRECTORY O_CLOEXEC O_SYNC O_DSYNC O_NOCTTY O_ASYNC WNOHANG WIFEXITED WIFSIGNALED WEXITSTATUS WTERMSIG
    register_at_fork sync lockf posix_spawn ctermid ttyname initgroups""".split()
MISSING = {
    "macos": {"os": LINUX_ONLY, "select": ["epoll"], "signal": ["SIGRTMIN", "SIGRTMAX", "SIGPWR", "SIGSTKFLT"]},
    "windows": {"os": POSIX_ONLY, "select": ["poll", "epoll"], "socket": ["AF_UNIX", "SO_REUSEPORT", "socketpair"], "time": ["tzset"],
                "signal": "SIGKILL SIGHUP SIGUSR1 SIGUSR2 SIGALRM SIGPIPE SIGCHLD SIGSTOP SIGCONT SIGQUIT alarm setitimer pthread_sigmask "
                          "pthread_kill sigwait siginterrupt SIGRTMIN SIGRTMAX".split()},
}.get(SYSTEM, {})
NO_MODULE = {"windows": {"fcntl", "pwd", "grp", "resource", "termios", "tty", "pty", "syslog", "posix"}}.get(SYSTEM, set())
EXTRA = {} # module → names that this system does not have


def of_library(globals_): return str((globals_ or {}).get("__name__", "")).partition(".")[0] == "beit3_colab"

def asked_by_library():
    "Whether the nearest caller outside of the standard library is ours."
    frame, lib = sys._getframe(2), os.path.dirname(os.__file__)
    while frame is not None:
        if of_library(frame.f_globals): return True
        file = frame.f_code.co_filename
        if not (file.startswith(("<", lib)) or file == __file__) or "site-packages" in file: return False
        frame = frame.f_back
    return False

def without(module, names):
    "A module that lacks some names."
    made = types.ModuleType(module.__name__, module.__doc__)
    made.__dict__.update({name: value for name, value in vars(module).items() if name not in names})
    made.__dict__.update(EXTRA.get(module.__name__, {}))
    return made

SEEN = {}
real_import = builtins.__import__

def import_(name, globals=None, locals=None, fromlist=(), level=0):
    if level or not of_library(globals): return real_import(name, globals, locals, fromlist, level)
    if name in NO_MODULE: raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    if name == "msvcrt" and SYSTEM == "windows": return MSVCRT
    if name == "psutil" and SYSTEM == "windows": return windows_psutil(real_import(name, globals, locals, fromlist, level))
    found = real_import(name, globals, locals, fromlist, level)
    if name in MISSING:
        if name not in SEEN: SEEN[name] = without(found, MISSING[name])
        return SEEN[name]
    return found

def windows_psutil(psutil):
    "Its memory figures have a field more there."
    class Process(psutil.Process):
        def memory_info(self):
            found = super().memory_info()
            return types.SimpleNamespace(**found._asdict(), peak_wset=found.rss)
    made = without(psutil, ())
    made.Process = Process
    return made


# The disk

SPECIAL = re.compile(r"/(proc|dev|sys|etc|run)(/|$)")
ALLOWED = re.compile(r"/dev/null")
FORBIDDEN = re.compile(r'[<>:"|?*\\\x00-\x1f]|[. ]$|^(con|prn|aux|nul|com\d|lpt\d)(\.|$)', re.I)

def text_of(path):
    try: return os.path.abspath(os.fsdecode(path))
    except (TypeError, ValueError): return None

def below(path): return path is not None and (path + "/").startswith(PLACE + "/")

def check_name(path):
    "Raise what Windows raises for names that it does not take."
    text = text_of(path)
    if not below(text): return
    wrong = [part for part in os.path.relpath(text, PLACE).split("/") if part not in (".", "..") and FORBIDDEN.search(part)]
    if wrong: raise OSError(errno.EINVAL, "The filename, directory name, or volume label syntax is incorrect (as on Windows)", text)

def check_there(path):
    "Raise for what only Linux has, where the library asks."
    text = text_of(path) if not isinstance(path, int) else None
    if text and SPECIAL.match(text) and not ALLOWED.match(text) and asked_by_library():
        raise FileNotFoundError(errno.ENOENT, "No such file or directory (as elsewhere)", text)

def held(path):
    "Whether this process has a file open, or in its memory."
    text = text_of(path)
    try: real = os.path.realpath(text)
    except OSError: return False
    for fd in REAL["listdir"]("/proc/self/fd"):
        try: target = REAL["readlink"](f"/proc/self/fd/{fd}")
        except OSError: continue
        if target == real: return True
    with REAL["open_"]("/proc/self/maps", encoding="utf-8", errors="replace") as maps: return any(line.rstrip("\n").endswith(" " + real) for line in maps)

def refuse_held(path):
    if below(text_of(path)) and os.path.isfile(path) and held(path):
        raise PermissionError(errno.EACCES, "The process cannot access the file because it is being used by another process (as on Windows)", text_of(path))

REAL = dict(open_=io.open, os_open=os.open, replace=os.replace, rename=os.rename, unlink=os.unlink, remove=os.remove, mkdir=os.mkdir,
            listdir=os.listdir, readlink=os.readlink, write=os.write, symlink=os.symlink, rmtree=shutil.rmtree)

def open_(file, mode="r", *args, **kwargs):
    check_there(file)
    if SYSTEM == "windows" and not isinstance(file, int): check_name(file)
    if "b" not in mode and len(args) < 2: kwargs["encoding"] = io.text_encoding(kwargs.get("encoding")) # warns whoever called
    return REAL["open_"](file, mode, *args, **kwargs)

TEXT_MODE = set() # descriptors

def os_open(path, flags, mode=0o777, *, dir_fd=None):
    check_there(path)
    if SYSTEM == "windows" and dir_fd is None: check_name(path)
    binary, flags = flags & O_BINARY, flags & ~O_BINARY
    fd = REAL["os_open"](path, flags, mode, dir_fd=dir_fd)
    if SYSTEM == "windows" and not binary and asked_by_library(): TEXT_MODE.add(fd)
    else: TEXT_MODE.discard(fd)
    return fd

def write(fd, data): # by the library alone
    if fd in TEXT_MODE:
        REAL["write"](fd, bytes(data).replace(b"\n", b"\r\n"))
        return len(data)
    return REAL["write"](fd, data)

def moving(name):
    def move(src, dst, *args, **kwargs):
        check_name(dst)
        refuse_held(src); refuse_held(dst)
        if name == "rename" and below(text_of(dst)) and os.path.lexists(dst): raise FileExistsError(errno.EEXIST, "already exists (as on Windows)", text_of(dst))
        return REAL[name](src, dst, *args, **kwargs)
    return move

def removing(name):
    def remove(path, *args, **kwargs):
        if not kwargs.get("dir_fd"): refuse_held(path)
        return REAL[name](path, *args, **kwargs)
    return remove

def mkdir(path, *args, **kwargs):
    if not kwargs.get("dir_fd"): check_name(path)
    return REAL["mkdir"](path, *args, **kwargs)

def symlink(src, dst, *args, **kwargs):
    if below(text_of(dst)): raise OSError(errno.EPERM, "A required privilege is not held by the client (as on Windows)", text_of(dst))
    return REAL["symlink"](src, dst, *args, **kwargs)

O_BINARY = 0x40000000

class Msvcrt(types.ModuleType):
    "Locks of byte ranges, at the place where the file stands."
    LK_LOCK, LK_NBLCK, LK_UNLCK = 1, 2, 0
    def locking(self, fd, mode, count):
        start = os.lseek(fd, 0, os.SEEK_CUR)
        writes = real_fcntl.fcntl(fd, real_fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY
        kind = real_fcntl.F_UNLCK if mode == self.LK_UNLCK else real_fcntl.F_WRLCK if writes else real_fcntl.F_RDLCK
        lock = struct.pack("hhqqi4x", kind, os.SEEK_SET, start, count, 0)
        try: real_fcntl.fcntl(fd, real_fcntl.F_OFD_SETLK, lock) # of this open file, as on Windows
        except OSError: raise PermissionError(errno.EACCES, "Permission denied (as on Windows)") from None

MSVCRT = Msvcrt("msvcrt")


def begin():
    builtins.__import__ = import_
    builtins.open = io.open = open_
    os.open = os_open
    if SYSTEM == "windows":
        os.replace, os.rename, os.mkdir, os.symlink = moving("replace"), moving("rename"), mkdir, symlink
        os.unlink, os.remove = removing("unlink"), removing("remove")
        shutil._use_fd_functions = False # as on Windows, where folders are deleted by name
        EXTRA["os"] = {"O_BINARY": O_BINARY, "write": write}
    reads_proc = r"machine\.device|training\.memory|commands\.bench" # numbers of Linux
    warnings.filterwarnings("error", category=EncodingWarning, module=rf"beit3_colab(?!\.({reads_proc}))") # with -X warn_default_encoding; Windows' is not UTF-8

if MISSING:
    importlib.import_module("pathlib")
    begin()

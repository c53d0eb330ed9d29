"What is done to a good input: bytes, a JSON tree, a list of lines. The same random numbers give the same input."
import contextlib
import json
import struct

CONTROL = "\x1b]0;title\x07\x1b[31mred\x1b[2A \u202eesrever\u2066 \x00 \x9b1m \r\b"
LENGTHS = (0, 1, 127, 128, 255, 65_535, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63 - 1, 2**64 - 1)


_calm = False

@contextlib.contextmanager
def unchanged():
    "Within it nothing is done to an input: whatever reads it must accept it, else the fuzz refuses what is whole."
    global _calm
    _calm = True
    try: yield
    finally: _calm = False

def is_calm(): return _calm


class Raw(str):
    "Text that stands in a JSON file as it is, whatever it is."


class Pairs(list):
    "An object as (key, value) pairs, of which some may have the same key."


def dump(value, ascii=True):
    "JSON text of a tree that may have `Raw` and `Pairs` in it."
    if isinstance(value, Raw): return str(value)
    if isinstance(value, dict): value = Pairs(value.items())
    if isinstance(value, Pairs):
        return "{" + ",".join(f"{json.dumps(str(key), ensure_ascii=ascii)}:{dump(v, ascii)}" for key, v in value) + "}"
    if isinstance(value, (list, tuple)): return "[" + ",".join(dump(v, ascii) for v in value) + "]"
    return json.dumps(value, ensure_ascii=ascii)


def parse(content, errors="strict"):
    "Content of a JSON file, and whether it is JSON at all."
    try: return json.loads(content.decode("utf-8-sig", errors)), True
    except (ValueError, RecursionError): return None, False


# --- bytes

def _flip(rng, content):
    at = rng.randrange(len(content))
    return f"bit flipped at {at}", content[:at] + bytes([content[at] ^ 1 << rng.randrange(8)]) + content[at + 1:]

def _set(rng, content):
    at, value = rng.randrange(len(content)), rng.choice((0, 255, 127, 34, 44, 10, rng.randrange(256)))
    return f"byte {value} at {at}", content[:at] + bytes([value]) + content[at + 1:]

def _cut(rng, content):
    at = rng.randrange(len(content))
    return f"cut after {at} of {len(content)}", content[:at]

def _leave_out(rng, content):
    at, size = rng.randrange(len(content)), rng.randint(1, max(1, len(content)//8))
    return f"{size} bytes left out at {at}", content[:at] + content[at + size:]

def _insert(rng, content):
    at, more = rng.randrange(len(content) + 1), rng.randbytes(rng.randint(1, 64))
    return f"{len(more)} bytes put in at {at}", content[:at] + more + content[at:]

def _repeat(rng, content):
    at, size, times = rng.randrange(len(content)), rng.randint(1, 256), rng.randint(1, 50)
    return f"{size} bytes at {at} repeated {times} times", content[:at] + content[at:at + size]*times + content[at:]

def _swap(rng, content):
    a, b, c = sorted(rng.randrange(len(content) + 1) for _ in range(3))
    return f"blocks {a}–{b}–{c} swapped", content[:a] + content[b:c] + content[a:b] + content[c:]

def _fill(rng, content):
    at, size, value = rng.randrange(len(content)), rng.randint(1, 512), rng.choice((0, 255))
    block = content[at:at + size]
    return f"{len(block)} bytes at {at} made {value}", content[:at] + bytes([value])*len(block) + content[at + size:]

def _length(rng, content):
    form, value = rng.choice("<>") + rng.choice("BHIQ"), rng.choice(LENGTHS)
    size = struct.calcsize(form)
    at = rng.randrange(max(1, min(len(content), rng.choice((64, 512, len(content)))) - size))
    block = struct.pack(form, value % 2**(8*size))
    return f"number {value} as {form} at {at}", content[:at] + block + content[at + size:]

_SAME_SIZE = (_flip, _flip, _set, _swap, _fill, _length)
_OF_BYTES = (*_SAME_SIZE, _length, _cut, _leave_out, _insert, _repeat)

def change_bytes(rng, content, others=(), same_size=False):
    "Damage bytes, once or several times; `others`: contents that pieces may come from. What was done, and the bytes."
    told, new = [], content
    if _calm: return "nothing", content
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        if same_size: what, new = rng.choice(_SAME_SIZE)(rng, new)
        elif others and rng.random() < .1:
            other = rng.choice(others)
            at, there = rng.randrange(len(new) + 1), rng.randrange(len(other))
            what, new = f"the rest from {at} is another's from {there}", new[:at] + other[there:]
        elif new: what, new = rng.choice(_OF_BYTES)(rng, new)
        else: what, new = "something put in", rng.randbytes(8)
        told.append(what)
    if new == content: return change_bytes(rng, content, others, same_size)
    return ", ".join(told), new


# --- JSON trees

def odd_value(rng, old=None):
    "A value that hardly belongs where it will stand."
    depth = rng.choice((500, 3_000, 100_000))
    return rng.choice((
        lambda: None, lambda: True, lambda: False, lambda: 0, lambda: -1, lambda: 1.5, lambda: "", lambda: [],
        lambda: {},
        lambda: rng.choice((2**31, 2**53 + 1, 2**63, 2**64, 10**30, -2**63)),
        lambda: Raw(rng.choice(("NaN", "Infinity", "-Infinity", "1e400", "-1e400", "1e-400", "1e300"))),
        lambda: Raw("9"*5_000), lambda: Raw("["*depth + "]"*depth), lambda: Raw('{"a":'*depth + "1" + "}"*depth),
        lambda: "x"*rng.choice((1_000, 100_000)), lambda: CONTROL, lambda: "\ud800", lambda: "a\0b",
        lambda: "../../../../etc/passwd",
        lambda: "/dev/zero", lambda: "/etc/passwd", lambda: "http://127.0.0.1:9/x.png",
        lambda: "<img src=x onerror=alert(1)>", lambda: [old], lambda: {"a": old}, lambda: [[], {}], lambda: str(old),
        lambda: -old if type(old) in (int, float) else [old, old], lambda: float(old) if type(old) is int else 0.5,
        lambda: old[:-1] if isinstance(old, (str, list)) else [None],
        lambda: old*2 if isinstance(old, (str, list)) else 7))()

def _nodes(tree):
    "All (container, key) of a tree."
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [(tree, key) for key, _ in items]

def _choose(rng, tree):
    "A place in a tree, as likely near the root as deep in it; None for the root."
    found, here = None, tree
    while (inside := _nodes(here)) and (found is None or rng.random() < .7):
        found = rng.choice(inside)
        here = found[0][found[1]]
    return found

def _deep_copy(tree):
    if isinstance(tree, dict): return {k: _deep_copy(v) for k, v in tree.items()}
    return [_deep_copy(v) for v in tree] if isinstance(tree, (list, tuple)) else tree

def _change_place(rng, tree, place):
    "Change a tree at one place; what was done, and the tree."
    container, key = place
    old, kind = container[key], rng.random()
    if kind < .6:
        container[key] = odd_value(rng, old)
        return f"{key!r} made {dump(container[key])[:60]}", tree
    if kind < .7:
        del container[key]
        return f"{key!r} left out", tree
    if kind < .8: return _more(rng, tree, container, key)
    others = _nodes(container)
    other = rng.choice(others)[1]
    container[key], container[other] = container[other], container[key]
    return f"{key!r} and {other!r} swapped", tree

def _more(rng, tree, container, key):
    if isinstance(container, list):
        container.insert(rng.randrange(len(container) + 1), _deep_copy(container[key]))
        return f"entry {key} twice", tree
    if rng.random() < .5:
        container[rng.choice(("x", "", "__class__", CONTROL, "k"*1_000, str(key).upper()))] = odd_value(rng,
                container[key])
        return "a key too many", tree
    if container is tree:
        return f"key {key!r} twice", Pairs([*tree.items(), (key, odd_value(rng, tree[key]))])
    container[key] = Raw(f"{dump(container[key])},{json.dumps(str(key))}:{dump(odd_value(rng, container[key]))}")
    return f"key {key!r} twice", tree

def change_tree(rng, tree):
    "Damage a JSON tree at one place or two. What was done, and the bytes of the file."
    before, told = dump(tree), []
    if _calm: return "nothing", before.encode("utf-8", "surrogatepass")
    new = _deep_copy(tree)
    for _ in range(rng.choice((1, 1, 1, 2))):
        place = _choose(rng, new) if isinstance(new, (dict, list)) and not isinstance(new, Pairs) else None
        if place is None or rng.random() < .03:
            what, new = "all of it another value", odd_value(rng, new if not told else None)
        else: what, new = _change_place(rng, new, place)
        told.append(what)
    if dump(new) == before: return change_tree(rng, tree)
    text = dump(new, ascii=rng.random() < .7)
    return ", ".join(told), text.encode("utf-8", "surrogatepass")

def change_json(rng, tree, others=()):
    "Damage a JSON file: two times of three its tree, else its bytes."
    if rng.random() < .67: return change_tree(rng, tree)
    return change_bytes(rng, dump(tree).encode("utf-8", "surrogatepass"), others)


# --- lines

def change_lines(rng, lines, trees=True):
    "Damage a file of lines, each with a JSON object (else `trees` is false). What was done, and its bytes."
    content = b"".join(line + b"\n" for line in lines)
    if _calm: return "nothing", content
    kind = rng.random()
    if kind < .25: return change_bytes(rng, content)
    new, at = list(lines), rng.randrange(len(lines))
    if kind < .65 and trees:
        what, new[at] = change_tree(rng, json.loads(new[at]))
        what = f"line {at + 1}: {what}"
    else: what = _change_order(rng, new, at)
    changed = b"".join(line + b"\n" for line in new)
    return (what, changed) if changed != content else change_lines(rng, lines, trees)

def _change_order(rng, lines, at):
    kind, other = rng.randrange(6), rng.randrange(len(lines))
    if kind == 0: del lines[at]
    elif kind == 1: lines.insert(other, lines[at])
    elif kind == 2: lines[at], lines[other] = lines[other], lines[at]
    elif kind == 3:
        lines.insert(at, rng.choice((b"1", b"[]", b"null", b"{}", b'"x"', b'{"a":1}', b"", b" ", b"\xff", b"#", b"\r")))
    elif kind == 4: lines[at] = lines[at][:rng.randrange(len(lines[at]) or 1)]
    else: lines[at] = lines[at] + lines[other]
    return f"lines: {('left out', 'twice', 'swapped', 'one put in', 'one cut', 'two joined')[kind]} at {at + 1}"

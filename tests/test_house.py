"""The house's two rules, read from the source with `ast`.

A notebook folder's number is its package's floor: a file imports from its own package without circles, or from packages
with a lower number. And no name that begins with `_` is imported by another file.
"""
import ast
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT/"beit3_colab"
DOORS = {"attention", "attention_view", "images", "place", "plots", "tables", "text"} # of one or two lines, for old notebooks: test_doors.py
ABOVE_ALL = 99 # the package's own `__init__`, `python -m` and the doors stand above all floors


def module_name(path, root=PACKAGE):
    "The dotted name of a file below the package, such as `data.vqav2`; `` for the package itself."
    return ".".join(path.relative_to(root).with_suffix("").parts).removesuffix("__init__").removesuffix(".")

def read_modules(root=PACKAGE):
    "Dotted name → (syntax tree, whether it is a package)."
    files = [p for p in root.rglob("*.py") if p.name != "_modidx.py"]
    return {module_name(p, root): (ast.parse(p.read_text(encoding="utf-8")), p.name == "__init__.py") for p in files}

def read_floors(nbs=ROOT/"nbs"):
    "Dotted name of a module → number of the folder that its notebook lies in."
    floors = {}
    for path in nbs.glob("[0-9]*/*.ipynb"):
        source = "\n".join("".join(cell["source"]) for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code")
        if exported := re.search(r"#\|\s*default_exp\s+(\S+)", source):
            floors[exported[1].removesuffix("__init__").removesuffix(".")] = int(re.match(r"\d+", path.parent.name)[0])
    return floors

def imports(modules):
    "(importing module, imported module, imported name or None), also of imports inside functions."
    for module, (tree, is_package) in modules.items():
        parts = module.split(".") if module else []
        here = parts if is_package else parts[:-1]
        for node in ast.walk(tree):
            if isinstance(node, ast.Import): targets = [(a.name, None) for a in node.names]
            elif isinstance(node, ast.ImportFrom):
                base = node.module or ""
                if node.level: base = ".".join(["beit3_colab", *here[:len(here) - node.level + 1], *filter(None, [base])])
                targets = [(base, a.name) for a in node.names]
            else: continue
            for target, name in targets:
                if target.split(".")[0] != "beit3_colab": continue
                target = target.removeprefix("beit3_colab").removeprefix(".")
                inner = f"{target}.{name}" if target else name
                if name and inner in modules: yield module, inner, None # from package import module
                elif target in modules: yield module, target, name

def circles(edges):
    "Sets of modules that import each other, by whatever way round."
    after = {}
    for a, b in edges: after.setdefault(a, set()).add(b)
    def reached(start):
        seen, todo = set(), [start]
        while todo:
            for b in after.get(todo.pop(), ()):
                if b not in seen: seen.add(b); todo.append(b)
        return seen
    reach = {a: reached(a) for a in after}
    return [{a, *(b for b in reach[a] if a in reach.get(b, ()))} for a in after if a in reach[a]]

def faults(modules, floors):
    "What breaks the rules, in words."
    found, edges = [], set()
    floor_of = {package: number for module, number in floors.items() if "." in module for package in [module.split(".")[0]]}
    def floor(module):
        if module == "" or module == "__main__" or module in DOORS: return ABOVE_ALL
        return floors.get(module, floor_of.get(module.split(".")[0]))
    for module, target, name in imports(modules):
        if name and name.startswith("_") and not name.startswith("__"): found.append(f"{module} takes {name} from {target}")
        if module == target or target == "": continue # `import beit3_colab` for its version
        edges.add((module, target))
        if floor(module) is None: found.append(f"{module} has no notebook in a numbered folder")
        elif floor(target) is None or floor(target) > floor(module): found.append(f"{module} (floor {floor(module)}) imports {target} (floor {floor(target)})")
        elif floor(target) == floor(module) and module.split(".")[0] != target.split(".")[0] and floor(module) != ABOVE_ALL:
            if "." in module and "." in target: found.append(f"{module} imports {target}: two packages on one floor")
    return found + [f"circle: {sorted(circle)}" for circle in circles(edges)]


def test_every_import_goes_down_or_stays_in_its_package():
    modules, floors = read_modules(), read_floors()
    assert len(modules) > 60 and len(floors) > 60 # it has looked
    assert faults(modules, floors) == []

def test_every_module_comes_from_a_notebook_or_is_a_door():
    modules, floors = read_modules(), read_floors()
    packages = {m.split(".")[0] for m in floors if "." in m}
    assert set(modules) - set(floors) - packages == DOORS | {"", "__main__"}

def test_a_package_has_the_floor_of_one_folder():
    places = {}
    for module, number in read_floors().items():
        if "." in module: places.setdefault(module.split(".")[0], set()).add(number)
    assert not {package: found for package, found in places.items() if len(found) > 1}

def twice(tree):
    "Names that a module gives to two things: the second takes the first one's place in what was written before it."
    def names(node):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)): return [node.name]
        targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        return [n.id for target in targets for n in ast.walk(target) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
    given = [name for node in tree.body for name in names(node)]
    return sorted({name for name in given if given.count(name) > 1} - {"_"})

def test_no_name_of_a_module_is_given_twice():
    assert not {name: found for name, (tree, _) in read_modules().items() if (found := twice(tree))}
    assert twice(ast.parse("A, b = 1, 2\ndef f(): A = 3\nA: set = {4}\nclass f: pass\n_ = 1\n_ = 2")) == ["A", "f"] # it can fail

def test_notebooks_are_numbered_from_one_and_numbers_are_cited_nowhere():
    folders = [p for p in (ROOT/"nbs").iterdir() if re.match(r"\d", p.name)]
    for folder in folders:
        numbers = sorted(int(p.name[:2]) for p in folder.glob("*.ipynb"))
        assert numbers == list(range(1, len(numbers) + 1)), folder.name
    stems = [p.stem for folder in folders for p in folder.glob("*.ipynb")] + [f.name for f in folders]
    cited = re.compile(r"`\d\d[a-z]?_\w+`|(?<![\w/])(?:" + "|".join(map(re.escape, stems)) + r")(?![\w])")
    texts = {p: p.read_text(encoding="utf-8") for p in [*PACKAGE.rglob("*.py"), *(ROOT/"tests").glob("*.py"), *(ROOT/"benchmarks").glob("*.py"), *(ROOT/"scripts").glob("*.py")] if p.name != "_modidx.py"}
    for path in (ROOT/"nbs").rglob("*.ipynb"):
        texts[path] = "\n".join("".join(cell["source"]) for cell in json.loads(path.read_text())["cells"])
    where = {str(p.relative_to(ROOT)): m[0] for p, text in texts.items()
             if (m := cited.search(re.sub(r"^# (%%|AUTOGENERATED).*$", "", text, flags=re.M)))}
    assert not where


@pytest.mark.parametrize("files, says", [
    ({"low.a": "from beit3_colab.high.b import f"}, "low.a (floor 1) imports high.b (floor 2)"),
    ({"low.a": "def f():\n    from beit3_colab.high.b import f"}, "low.a (floor 1) imports high.b (floor 2)"), # lazily is no way out
    ({"high.b": "from ..low.a import _x"}, "high.b takes _x from low.a"),
    ({"high.b": "from .c import f", "high.c": "from . import b"}, "circle: ['high.b', 'high.c']"),
    ({"low.a": "import beit3_colab.high.b"}, "low.a (floor 1) imports high.b (floor 2)"),
])
def test_the_rules_find_what_breaks_them(files, says):
    "The check can fail: forged houses with one fault each."
    sources = {"": "", "low": "", "high": "", "low.a": "", "high.b": "", "high.c": ""} | files
    modules = {name: (ast.parse(text), name in ("", "low", "high")) for name, text in sources.items()}
    floors = {"low.a": 1, "high.b": 2, "high.c": 2}
    assert says in faults(modules, floors)
    assert not faults({name: (ast.parse(""), package) for name, (_, package) in modules.items()}, floors)

def test_the_slow_files_that_go_first_are_there():
    from conftest import SLOW
    assert len(set(SLOW)) == len(SLOW) and not [name for name in SLOW if not (ROOT/"tests"/f"test_{name}.py").exists()]

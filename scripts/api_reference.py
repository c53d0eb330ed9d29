"""The public API in Markdown, read from the source with `ast`: nothing is imported, so it is the same on every machine.

A parameter is described by the comment behind it, a result by the comment behind the signature (docments). Pages follow
the folders of `beit3_colab`: one for each package, one for the modules beside them, and an index that opens with what
`beit3_colab` itself offers.
"""
from __future__ import annotations
import ast
import io
import re
import tokenize
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
FACE = "What you import"
CONTENTS = 6 # line of a page where its contents go: below its heading, what it knows, and the way back


# The source ----------------------------------------------------------------------------------------------------------

@dataclass(frozen=True)
class Source:
    "One module: its text, its tree, and the comments that a tree has not."
    name: str    # dotted, below the library: "machine.files"; "" for the library itself
    path: Path   # of the file

    @cached_property
    def text(self) -> str: return self.path.read_text(encoding="utf-8")
    @cached_property
    def tree(self) -> ast.Module: return ast.parse(self.text)
    @cached_property
    def rows(self) -> list[bytes]: return [row.encode() for row in self.text.split("\n")] # `ast` counts in bytes
    @property
    def is_package(self) -> bool: return self.path.name == "__init__.py"
    @property
    def page(self) -> str: # packages have pages of their own; the modules beside them share one
        return self.name.split(".")[0] if self.is_package or "." in self.name else "beit3_colab"

    @cached_property
    def notebook(self) -> str|None: # from which nbdev exported it, such as "nbs/01_machine/02_files.ipynb"
        found = re.search(r"File to edit: (?:\.\./)+(\S+\.ipynb)", self.text)
        return found and found[1]

    @cached_property
    def tokens(self) -> list[tokenize.TokenInfo]:
        return list(tokenize.generate_tokens(io.StringIO(self.text).readline))
    @cached_property
    def comments(self) -> dict[int, str]: # line → comment at its end
        found = [token for token in self.tokens if token.type == tokenize.COMMENT]
        return {token.start[0]: token.string.lstrip("#").strip() for token in found}

    @cached_property
    def colons(self) -> dict[int, int]: # line of each `def` → line where its signature ends
        found, begun, depth = {}, None, 0
        for token in self.tokens:
            if token.type == tokenize.NAME and token.string == "def": begun, depth = token.start[0], 0
            elif token.type != tokenize.OP or begun is None: continue
            elif token.string in "([{": depth += 1
            elif token.string in ")]}": depth -= 1
            elif token.string == ":" and depth == 0: found[begun], begun = token.start[0], None
        return found

    def code(self, node: ast.AST|None) -> str: # as it is written, on one line; "" for no node
        if node is None: return ""
        first, last = node.lineno - 1, node.end_lineno - 1
        if first == last: return self.rows[first][node.col_offset:node.end_col_offset].decode()
        rows = [self.rows[first][node.col_offset:], *self.rows[first + 1:last], self.rows[last][:node.end_col_offset]]
        return " ".join(re.sub(r"\s+#.*", "", row.decode()).strip() for row in rows) # a comment would hide the rest

    @cached_property
    def definitions(self) -> dict[str, ast.AST]: # name → function, class or assignment, in the order of the file
        found = {}
        for node in _statements(self.tree.body):
            if isinstance(node, (*FUNCTIONS, ast.ClassDef)): found[node.name] = node
            for target in _targets(node): found[target.id] = node
        return found

    @cached_property
    def imports(self) -> dict[str, tuple[str, str]]: # name here → module below the library, name there
        found = {} # "from x import *" stands under "*x"
        for node in _statements(self.tree.body):
            if isinstance(node, ast.ImportFrom) and (home := self._home(node)) is not None:
                found |= {f"*{home}" if a.name == "*" else a.asname or a.name: (home, a.name) for a in node.names}
        return found

    def _home(self, node: ast.ImportFrom) -> str|None: # None for another library's module
        if not node.level:
            library, _, rest = (node.module or "").partition(".")
            return rest if library == "beit3_colab" else None
        parts = self.name.split(".") if self.name else []
        parts = parts[:len(parts) - node.level + self.is_package]
        return ".".join([*parts, *([node.module] if node.module else [])])

    @cached_property
    def public(self) -> list[str]: # `__all__`, or what is defined here without a leading "_"
        if listed := self.definitions.get("__all__"): return list(ast.literal_eval(listed.value))
        return [name for name in self.definitions if not name.startswith("_")]

def _statements(body):
    "The statements of a module, those below `if` and `try` included."
    for node in body:
        yield node
        if isinstance(node, ast.If): yield from _statements([*node.body, *node.orelse])
        if isinstance(node, ast.Try):
            handlers = [inner for handler in node.handlers for inner in handler.body]
            yield from _statements([*node.body, *handlers, *node.orelse, *node.finalbody])

def _targets(node) -> list[ast.Name]:
    "The names that an assignment gives."
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    each = [name for target in targets for name in (target.elts if isinstance(target, ast.Tuple) else [target])]
    return [name for name in each if isinstance(name, ast.Name)]


@dataclass(frozen=True)
class Library:
    "All modules below a folder."
    folder: Path # of the package

    @cached_property
    def sources(self) -> dict[str, Source]: # dotted name → module, in the order of their notebooks
        found = []
        for path in self.folder.rglob("*.py"):
            parts = path.relative_to(self.folder).with_suffix("").parts
            parts = parts[:-1] if parts[-1] == "__init__" else parts
            if not any(part.startswith("_") for part in parts): found.append(Source(".".join(parts), path))
        return {s.name: s for s in sorted(found, key=lambda s: (s.notebook is None, s.notebook or "", s.name))}

    def find(self, module: str, name: str) -> tuple[Source, ast.AST]|None: # where a name is defined, through imports
        source = self.sources.get(module)
        if source is None: return None
        if name in source.definitions: return source, source.definitions[name]
        if name in source.imports: return self.find(*source.imports[name])
        stars = [home for key, (home, _) in source.imports.items() if key.startswith("*")]
        return next((found for home in stars if (found := self.find(home, name))), None)

    @cached_property
    def face(self) -> dict[str, tuple[Source, ast.AST]]: # what `beit3_colab` offers → where it is defined
        homes = ast.literal_eval(self.sources[""].definitions["_HOMES"].value)
        found = {name: self.find(home, name) for name, home in homes.items()}
        if lost := [name for name, place in found.items() if place is None]: raise ValueError(f"not found: {lost}")
        return found

    def classes(self, source: Source, node: ast.AST|None) -> list[tuple[Source, ast.ClassDef]]: # named in an annotation
        found = [self.find(source.name, name) for name in re.findall(r"\w+", source.code(node))]
        classes = [(home, node) for home, node in filter(None, found) if isinstance(node, ast.ClassDef)]
        return [(home, node) for home, node in classes if node.name in home.public]

    def bases(self, source: Source, node: ast.ClassDef) -> list[tuple[Source, ast.ClassDef]]: # nearest first; ours only
        found = []
        for base in node.bases:
            for place in self.classes(source, base): found += [place, *self.bases(*place)]
        return found

    @cached_property
    def results(self) -> list[tuple[Source, ast.ClassDef]]: # what the face's functions give, and what that gives
        found = []
        for source, node in self.face.values():
            if isinstance(node, FUNCTIONS): found += self.classes(source, node.returns)
        found += [(s, c) for s in self.sources.values() for c in s.definitions.values() if isinstance(c, ast.ClassDef)
                  and any(base in found for base in self.bases(s, c))]
        for place in list(dict.fromkeys(found)):
            for source, node in (place, *self.bases(*place)):
                for member in node.body:
                    if isinstance(member, FUNCTIONS) and not member.name.startswith("_"):
                        found += [(s, c) for s, c in self.classes(source, member.returns) if is_value(s, c)]
        return [place for place in dict.fromkeys(found) if place[1].name not in self.face]


# Markdown ------------------------------------------------------------------------------------------------------------

def slug(heading: str) -> str:
    "The address that GitHub gives a heading."
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")

def prose(text: str) -> str:
    "Text that says in Markdown what it says in Python: outside `code`, signs of Markdown and HTML are escaped."
    parts = re.split(r"(`[^`]+`)", text)
    parts[::2] = [re.sub(r"[\\<*$~]|(?<!\w)_|_(?!\w)", r"\\\g<0>", part) for part in parts[::2]]
    return "".join(parts)

def code(text: str) -> str:
    "An inline piece of code; nothing for nothing."
    return f"`{text}`" if text and "`" not in text else f"`` {text} ``" if text else ""

def kind(annotation: str) -> str:
    "A type as code: `str or None`, since the sign between them would end a cell of a table."
    return code(re.sub(r"\s*\|\s*", " or ", annotation))

def table(head: list[str], rows: list[list[str]]) -> list[str]:
    "A table without the columns in which nothing stands."
    kept = [i for i in range(len(head)) if any(row[i] for row in rows)]
    if len(kept) < 2: return []
    lines = [[head[i] for i in kept], ["---"]*len(kept), *([row[i].replace("|", "\\|") for i in kept] for row in rows)]
    return [*(f"| {' | '.join(line)} |" for line in lines), ""]


@dataclass
class Page:
    "Markdown that grows, and the addresses of its headings."
    path: str                                   # below docs/
    lines: list[str] = field(default_factory=list)
    used: dict[str, int] = field(default_factory=dict)

    def add(self, *lines: str): self.lines += lines

    def heading(self, level: int, text: str) -> str: # its address
        address = slug(text)
        count = self.used[address] = self.used.get(address, -1) + 1
        self.add(f"{'#'*level} {text}", "")
        return f"{self.path}#{address}" + (f"-{count}" if count else "")

    def text(self) -> str: return re.sub(r"\n{3,}", "\n\n", "\n".join(self.lines).strip()) + "\n"


# What is written of a function, a class, a constant ------------------------------------------------------------------

@dataclass(frozen=True)
class Parameter:
    "One parameter of a function, or one field of a class."
    name: str        # with its stars
    annotation: str  # "" where there is none
    default: str     # likewise
    comment: str     # likewise

    def __str__(self): return f"{self.name}={self.default}" if self.default else self.name

def parameters(source: Source, node: ast.AST, bound: bool = False) -> list[Parameter]:
    "The parameters of a function, or of a method without its first (`bound`)."
    given, last = node.args, source.colons[node.lineno]
    plain = [*given.posonlyargs, *given.args]
    defaults = [None]*(len(plain) - len(given.defaults)) + given.defaults
    rows = [("", argument, default) for argument, default in zip(plain, defaults)][bound:]
    if given.vararg: rows.append(("*", given.vararg, None))
    rows += [("", argument, default) for argument, default in zip(given.kwonlyargs, given.kw_defaults)]
    if given.kwarg: rows.append(("**", given.kwarg, None))
    found = []
    for stars, argument, default in rows:
        line = (default or argument).end_lineno
        comment = source.comments.get(line, "") if line < last else "" # on the last line it is about the result
        found.append(Parameter(stars + argument.arg, source.code(argument.annotation), source.code(default), comment))
    return found

PLANS = dict(Plan="run.plan", FinetunePlan="training.plan") # class → its module

def plan_of(source: Source, node: ast.AST) -> str:
    "The plan that a function takes, by its decorator `takes_a_plan`; \"\" for another function."
    mark = next((text for d in node.decorator_list if "takes_a_plan" in (text := source.code(d))), None)
    if mark is None: return ""
    return next((name for name in PLANS if f"kind={name}" in mark), "Plan")

def plan_fields(library: Library, plan: str) -> list[Parameter]:
    "The parameters of a function that takes a plan: its fields, with defaults and help; some are as in another plan."
    found = class_fields(*library.find(PLANS[plan], plan))
    if all(p.comment for p in found): return found
    others = {p.name: p for p in plan_fields(library, "Plan")}
    return [p if p.comment else others[p.name] for p in found]

def is_value(source: Source, node: ast.ClassDef) -> bool:
    "Whether a class is a dataclass or a named tuple: something to read from."
    return "dataclass" in decorators(source, node) or any(source.code(base) == "NamedTuple" for base in node.bases)

def signature(name: str, given: list[Parameter], width: int = 100) -> list[str]:
    "A call with names and defaults, in lines of some width."
    line = f"{name}({', '.join(map(str, given))})"
    if len(line) <= width: return ["```python", line, "```", ""]
    lines = [f"{name}("]
    for parameter in given:
        longer = f"{lines[-1]} {parameter},"
        if len(lines) > 1 and len(longer) <= width: lines[-1] = longer
        else: lines.append(f"    {parameter},")
    return ["```python", *lines, ")", "```", ""]

def parameter_table(given: list[Parameter]) -> list[str]:
    "Name, type and comment of each; nothing where no more than the names is known."
    rows = [[code(p.name), kind(p.annotation), prose(p.comment)] for p in given]
    return table(["parameter", "type", "what it is"], rows)

def decorators(source: Source, node: ast.AST) -> set[str]:
    "Their last names: {'property'}, {'contextmanager'}, …"
    return {re.match(r"[\w.]*", source.code(d))[0].split(".")[-1] for d in node.decorator_list}

def result(source: Source, node: ast.AST) -> tuple[str, str]:
    "What a function gives: its type and the comment about it."
    return source.code(node.returns).strip("\"'"), source.comments.get(source.colons[node.lineno], "")

def write_function(
    page: Page, library: Library, place: tuple[Source, ast.AST], name: str, level: int, bound: bool = False,
) -> str:
    "A heading, the call, what it does, its parameters and its result; the address of the heading."
    source, node = place
    address, marks = page.heading(level, code(name)), decorators(source, node)
    if plan := plan_of(source, node): given = plan_fields(library, plan)
    else: given = parameters(source, node, bound and "staticmethod" not in marks)
    page.add(*signature(node.name if bound and not marks & {"staticmethod", "classmethod"} else name, given))
    if isinstance(node, ast.AsyncFunctionDef): page.add("To be awaited.", "")
    if marks & {"contextmanager", "asynccontextmanager"}: page.add("For a `with` block.", "")
    page.add(prose(ast.get_docstring(node) or ""), "")
    page.add(*parameter_table(given))
    annotation, comment = result(source, node)
    if annotation != "None" and (annotation or comment):
        page.add("Returns " + ": ".join(filter(None, [kind(annotation), prose(comment)])), "")
    return address

def class_fields(source: Source, node: ast.ClassDef) -> list[Parameter]:
    "The fields of a dataclass or a named tuple, and annotated attributes of others."
    parts = [p for p in node.body if isinstance(p, ast.AnnAssign) and isinstance(p.target, ast.Name)]
    return [class_field(source, p) for p in parts if not p.target.id.startswith("_")]

def class_field(source: Source, part: ast.AnnAssign) -> Parameter:
    "One field; where `option(default, help)` makes it, its default and its help."
    name, annotation, value = part.target.id, source.code(part.annotation), part.value
    if isinstance(value, ast.Call) and source.code(value.func) == "option":
        return Parameter(name, annotation, source.code(value.args[0]), ast.literal_eval(value.args[1]))
    return Parameter(name, annotation, source.code(value), source.comments.get(part.end_lineno, ""))

def methods(chain: list[tuple[Source, ast.ClassDef]]) -> dict[str, tuple[Source, ast.AST]]:
    "Name → method of a class and of those that it inherits from, the nearest first."
    found = {}
    for source, owner in chain:
        for part in owner.body:
            if isinstance(part, FUNCTIONS) and "setter" not in decorators(source, part):
                found.setdefault(part.name, (source, part))
    return found

def write_class(page: Page, library: Library, place: tuple[Source, ast.ClassDef], level: int, whole=False) -> str:
    "A class with its fields, properties and methods; `whole` also those that it inherits. The address of its heading."
    source, node = place
    address = page.heading(level, code(node.name))
    chain = [place, *(library.bases(source, node) if whole else [])]
    members = methods(chain)
    given = parameters(*members["__init__"], bound=True) if "__init__" in members else []
    if "__init__" in members: page.add(*signature(node.name, given))
    if node.bases: page.add(f"A kind of {', '.join(code(source.code(base)) for base in node.bases)}.", "")
    page.add(prose(ast.get_docstring(node) or ""), "", *parameter_table(given))
    fields = {p.name: p for s, c in reversed(chain) for p in class_fields(s, c)}.values()
    rows = [[code(p.name), kind(p.annotation), code(p.default), prose(p.comment)] for p in fields]
    page.add(*table(["field", "type", "default", "what it is"], rows))
    write_members(page, library, node.name, members, level + 1)
    return address

def write_members(page: Page, library: Library, owner: str, members: dict[str, tuple[Source, ast.AST]], level: int):
    "Properties in a table, then each method."
    shown = {name: place for name, place in members.items() if not name.startswith("_") or name == "__call__"}
    values = [name for name, place in shown.items() if decorators(*place) & {"property", "cached_property"}]
    page.add(*table(["property", "type", "what it is"], [property_row(*shown[name]) for name in values]))
    for name, place in shown.items():
        if name not in values: write_function(page, library, place, f"{owner}.{name}", level, bound=True)

def property_row(source: Source, node: ast.AST) -> list[str]:
    "Name, type and description of a property."
    annotation, comment = result(source, node)
    text = " ".join((ast.get_docstring(node) or "").split())
    text = f"{text.rstrip('.')}; {comment}" if text and comment else text or comment
    return [code(node.name), kind(annotation), prose(text)]

def constant_row(source: Source, node: ast.AST, name: str, longest: int = 60) -> list[str]:
    "Name, value and comment of a constant; a long value is left to the source."
    value = node.value
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Tuple) and isinstance(value, ast.Tuple):
        value = value.elts[[t.id for t in node.targets[0].elts].index(name)]
    text = source.code(value)
    return [code(name), code(text) if len(text) <= longest else "", prose(source.comments.get(node.end_lineno, ""))]


# Pages ---------------------------------------------------------------------------------------------------------------

@dataclass
class Reference:
    "All pages, as they are written: modules first, then the index, which leads to them."
    library: Library
    pages: dict[str, Page] = field(default_factory=dict)              # of modules, by name
    found: dict[str, dict[str, str]] = field(default_factory=dict)    # module → name → address; "" is the module's own

    def write(self) -> dict[str, str]: # path below docs/ → Markdown
        "Write every page."
        sources = [s for s in self.library.sources.values() if s.name and not is_bare(s)]
        spots = [self.write_module(self.open_page(source), source) for source in sources]
        for source, spot in zip(sources, spots): self.write_borrowed(source, spot) # all addresses are known by now
        for name, page in self.pages.items(): page.lines[CONTENTS:CONTENTS] = self.contents(name)
        index = Page("reference.md")
        index.heading(1, "Reference")
        index.add(f"[{FACE}](#{slug(FACE)}) comes first, in full; [all modules](#inside) after it. "
                  "`help(name)` says the same in Python.", "")
        self.write_face(index)
        self.write_index(index)
        return {page.path: page.text() for page in (index, *self.pages.values())}

    def open_page(self, source: Source) -> Page: # begun, if it is the first time
        "The page that a module stands on."
        if source.page not in self.pages:
            self.pages[source.page] = page = Page(f"reference/{source.page}.md")
            page.heading(1, code(source.page))
            page.add(self.summary(source.page), "", "[All modules](../reference.md#inside)", "") # then its contents
        return self.pages[source.page]

    def summary(self, page: str) -> str: # "" for the modules beside the packages
        "What a package knows, as CONTRIBUTING.md says it."
        known = (self.library.folder.parent/"CONTRIBUTING.md").read_text(encoding="utf-8")
        found = re.search(rf"^\| \d+ \| `{page}` \| (.*) \|$", known, re.M)
        return f"Knows {found[1].rstrip('.')}." if found else ""

    def on_page(self, page: str) -> list[Source]: # the modules that are written there, in their order
        return [source for source in map(self.library.sources.get, self.found) if source.page == page]

    def contents(self, page: str) -> list[str]:
        "The modules of a page, each with a link and what it knows."
        rows = [self.index_row(source)[:2] for source in self.on_page(page)]
        rows = [[link.replace(f"(reference/{page}.md#", "(#"), text] for link, text in rows]
        return table(["on this page", "what it knows"], rows)

    def write_module(self, page: Page, source: Source) -> int: # where its borrowed names belong in the page's lines
        "A module: what it knows, its constants, functions and classes."
        found = self.found[source.name] = {"": page.heading(2, code(source.name))}
        page.add(prose(ast.get_docstring(source.tree) or ""), "", places(self.library, source), "", "", "")
        spot = len(page.lines) - 2
        kinds = ast.Assign, ast.AnnAssign
        constants = [name for name in source.public if isinstance(source.definitions.get(name), kinds)]
        rows = [constant_row(source, source.definitions[name], name) for name in constants]
        bare = [f"Constants: {', '.join(map(code, constants))}."] if constants else []
        page.add(*(table(["constant", "value", "what it is"], rows) or bare), "")
        found |= {name: found[""] for name in constants}
        for name in source.public:
            node = source.definitions.get(name)
            if isinstance(node, FUNCTIONS): found[name] = write_function(page, self.library, (source, node), name, 3)
            if isinstance(node, ast.ClassDef): found[name] = write_class(page, self.library, (source, node), 3)
        return spot

    def write_borrowed(self, source: Source, spot: int):
        "Names that a module passes on, each with a link to where it is defined."
        found = {name: self.found[home.name][name] for name, home in passed_on(self.library, source).items()}
        links = [f"[{code(name)}](../{address})" for name, address in found.items()]
        if links: self.pages[source.page].lines[spot] = f"From elsewhere: {', '.join(links)}."
        self.found[source.name] |= found

    def write_face(self, page: Page):
        "What `beit3_colab` offers, in full, with the classes that it gives."
        page.heading(2, FACE)
        self.write_listed(page, "`from beit3_colab import …`", self.library.face.values())
        page.heading(2, "What you get")
        self.write_listed(page, "Made by the above", self.library.results)

    def write_listed(self, page: Page, title: str, items):
        "Functions and classes, each whole, below a line that links to them."
        spot, found = len(page.lines), {}
        page.add("", "")
        for place in items:
            _, node = place
            if isinstance(node, ast.ClassDef): address = write_class(page, self.library, place, 3, whole=True)
            else: address = write_function(page, self.library, place, node.name, 3)
            found[node.name] = address.removeprefix(page.path)
        page.lines[spot] = f"{title}: {', '.join(f'[{code(name)}]({address})' for name, address in found.items())}."

    def write_index(self, page: Page):
        "Every module with what it knows and its names, a table for each page."
        page.heading(2, "Inside")
        page.add("The modules, in the order in which they build on each other. Names that the README and the pages "
                 "beside this one use may be relied on; others may change.", "")
        for name in self.pages:
            page.heading(3, code(name))
            page.add(self.summary(name), "")
            page.add(*table(["module", "what it knows", "names"], list(map(self.index_row, self.on_page(name)))))

    def index_row(self, source: Source) -> list[str]:
        "Name of a module, what it knows, its names."
        links = [f"[{code(name or source.name)}]({address})" for name, address in self.found[source.name].items()]
        return [links[0], prose(first_sentence(source)), ", ".join(links[1:])]

def is_bare(source: Source) -> bool:
    "Whether a package's `__init__` offers nothing: its docstring is about the package."
    return source.is_package and not source.public and not source.imports

def first_sentence(source: Source) -> str:
    "The first paragraph of a module's docstring, on one line."
    return " ".join((ast.get_docstring(source.tree) or "").split("\n\n")[0].split())

def places(library: Library, source: Source) -> str:
    "Links to a module's notebook and to its source."
    paths = {"notebook": source.notebook, "source": f"beit3_colab/{source.path.relative_to(library.folder).as_posix()}"}
    return " · ".join(f"[{title}](../../{path})" for title, path in paths.items() if path)

def passed_on(library: Library, source: Source) -> dict[str, Source]:
    "Names that a module offers and another defines: a package's face, or a door for names that people import."
    names = [name for name in source.public if name not in source.definitions]
    for key, (home, name) in {} if source.public else source.imports.items(): # a door says nothing but where it leads
        if home in library.sources: names += library.sources[home].public if name == "*" else [key]
    places = {name: library.find(source.name, name) for name in names}
    return {name: place[0] for name, place in places.items() if place and name in place[0].public}

def reference(folder: Path) -> dict[str, str]:
    "Path below docs/ → Markdown: `reference.md`, and a page for each package in `reference/`."
    return Reference(Library(folder)).write()

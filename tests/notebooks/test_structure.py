"""The committed notebooks' anatomy and hygiene: cell tags in order, short cells, clean outputs.

Each check takes a notebook and returns what is wrong with it; the second half shows each of them failing.
"""

import ast
import copy
import itertools
import re
import statistics
from pathlib import Path

import nbformat
import pytest

from nbutils import paths, run
from nbutils.errors import InputError

NOTEBOOKS = run.find_notebooks()

# A block of cells is one experiment; these are its tags, in this order.
RANKS = {"data": 0, "formula": 1, "method": 2, "run": 3, "figure": 4, "caption": 4, "claim": 5}
ONCE = ("title", "parameters", "setup", "try-it", "takeaways")
TAGS = {*RANKS, *ONCE}
MARKDOWN_TAGS = {"title", "formula", "caption", "takeaways"}
# In statements: a long call laid out over lines is one, so that nothing is packed into a line to keep a limit.
MAX_STATEMENTS = {"setup": 20, "data": 25, "method": 15, "run": 30, "figure": 22, "claim": 15}  # other code cells: 25
MAX_LINES = {"method": 20}  # other code cells: 40, what a screen shows
SHOWS_SOMETHING = {"data", "figure", "claim", "try-it"}

MACHINE_PATH = re.compile(
    r"(?<![\w.:/-])(?:/(?:home|root|tmp|work|usr|opt|var|mnt|srv|etc|private|workspace|content|Users)/|~/|[A-Z]:\\)"
)
FORBIDDEN_NAMES = {
    "os.chdir", "sys.path", "np.random.seed", "numpy.random.seed", "random.seed", "torch.manual_seed", "plt.rcParams",
    "matplotlib.rcParams", "rcParams", "warnings.filterwarnings", "warnings.simplefilter", "filterwarnings",
    "simplefilter", "urlopen",
}  # fmt: skip
NETWORK = {"urllib", "requests", "httpx", "http", "socket", "aiohttp"}


def tag_of(cell) -> str:
    """The cell's one tag of ours, or ""."""
    tags = [tag for tag in cell.metadata.get("tags", []) if tag in TAGS]
    return tags[0] if tags else ""


def code_cells(notebook) -> list:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def named(cell) -> str:
    """How a message refers to a cell: its tag and its first line."""
    return f"{tag_of(cell) or cell.cell_type} cell `{cell.source.strip().partition(chr(10))[0][:60]}`"


def output_texts(cell) -> list[str]:
    """Everything in a cell's outputs that is text."""
    texts = []
    for output in cell.outputs:
        texts.append(output.get("text", ""))
        texts += [
            value for kind, value in output.get("data", {}).items() if isinstance(value, str) and "image" not in kind
        ]
    return texts


# ---------------------------------------------------------------------------------------------------------------------
# Anatomy


def check_tags(notebook) -> list[str]:
    """Every code cell has one tag of ours, Markdown at most one, and of the right kind."""
    problems = []
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", [])
        if [tag for tag in tags if tag not in TAGS]:
            problems.append(f"{named(cell)} has the tag {tags}; there are {', '.join(sorted(TAGS))}")
        elif len(tags) > 1 or (cell.cell_type == "code" and not tags):
            problems.append(f"{named(cell)} has {len(tags)} tags")
        elif tags and tags[0] != "data" and (cell.cell_type == "markdown") != (tags[0] in MARKDOWN_TAGS):
            problems.append(f"{named(cell)} is of type {cell.cell_type}")
    return problems


def check_order(notebook) -> list[str]:
    """title, parameters, setup; then blocks data, formula, method, run, figure, claim; takeaways; one try-it.

    More blocks may follow under the heading Appendix. A block of which no claim is made ends in its figures; the last
    one ends in a claim. Behind it there may be all verdicts once more: a claim cell and a figure, or the figure alone.
    """
    tags = [tag_of(cell) for cell in notebook.cells if tag_of(cell)]
    problems = [f"{tags.count(tag)} cells are tagged {tag}, not 1" for tag in ONCE if tags.count(tag) != 1]
    main = [tag for tag in tags if tag != "try-it"]
    if main[:3] != ["title", "parameters", "setup"]:
        problems.append(f"begins with {main[:3]}, not title, parameters, setup")
    behind = [cell for cell in itertools.dropwhile(lambda cell: tag_of(cell) != "takeaways", notebook.cells)][1:]
    if "takeaways" not in main or (behind and not behind[0].source.startswith("# Appendix")):
        problems.append("does not end with takeaways, or with an appendix below them")
    ranked = [tag for tag in main if tag in RANKS]
    if ranked[-2:] == ["claim", "figure"]:
        ranked = ranked[:-2] if ranked[-3:-2] == ["claim"] else ranked[:-1]
    block: list[str] = []
    blocks = [block]
    for tag in ranked:
        if block and RANKS[tag] < RANKS["figure"] <= RANKS[block[-1]]:
            block = []
            blocks.append(block)
        block.append(tag)
        if tag == "claim":
            block = []
            blocks.append(block)
    if blocks.pop():
        problems.append("the last block has no claim")
    if not blocks:
        problems.append("has no block that ends in a claim")
    for number, block in enumerate(blocks, start=1):
        if [RANKS[tag] for tag in block] != sorted(RANKS[tag] for tag in block):
            problems.append(f"block {number} is not in order: {', '.join(block)}")
        problems += [f"block {number} has no {tag}" for tag in ("run", "figure") if tag not in block]
    if blocks and blocks[0][0] != "data":
        problems.append("the first block does not begin with data")
    return problems


def check_neighbours(notebook) -> list[str]:
    """A method stands below its formula, and a caption, where there is one, below its figure."""
    problems = []
    for before, cell in zip([None, *notebook.cells], notebook.cells, strict=False):
        if tag_of(cell) == "method" and (before is None or before.cell_type != "markdown"):
            problems.append(f"{named(cell)} has no formula above it")
        if tag_of(cell) == "caption" and (before is None or tag_of(before) != "figure"):
            problems.append(f"{named(cell)} has no figure above it")
    return problems


def n_statements(source: str) -> int:
    """How many statements a cell has, those inside of others too, without docstrings."""
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.stmt)]
    return sum(not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)) for node in nodes)


def check_lengths(notebook) -> list[str]:
    """Cells of at most 25 statements and 40 lines, shorter by tag, and half of them at most 15 statements."""
    cells = code_cells(notebook)
    counts = [n_statements(cell.source) for cell in cells]
    problems = []
    for cell, count in zip(cells, counts, strict=True):
        lines, tag = len(cell.source.splitlines()), tag_of(cell)
        if count > MAX_STATEMENTS.get(tag, 25):
            problems.append(f"{named(cell)} has {count} statements, at most {MAX_STATEMENTS.get(tag, 25)}")
        if lines > MAX_LINES.get(tag, 40):
            problems.append(f"{named(cell)} has {lines} lines, at most {MAX_LINES.get(tag, 40)}")
    if statistics.median(counts) > 15:
        problems.append(f"half of the code cells have more than {statistics.median(counts):g} statements, at most 15")
    return problems


def check_prose(notebook) -> list[str]:
    """Title line, three to five takeaways, and none of the words that promise too much."""
    problems = []
    for cell in notebook.cells:
        if tag_of(cell) == "title" and not re.match(r"# \d\d · \S", cell.source):
            problems.append("the title is not `# NN · Title`")
        bullets = len(re.findall(r"^[-*] ", cell.source, re.MULTILINE))
        if tag_of(cell) == "takeaways" and not 3 <= bullets <= 5:
            problems.append(f"{bullets} takeaways, not 3 to 5")
        if cell.cell_type == "markdown" and (
            found := re.search(r"(?i)\b(proves?|beats?|state[ -]of[ -]the[ -]art)\b", cell.source)
        ):
            problems.append(f"{named(cell)} says {found[0]!r}")
    return problems


def check_parameters(path: Path) -> list[str]:
    """At most 9 annotated literals with help, scale, seed and out_dir among them."""
    try:
        parameters = run.notebook_parameters(path)
    except InputError as error:
        return [str(error)]
    problems = [f"parameter {name} has no help" for name, parameter in parameters.items() if not parameter["help"]]
    problems += [f"there is no parameter {name}" for name in ("scale", "seed", "out_dir") if name not in parameters]
    if len(parameters) > 9:
        problems.append(f"{len(parameters)} parameters, at most 9")
    if "scale" in parameters and parameters["scale"]["default"] != "tiny":
        problems.append("the default scale is not tiny")
    return problems


# ---------------------------------------------------------------------------------------------------------------------
# Code


def check_code(notebook) -> list[str]:
    """Plain Python, without what belongs into nbutils, into a parameter, or nowhere."""
    problems = []
    for cell in code_cells(notebook):
        try:
            tree = ast.parse(cell.source)
        except SyntaxError:
            problems.append(f"{named(cell)} is not plain Python (a shell command or a magic?)")
            continue
        problems += [f"{named(cell)} has {what}" for what in sorted(set(_forbidden(tree, tag_of(cell))))]
    return problems


def _forbidden(tree: ast.AST, tag: str):
    """What is not allowed in a cell of that tag, of the syntax tree's nodes."""
    inner_parts = set()  # of f-strings: "{name}/fact" holds "/fact", which is no path
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            inner_parts |= {id(part) for part in node.values[1:]}
    for node in ast.walk(tree):
        if isinstance(node, ast.Try) and any(
            isinstance(inner, ast.Import | ast.ImportFrom) for inner in ast.walk(node)
        ):
            yield "an import inside try"
        elif isinstance(node, ast.Import | ast.ImportFrom):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            yield from (f"network access ({name})" for name in modules if name.split(".")[0] in NETWORK)
            yield from (alias.name for alias in node.names if alias.name in FORBIDDEN_NAMES)
        elif isinstance(node, ast.ClassDef):
            yield f"class {node.name}"
        elif isinstance(node, ast.FunctionDef) and tag not in ("method", "figure"):
            yield f"def {node.name} outside a method or figure cell"
        elif isinstance(node, ast.Attribute | ast.Name) and ast.unparse(node) in FORBIDDEN_NAMES:
            yield ast.unparse(node)
        elif _is_path(node) and id(node) not in inner_parts:
            yield f"the absolute path {node.value!r}"


def _is_path(node: ast.AST) -> bool:
    """Whether the node is a text that begins like a path of some machine."""
    return isinstance(node, ast.Constant) and isinstance(node.value, str) and bool(MACHINE_PATH.match(node.value))


def check_no_empty_cells(notebook) -> list[str]:
    return [f"cell {i} is empty" for i, cell in enumerate(notebook.cells, start=1) if not cell.source.strip()]


# ---------------------------------------------------------------------------------------------------------------------
# What is saved


def check_executed(notebook) -> list[str]:
    """Run from top to bottom once, and what should show something does."""
    counts = [cell.execution_count for cell in code_cells(notebook)]
    problems = [] if counts == list(range(1, len(counts) + 1)) else [f"execution counts are {counts}, not 1, 2, 3, ..."]
    for cell in code_cells(notebook):
        if tag_of(cell) in SHOWS_SOMETHING and not cell.outputs:
            problems.append(f"{named(cell)} has no output")
        elif tag_of(cell) == "figure" and not any("image/png" in output.get("data", {}) for output in cell.outputs):
            problems.append(f"{named(cell)} shows no figure")
    return problems


def check_outputs(notebook) -> list[str]:
    """No errors, warnings, progress bars, memory addresses or paths of the machine."""
    problems = []
    for cell in code_cells(notebook):
        for output in cell.outputs:
            if output.output_type == "error":
                problems.append(f"{named(cell)} ends in {output.ename}")
            elif output.get("name") == "stderr":
                problems.append(f"{named(cell)} writes to stderr: {output.text[:80]!r}")
        for text in output_texts(cell):
            for what, pattern in (
                ("a warning", r"\w+Warning\b"),
                ("a progress bar", r"\d+%\|| \d+(?:\.\d+)?(?:it/s|s/it)|\r"),
                ("a memory address", r"\bat 0x[0-9a-f]{6,}"),
                ("a path of the machine", MACHINE_PATH),
            ):
                if found := re.search(pattern, text):
                    problems.append(f"{named(cell)} shows {what}: {text[found.start() : found.start() + 60]!r}")
    return problems


def check_metadata(notebook) -> list[str]:
    """Kernel python3 and, beyond that, tags only."""
    problems = []
    if notebook.metadata.get("kernelspec", {}).get("name") != "python3":
        problems.append("the kernel is not python3")
    problems += [f"the notebook has metadata {key}" for key in set(notebook.metadata) - {"kernelspec", "language_info"}]
    for cell in notebook.cells:
        problems += [f"{named(cell)} has metadata {key}" for key in set(cell.metadata) - {"tags"}]
    return problems


NOTEBOOK_CHECKS = [
    check_tags, check_order, check_neighbours, check_lengths, check_prose, check_code, check_no_empty_cells,
    check_executed, check_outputs, check_metadata,
]  # fmt: skip


# ---------------------------------------------------------------------------------------------------------------------
# The committed notebooks


def test_there_are_notebooks():
    assert sorted(NOTEBOOKS) == NOTEBOOKS == sorted(paths.NOTEBOOKS.glob("*.ipynb"))
    numbers = [path.stem[:2] for path in NOTEBOOKS]
    assert "00" in numbers and len(set(numbers)) == len(numbers)


@pytest.mark.parametrize("check", NOTEBOOK_CHECKS)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook(path, check):
    assert check(nbformat.read(path, as_version=4)) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_parameters(path):
    assert check_parameters(path) == []


# ---------------------------------------------------------------------------------------------------------------------
# Each check can fail

PARAMETERS = 'scale: str = "tiny"  # preset\nseed: int = 0  # first seed\nout_dir: str = None  # where results go'
IMAGE = {"output_type": "display_data", "data": {"image/png": "iVBORw0KGgo=", "text/plain": "<Figure>"}, "metadata": {}}
ERROR = nbformat.v4.new_output("error", ename="E", evalue="", traceback=[])
TEXT = {"output_type": "stream", "name": "stdout", "text": "see https://example.org/home/page and data/tmp/x\n"}
GOOD = [
    ("markdown", "title", "# 00 · A demonstration\nDense retrieval finds more than BM25.", []),
    ("code", "parameters", PARAMETERS, []),
    ("code", "setup", "import numpy as np\nfrom nbutils import plotting", []),
    ("code", "data", 'question = f"{scale}/fact"\nquestion', [TEXT]),
    ("markdown", "formula", "$p(y|x)$, equation 1", []),
    (
        "code",
        "method",
        "def p(x):\n    # p(x) is a mean over B, K\n    # note: the paper divides by K\n    return x",
        [],
    ),
    ("code", "run", "for seed_i in range(seed, seed + 2):\n    p(seed_i)", []),
    ("code", "figure", "# cosmetics\nplotting", [IMAGE]),
    ("markdown", "caption", "Recall, n = 200.", []),
    ("code", "claim", "print(seed)", [TEXT]),
    ("code", "run", "p(2)", []),
    ("code", "figure", "def draw(x):\n    return x", [IMAGE]),
    ("markdown", "caption", "Exact match, n = 200.", []),
    ("code", "claim", "print(seed)", [TEXT]),
    ("code", "try-it", "print(seed)", [TEXT]),
    ("markdown", "takeaways", "- reproduced\n- not reproduced\n- limits", []),
]


def build(cells=None):
    kernel = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
    notebook = nbformat.v4.new_notebook(metadata={"kernelspec": kernel})
    count = 0
    for number, (kind, tag, source, outputs) in enumerate(GOOD if cells is None else cells):
        metadata = {"tags": [tag]} if tag else {}
        make = nbformat.v4.new_code_cell if kind == "code" else nbformat.v4.new_markdown_cell
        cell = make(source, metadata=metadata, id=f"cell-{number}")
        if kind == "code":
            count += 1
            cell.execution_count = count
            cell.outputs = [nbformat.from_dict(copy.deepcopy(output)) for output in outputs]
        notebook.cells.append(cell)
    return notebook


def cell(tag, notebook):
    return next(cell for cell in notebook.cells if tag_of(cell) == tag)


def source(tag, text):
    """A change: replace the source of the first cell with that tag."""
    return lambda notebook: cell(tag, notebook).update(source=text)


def prints(text, name="stdout"):
    """A change: give the first claim that output."""
    output = nbformat.v4.new_output("stream", name=name, text=text)
    return lambda notebook: cell("claim", notebook).update(outputs=[output])


def retag(tag, new):
    return lambda notebook: cell(tag, notebook).metadata.update(tags=new)


def drop(tag):
    return lambda notebook: notebook.cells.remove(cell(tag, notebook))


def move(tag, to):
    def change(notebook):
        moved = cell(tag, notebook)
        notebook.cells.remove(moved)
        notebook.cells.insert(to, moved)

    return change


@pytest.mark.parametrize("check", NOTEBOOK_CHECKS)
def test_a_good_notebook_passes(check):
    assert check(build()) == []
    without = [cell for number, cell in enumerate(GOOD) if number not in (8, 9)]  # a figure's caption, a block's claim
    assert check(build(without)) == []
    verdicts, forest = ("code", "claim", "print(seed)", [TEXT]), ("code", "figure", "plotting", [IMAGE])
    assert check(build([*GOOD[:14], forest, *GOOD[14:]])) == []
    assert check(build([*GOOD, ("markdown", "", "# Appendix", []), *GOOD[10:14]])) == []
    assert check(build([*GOOD[:14], verdicts, forest, *GOOD[14:]])) == []


@pytest.mark.parametrize(
    ("check", "spoil", "message"),
    [
        (check_tags, retag("run", []), "has 0 tags"),
        (check_tags, retag("run", ["run", "data"]), "has 2 tags"),
        (check_tags, retag("run", ["runs"]), "has the tag ['runs']"),
        (check_tags, retag("run", ["injected-parameters"]), "has the tag ['injected-parameters']"),
        (check_tags, retag("run", ["caption"]), "is of type code"),
        (check_tags, retag("caption", ["run"]), "is of type markdown"),
        (check_order, drop("try-it"), "0 cells are tagged try-it"),
        (check_order, drop("takeaways"), "does not end with takeaways"),
        (check_order, move("takeaways", 6), "or with an appendix below them"),
        (check_order, retag("formula", ["title"]), "2 cells are tagged title"),
        (check_order, move("setup", 0), "begins with ['setup', 'title', 'parameters']"),
        (check_order, drop("data"), "the first block does not begin with data"),
        (check_order, move("run", 3), "block 1 is not in order: run, data"),
        (check_order, drop("figure"), "block 1 has no figure"),
        (check_order, drop("run"), "block 1 has no run"),
        (check_order, lambda notebook: notebook.cells.pop(13), "the last block has no claim"),
        (check_order, lambda notebook: notebook.cells.__delitem__(slice(3, 14)), "no block that ends in a claim"),
        (check_neighbours, drop("formula"), "has no formula above it"),
        (check_neighbours, move("caption", 4), "has no figure above it"),
        (check_lengths, source("try-it", "x = 1\n" * 26), "has 26 statements, at most 25"),
        (check_lengths, source("run", "if x:\n" + "    x = 1; x = 2\n" * 15), "has 31 statements, at most 30"),
        (check_lengths, source("method", "x = [\n" + "    1,\n" * 19 + "]"), "has 21 lines, at most 20"),
        (check_lengths, source("run", "x = [\n" + "    1,\n" * 39 + "]"), "has 41 lines, at most 40"),
        (check_lengths, lambda n: [c.update(source="x = 1\n" * 16) for c in code_cells(n)], "more than 16 statements"),
        (check_prose, source("title", "# A demonstration"), "the title is not"),
        (check_prose, source("takeaways", "- one\n- two"), "2 takeaways"),
        (check_prose, source("caption", "Dense beats BM25."), "says 'beats'"),
        (check_code, source("run", "!pip install x"), "is not plain Python"),
        (check_code, source("run", "%pip install x"), "is not plain Python"),
        (check_code, source("run", "try:\n    import x\nexcept ImportError:\n    x = None"), "an import inside try"),
        (check_code, source("run", "import os\nos.chdir('..')"), "os.chdir"),
        (check_code, source("run", "import sys\nsys.path.append('..')"), "sys.path"),
        (check_code, source("run", "open('/home/me/x')"), "the absolute path '/home/me/x'"),
        (check_code, source("run", "open(f'/tmp/{seed}')"), "the absolute path '/tmp/'"),
        (check_code, source("run", "open('C:\\\\data')"), "the absolute path"),
        (check_code, source("run", "from urllib.request import urlopen"), "network access (urllib.request)"),
        (check_code, source("run", "import requests"), "network access (requests)"),
        (check_code, source("run", "np.random.seed(0)"), "np.random.seed"),
        (check_code, source("run", "plt.rcParams['x'] = 1"), "plt.rcParams"),
        (check_code, source("run", "import warnings\nwarnings.filterwarnings('ignore')"), "warnings.filterwarnings"),
        (check_code, source("run", "from warnings import filterwarnings"), "filterwarnings"),
        (check_code, source("run", "class Retriever:\n    pass"), "class Retriever"),
        (check_code, source("run", "def f():\n    pass"), "def f outside a method or figure cell"),
        (check_no_empty_cells, source("run", " \n"), "is empty"),
        (check_executed, lambda n: cell("run", n).update(execution_count=None), "execution counts are"),
        (check_executed, lambda n: cell("run", n).update(execution_count=9), "execution counts are"),
        (check_executed, lambda n: cell("claim", n).update(outputs=[]), "has no output"),
        (check_executed, lambda n: cell("figure", n).update(outputs=cell("claim", n).outputs), "shows no figure"),
        (check_outputs, lambda n: cell("run", n).update(outputs=[ERROR]), "ends in E"),
        (check_outputs, prints("loading", name="stderr"), "writes to stderr"),
        (check_outputs, prints("FutureWarning: x"), "shows a warning"),
        (check_outputs, prints("50%|█████     | 1/2"), "shows a progress bar"),
        (check_outputs, prints("10 [00:01, 9.5it/s]"), "shows a progress bar"),
        (check_outputs, prints("<object at 0x7f00aa00bb00>"), "shows a memory address"),
        (check_outputs, prints("saved /root/x/recall.png"), "shows a path of the machine"),
        (check_outputs, prints("('/tmp/x.png',)"), "shows a path of the machine"),
        (check_outputs, prints("C:\\Users\\me"), "shows a path of the machine"),
        (check_metadata, lambda n: n.metadata.update(kernelspec={"name": "other"}), "the kernel is not python3"),
        (check_metadata, lambda n: n.metadata.update(papermill={}), "the notebook has metadata papermill"),
        (check_metadata, lambda n: cell("run", n).metadata.update(execution={}), "has metadata execution"),
    ],
)  # fmt: skip
def test_a_spoilt_notebook_is_found_out(check, spoil, message):
    notebook = build()
    spoil(notebook)
    assert message in "; ".join(check(notebook))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (PARAMETERS.replace("  # first seed", ""), "parameter seed has no help"),
        (PARAMETERS.replace("seed", "seeds"), "there is no parameter seed"),
        (PARAMETERS + "\n" + "\n".join(f"n_{i}: int = 1  # n" for i in range(7)), "10 parameters, at most 9"),
        (PARAMETERS + "\ntwice: int = seed * 2  # n", "is no literal"),
        (PARAMETERS.replace("tiny", "smoke"), "the default scale is not tiny"),
    ],
)
def test_spoilt_parameters_are_found_out(tmp_path, parameters, message):
    path = tmp_path / "00_demo.ipynb"
    nbformat.write(build(), path)
    assert check_parameters(path) == []
    notebook = build()
    cell("parameters", notebook).source = parameters
    nbformat.write(notebook, path)
    assert message in "; ".join(check_parameters(path))

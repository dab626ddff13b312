"""What changes the digest of a function, and what does not: on a small package that is written and imported anew."""

import functools
import importlib
import itertools
import linecache
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nbutils import code_digest, code_text

NUMBERS = itertools.count()

# `top.start` names something of every kind, and each of these something further down.
PACKAGE = {
    "__init__": "",
    "bottom": '''
"""Docstring of the module."""
import functools
import re

FACTOR = 2
TABLE = {"a": 1, "b": [2, (3,)]}
WORD = re.compile("[a-z]+", re.IGNORECASE)
NAMES = {"x", "y", "z"}


def innermost(number):
    """Docstring."""
    return FACTOR * number  # a comment


def middle(number):
    return innermost(number) + 1


@functools.cache
def remembered(number):
    return number + 10


def added(number, more):
    return number + more


def late(number):
    return number + 20


def beside(number):
    return number + 30


def by_default(number, table=TABLE):
    return table["a"] + len(WORD.findall("abc")) + len(NAMES) + number


def never_named(number):
    return number
''',
    "shapes": '''
from dataclasses import dataclass


class Base:
    def size(self):
        return 1


@dataclass(frozen=True)
class Shape(Base):
    """Docstring."""

    width: int
    height: int = 2

    def area(self):
        """Docstring."""
        return self.width * self.height * self.size()

    @property
    def half(self):
        return self.area() / 2

    @staticmethod
    def unit():
        return Shape(1)


SQUARE = Shape(3, 3)
''',
    "top": '''
import functools
from contextlib import contextmanager

import fake
from fake import bottom
from fake.bottom import by_default, innermost, middle
from fake.shapes import SQUARE, Shape

add_three = functools.partial(bottom.added, more=3)


def doubled(function):
    @functools.wraps(function)
    def wrapper(number):
        return 2 * function(number)

    return wrapper


@doubled
def decorated(number):
    return number + 40


@contextmanager
def opened(number):
    yield number + 50


def make(step):
    def walk(number):
        return innermost(number) + step

    return walk


walk = make(60)
METHODS = {"one": decorated, "two": walk}


def start(number: int) -> int:
    """Docstring."""
    from fake import bottom as local
    from fake.bottom import late

    with opened(number) as number:
        total = middle(number) + bottom.remembered(number) + add_three(number) + by_default(number)
    total += late(number) + local.beside(number) + METHODS["one"](number) + METHODS["two"](number)
    total += Shape(2).area() + Shape.unit().half + SQUARE.area()
    return total


def recursive(number):
    return mutual(number - 1) if number else 0


def mutual(number):
    return recursive(number) + innermost(number)
''',
}


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Function (sources by module) -> modules by name of a package `fake` made of them, imported anew."""
    monkeypatch.setattr(code_digest, "_PACKAGE", "fake")

    def load(sources):
        root = tmp_path / str(next(NUMBERS))
        (root / "fake").mkdir(parents=True)
        for name, source in sources.items():
            (root / "fake" / f"{name}.py").write_text(source)
        forget()
        monkeypatch.syspath_prepend(root)
        importlib.invalidate_caches()
        return {name: importlib.import_module(f"fake.{name}") for name in sources if name != "__init__"}

    def forget():
        for name in [name for name in sys.modules if name == "fake" or name.startswith("fake.")]:
            del sys.modules[name]

    yield load
    forget()


def changed(module, old, new):
    assert PACKAGE[module].count(old) >= 1, old
    return {**PACKAGE, module: PACKAGE[module].replace(old, new)}


@pytest.fixture
def start(load):
    """Function (sources) -> digest of `top.start`."""
    return lambda sources: code_digest.digest(load(sources)["top"].start)


CHANGES = {
    "the function": ("top", "return total", "return total + 1"),
    "callee": ("bottom", "innermost(number) + 1", "innermost(number) + 2"),
    "callee two levels down": ("bottom", "return FACTOR * number", "return FACTOR + number"),
    "constant three levels down": ("bottom", "FACTOR = 2", "FACTOR = 3"),
    "kind of a constant": ("bottom", "FACTOR = 2", "FACTOR = 2.0"),
    "constant inside a table": ("bottom", "(3,)", "(4,)"),
    "order of a table": ("bottom", '{"a": 1, "b": [2, (3,)]}', '{"b": [2, (3,)], "a": 1}'),
    "pattern": ("bottom", "[a-z]+", "[a-z]"),
    "flag of a pattern": ("bottom", "re.IGNORECASE", "re.ASCII"),
    "set": ("bottom", '{"x", "y", "z"}', '{"x", "y"}'),
    "default": ("bottom", "table=TABLE", "table=None"),
    "behind functools.cache": ("bottom", "number + 10", "number + 11"),
    "behind functools.partial": ("bottom", "number + more", "number - more"),
    "argument of functools.partial": ("top", "more=3", "more=4"),
    "by an import in the function": ("bottom", "number + 20", "number + 21"),
    "by a module imported in the function": ("bottom", "number + 30", "number + 31"),
    "decorated": ("top", "number + 40", "number + 41"),
    "decorator": ("top", "2 * function(number)", "3 * function(number)"),
    "context manager": ("top", "number + 50", "number + 51"),
    "cell of a closure": ("top", "make(60)", "make(61)"),
    "code of a closure": ("top", "innermost(number) + step", "innermost(number) - step"),
    "function in a table": ("top", '"two": walk', '"two": decorated'),
    "method": ("shapes", "self.width * self.height", "self.width + self.height"),
    "property": ("shapes", "self.area() / 2", "self.area() / 3"),
    "static method": ("shapes", "return Shape(1)", "return Shape(2)"),
    "method of a base": ("shapes", "return 1", "return 2"),
    "field of a class": ("shapes", "height: int = 2", "height: int = 4"),
    "instance": ("shapes", "Shape(3, 3)", "Shape(3, 5)"),
    "frozen or not": ("shapes", "\n\nSQUARE", "\n    depth: int = 0\n\n\nSQUARE"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_a_result_depends_on_changes_the_digest(start, name):
    assert start(changed(*CHANGES[name])) != start(PACKAGE)


HARMLESS = {
    "comment": ("bottom", "# a comment", "# other words"),
    "docstring of a module": ("bottom", "Docstring of the module.", "Other words."),
    "docstring": ("bottom", '"""Docstring."""', '"""Other words."""'),
    "no docstring": ("top", '    """Docstring."""\n', ""),
    "docstring of a class and its methods": ("shapes", '"""Docstring."""', '"""Other words,\n    on two lines."""'),
    "layout": ("bottom", "return FACTOR * number", "return (\n        FACTOR\n        * number\n    )"),
    "annotations": ("top", "start(number: int) -> int", "start(number: 'Number')"),
    "what is not named": ("bottom", "    return number\n", "    return -number\n"),
    "another function": ("bottom", "def innermost", "def new():\n    return 1\n\n\ndef innermost"),
    "name of a function": ("bottom", "innermost", "lowest"),
    "name of a constant": ("bottom", "FACTOR", "SCALE"),
    "order of a set": ("bottom", '{"x", "y", "z"}', '{"z", "y", "x"}'),
}


@pytest.mark.parametrize("name", HARMLESS)
def test_words_and_layout_do_not_change_it(start, name):
    sources = changed(*HARMLESS[name])
    if name == "name of a function":
        sources["top"] = sources["top"].replace("innermost", "lowest")
    assert sources != PACKAGE
    assert start(sources) == start(PACKAGE)


def test_a_function_may_move_to_another_file(start):
    function = 'def innermost(number):\n    """Docstring."""\n    return FACTOR * number  # a comment\n'
    elsewhere = f"FACTOR = 2\n\n\n{function}"
    bottom = PACKAGE["bottom"].replace(function, "from fake.elsewhere import innermost\n")
    moved = {**PACKAGE, "elsewhere": elsewhere, "bottom": bottom}
    assert bottom != PACKAGE["bottom"] and start(moved) == start(PACKAGE)

    # Everything in another module, and reached by that one's name: `bottom.remembered` becomes `low.remembered`.
    renamed = {name if name != "bottom" else "low": source for name, source in PACKAGE.items()}
    renamed["top"] = PACKAGE["top"].replace("fake.bottom", "fake.low").replace("import bottom", "import low")
    renamed["top"] = renamed["top"].replace("bottom.", "low.")
    assert "bottom" not in renamed["top"] and start(renamed) == start(PACKAGE)


def test_moving_into_a_package_changes_nothing(load):
    """As `from fake import bottom` does when `bottom` becomes a folder whose __init__ hands on the functions."""
    flat = code_digest.digest(load(PACKAGE)["top"].start)
    modules = load(PACKAGE)
    root = Path(modules["top"].__file__).parent
    (root / "room").mkdir()
    (root / "room" / "__init__.py").write_text("from fake.room.inner import *\n")
    (root / "room" / "inner.py").write_text(PACKAGE["bottom"])
    moved = PACKAGE["top"].replace("fake.bottom", "fake.room").replace("fake import bottom", "fake import room")
    (root / "upper.py").write_text(moved.replace("bottom.", "room."))
    importlib.invalidate_caches()
    upper = importlib.import_module("fake.upper")
    assert code_digest.digest(upper.start) == flat and upper.start(1) == modules["top"].start(1)


def test_recursion_ends_and_counts(load):
    before = code_digest.digest(load(PACKAGE)["top"].recursive)
    assert re.fullmatch("[0-9a-f]{64}", before)
    assert code_digest.digest(load(changed("top", "number - 1", "number - 2"))["top"].mutual) != code_digest.digest(
        load(PACKAGE)["top"].mutual
    )
    assert code_digest.digest(load(changed("bottom", "FACTOR = 2", "FACTOR = 3"))["top"].recursive) != before


def test_the_same_code_under_exchanged_names_is_told_apart(load):
    source = "def one():\n    return 1\n\n\ndef two():\n    return 2\n\n\n"
    plain = load(
        {"__init__": "", "a": source, "b": "from fake.a import one, two\ndef f():\n    return one() - two()\n"}
    )
    digest = code_digest.digest(plain["b"].f)
    swapped = "from fake.a import one as two, two as one\ndef f():\n    return one() - two()\n"
    assert code_digest.digest(load({"__init__": "", "a": source, "b": swapped})["b"].f) != digest


def test_a_name_that_is_local_is_not_taken_for_a_module(load):
    source = "from fake import bottom\n\n\ndef f(bottom):\n    return bottom.FACTOR\n"
    digests = {
        code_digest.digest(load({**sources, "other": source})["other"].f)
        for sources in (PACKAGE, changed("bottom", "FACTOR = 2", "FACTOR = 3"))
    }
    assert len(digests) == 1


def test_a_name_that_is_local_in_one_scope_and_global_in_another(load):
    source = "from fake.bottom import FACTOR\n\n\ndef f(x):\n    return FACTOR * (lambda FACTOR: FACTOR)(x)\n"
    digests = {
        code_digest.digest(load({**sources, "other": source})["other"].f)
        for sources in (PACKAGE, changed("bottom", "FACTOR = 2", "FACTOR = 3"))
    }
    assert len(digests) == 2


@pytest.mark.parametrize("module", ["cache", "errors", "paths"])
def test_the_ground_floor_does_not_count(load, module):
    source = f"from fake.{module} import noted\n\n\ndef f():\n    return noted()\n"
    digests = [
        code_digest.digest(load({"__init__": "", module: f"def noted():\n    return {n}\n", "b": source})["b"].f)
        for n in (1, 2)
    ]
    assert digests[0] == digests[1]


def test_a_constant_without_a_description_is_named(load):
    source = "import io\nFILE = io.StringIO()\nLOGS = [FILE]\n\n\ndef f():\n    return {}\n"
    for used, named in (("FILE", "FILE in fake.b.f"), ("LOGS[0]", "LOGS in fake.b.f")):
        function = load({"__init__": "", "b": source.format(used)})["b"].f
        with pytest.raises(TypeError, match=rf"{re.escape(named)} is <_io.StringIO .*, of which no key can be made"):
            code_digest.digest(function)


def test_a_module_as_a_whole_is_refused(load):
    with pytest.raises(TypeError, match=r"bottom in fake.b.f is the whole module fake.bottom: name the functions"):
        source = "from fake import bottom\n\n\ndef f(name):\n    return getattr(bottom, name)\n"
        code_digest.digest(load({**PACKAGE, "b": source})["b"].f)


def test_what_does_not_count_as_a_constant(load):
    source = (
        "import collections.abc\nimport json\nimport logging\nimport threading\nfrom pathlib import Path\n"
        "from typing import Any\nLOG = logging.getLogger()\nLOCK = threading.Lock()\nHERE = Path(__file__)\n"
        "Row = dict[str, Any]\nMaybe = int | None\nLoads = json.loads\n\n\n"
        "def f(text):\n    with LOCK:\n        LOG.info(text)\n"
        "    return Row, Maybe, Any, HERE, Loads(text), collections.abc.Mapping, json\n"
    )
    digests = {code_digest.digest(load({"__init__": "", "b": source})["b"].f) for _ in range(2)}
    assert len(digests) == 1


def test_other_libraries_have_no_digest():
    for other in (len, functools.partial(print)):
        with pytest.raises(TypeError, match="name functions or classes of nbutils"):
            code_digest.digest(other)
    with pytest.raises(TypeError, match=r"class builtins\.str has no source"):
        code_digest.digest(str)


def test_roots_of_other_kinds(load):
    top = load(PACKAGE)["top"]
    digests = {
        code_digest.digest(function)
        for function in (top.add_three, top.walk, top.decorated, top.opened, top.Shape, top.Shape.unit, top.SQUARE.area)
    }
    assert len(digests) == 7
    assert code_digest.digest(functools.partial(top.middle, 1)) != code_digest.digest(functools.partial(top.middle, 2))
    assert code_digest.digest(top.bottom.remembered) == code_digest.digest(top.bottom.remembered.__wrapped__)


def test_a_lambda_and_functions_of_a_test():
    one, two = (lambda x: x + 1), (lambda x: x + 2)
    assert code_digest.digest(one) != code_digest.digest(two)
    assert code_digest.digest(lambda x: x + 1) == code_digest.digest(lambda x: x + 1)


def test_a_file_that_is_edited_while_the_program_runs(load):
    """The functions that run are those of before: they must not pass for what the file holds now."""
    before = code_digest.digest(load(PACKAGE)["bottom"].middle)
    bottom = load(PACKAGE)["bottom"]
    edited = changed("bottom", "innermost(number) + 1", "innermost(number) + 2")["bottom"]
    Path(bottom.__file__).write_text(edited)
    stale = code_digest.digest(bottom.middle)
    importlib.reload(bottom)
    after = code_digest.digest(bottom.middle)
    assert len({before, stale, after}) == 3
    # Moved down by a comment above it, it is found all the same.
    bottom = load(PACKAGE)["bottom"]
    Path(bottom.__file__).write_text("# one more line\n" + PACKAGE["bottom"])
    assert code_digest.digest(bottom.middle) == before


def test_a_function_without_a_file_goes_by_its_compiled_code(load):
    def defined(source):
        names = {"__name__": "fake.typed"}
        exec(source, names)
        return names["f"]

    source = "FACTOR = 2\ndef g(x):\n    return FACTOR * x\n"
    source += "def f(x):\n    return g(x) if x in {'a', 'b'} else [g(y) for y in x]"
    before = code_digest.digest(defined(source))
    assert code_digest.digest(defined(source)) == before
    for old, new in (("FACTOR = 2", "FACTOR = 3"), ("FACTOR * x", "FACTOR + x"), ("'b'", "'c'"), ("g(y)", "x(y)")):
        assert code_digest.digest(defined(source.replace(old, new))) != before, new


def test_the_digest_is_the_same_in_every_process():
    program = (
        "from nbutils import code_digest, training\n"
        "from nbutils.data import factbook, hub\n"
        "print(*map(code_digest.digest, (training.train_end2end, factbook.build, hub.hub_dataset)))"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program], env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(outputs) == 1 and len(outputs.pop().split()) == 3


def test_it_is_quick(monkeypatch):
    """Hundreds of functions in well under a second of work, and at once when they are asked for again."""
    from nbutils import training

    code_digest._kept.pop(training.train_end2end, None)
    for kept in (code_text._parsed, code_text.function_pieces):
        kept.cache_clear()
    linecache.clearcache()
    began = time.process_time()
    code_digest.digest(training.train_end2end)
    assert time.process_time() - began < 1.5
    began = time.process_time()
    code_digest.digest(training.train_end2end)
    assert time.process_time() - began < 0.001

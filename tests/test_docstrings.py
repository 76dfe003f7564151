"""Names that notebooks and docs use say what goes in, what comes out and what fails."""

import ast
import dataclasses
import importlib
import inspect
import json
import re
import textwrap

import pytest

from oasis_utils.runtime import project_root

ROOT = project_root()
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def cells_of(notebook):
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return "\n".join(
        "".join(line for line in cell["source"] if not line.lstrip().startswith(("%", "!")))
        for cell in cells
        if cell["cell_type"] == "code"
    )


def python_of(page):
    return "\n".join(re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.S))


def own_names(source):
    """Objects of the package that a source imports, and the attributes it reads from them."""
    tree, names = ast.parse(source), {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("oasis_utils"):
            module = importlib.import_module(node.module)
            for alias in node.names:
                value = getattr(module, alias.name, None)
                if value is None:
                    value = importlib.import_module(f"{node.module}.{alias.name}")
                names[alias.asname or alias.name] = value
    yield from names.values()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            owner = names.get(node.value.id)
            if inspect.ismodule(owner) or inspect.isclass(owner):
                yield getattr(owner, node.attr)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Attribute):
            owner = getattr(names.get(getattr(node.value.value, "id", "")), node.value.attr, None)
            if inspect.ismodule(owner):
                yield getattr(owner, node.attr)


def used():
    sources = [cells_of(path) for path in sorted((ROOT / "notebooks").glob("*.ipynb"))]
    found = {}
    for source in [*sources, *map(python_of, PAGES)]:
        for value in own_names(source):
            if inspect.ismodule(value) or not getattr(value, "__module__", "").startswith("oasis_"):
                continue
            if inspect.isclass(value) or inspect.isroutine(value):
                found[f"{value.__module__}.{value.__qualname__}"] = value
    return found


USED = used()


def body_of(value):
    return ast.parse(textwrap.dedent(inspect.getsource(value))).body[0]


def raises(value):
    """Whether the function itself, not one inside it or one it calls, raises."""
    waiting = list(body_of(value).body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Raise):
            return True
        if not isinstance(node, ast.FunctionDef | ast.Lambda):
            waiting += ast.iter_child_nodes(node)
    return False


def missing_parts(value):
    text = inspect.getdoc(value) or ""
    if inspect.isclass(value):
        shown = (
            [f.name for f in dataclasses.fields(value)] if dataclasses.is_dataclass(value) else []
        )
        shown = shown or list(inspect.signature(value).parameters)
        shown = [name for name in shown if not name.startswith("_")]
        parts = ["Args:|Attributes:"] if shown else []
    else:
        signature = inspect.signature(value)
        shown = [name for name in signature.parameters if name not in ("self", "cls")]
        parts = ["Args:"] if shown else []
        if str(signature.return_annotation) not in ("None", str(inspect.Signature.empty)):
            parts.append("Returns:|Yields:")
        if raises(value):
            parts.append("Raises:")
    lacking = [part for part in parts if not re.search(rf"^({part})$", text, re.M)]
    return lacking + [f"{name}:" for name in shown if not re.search(rf"^ +\*?{name}:", text, re.M)]


def test_the_names_that_users_meet_are_found():
    assert len(USED) > 60
    assert {"oasis_utils.models.checkpoints.load_model", "oasis_utils.data.batches.Batches"} & set(
        USED
    )


@pytest.mark.parametrize("name", sorted(USED))
def test_a_public_name_says_what_goes_in_and_out(name):
    assert not missing_parts(USED[name])


def test_a_docstring_without_parts_is_caught():
    def bare(x: int) -> int:
        """Half of x."""
        if x < 0:
            raise ValueError(x)
        return x // 2

    assert missing_parts(bare) == ["Args:", "Returns:|Yields:", "Raises:", "x:"]

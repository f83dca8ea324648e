"""What a result is computed by, found from the imports, and when that has changed."""

import ast
import re
from pathlib import Path

import pytest

from mose.experiment import provenance

ROOT = Path(__file__).parents[2]
RULES = "\n".join(path.read_text() for path in sorted((ROOT / "workflow" / "rules").glob("*.smk")))


def modules(*names, root=ROOT):
    reached = provenance.defining([f"mose/{name}.py" for name in names], root)
    return {path.removeprefix("mose/").removesuffix(".py") for path in reached}


def library(folder, texts):
    """A library of some files, by name."""
    for name, text in texts.items():
        path = folder / "mose" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    # What was read of another test's files with the same names is of no use.
    for function in (provenance._code, provenance._digest_of_code, provenance.imported_files):
        function.cache_clear()
    return folder


def test_imports_are_followed_and_carriers_are_not(tmp_path):
    texts = {
        "a": "import torch\nfrom mose import b, errors\nfrom mose.storage import hdf5\n",
        "b": "def late():\n    from mose.evaluation.tasks import c\n",
        "storage/hdf5": "from mose import d\n",
        "d": "",
        "errors": "",
        "evaluation/tasks/c": "from mose.a import x\nimport mose.e\n",
        "e": "",
    }
    library(tmp_path, texts)
    assert modules("a", root=tmp_path) == {"a", "b", "evaluation/tasks/c", "e"}
    # Asked for by name, a carrier counts.
    assert modules("storage/hdf5", root=tmp_path) == {"storage/hdf5", "d"}


def test_a_package_counts_where_it_holds_code(tmp_path):
    texts = {
        "__init__": '"""A library."""\n',
        "one/__init__": '"""A package."""\nfrom mose import base\n',
        "one/a": "from mose.one import b\n",
        "one/b": "",
        "base": "",
    }
    library(tmp_path, texts)
    assert modules("one/a", root=tmp_path) == {"one/a", "one/b", "one/__init__", "base"}


CODE = '''"""A file."""

from pydantic import Field

# A comment.
class Options:
    """A class."""

    count: int = Field(3, ge=1, description="How many.")

    def method(self):
        """A method."""
        return self.count * 2.5  # why
'''


@pytest.mark.parametrize(
    ("old", "new", "counts"),
    [
        ("# A comment.", "# Another comment,\n# and a line more.", False),
        ('"""A file."""', '"""What this file is."""', False),
        ('"""A class."""', '"""What this class is."""', False),
        ('        """A method."""\n', "", False),
        ("  # why", "", False),
        ('description="How many."', 'description="Number of things."', False),
        ("self.count * 2.5", "(self.count * 2.5)", False),
        ("self.count * 2.5", "self.count * 2.4", True),
        ("Field(3,", "Field(4,", True),
        ("ge=1", "ge=2", True),
        ("def method(self)", "def method(self, more=1)", True),
    ],
)
def test_code_counts_and_words_do_not(tmp_path, old, new, counts):
    assert old in CODE
    library(tmp_path, {"a": CODE})
    before = provenance.code_digests(["mose/a.py"], tmp_path)
    library(tmp_path, {"a": CODE.replace(old, new)})
    assert (provenance.code_digests(["mose/a.py"], tmp_path) != before) == counts


def test_data_count_by_their_bytes(tmp_path):
    (tmp_path / "mose").mkdir()
    table = tmp_path / "mose" / "facts.csv"
    table.write_text("a\n")
    before = provenance.data_digests(["mose/facts.csv"], tmp_path)
    assert before[0].startswith("mose/facts.csv ")
    table.write_text("b\n")
    assert provenance.data_digests(["mose/facts.csv"], tmp_path) != before


def test_an_edit_depends_on_its_own_method_s_mathematics_and_no_other_s():
    mose = modules("editing/sequence", "methods/mose")
    assert {
        *("linalg/low_rank_polar", "linalg/orthogonal", "editing/targets", "models/ragged"),
        *("editing/targets", "statistics/keys", "models/tokens", "linalg/second_moment"),
        *("models/causal_lm", "facts/requests", "methods/options"),
    } <= mose
    encore = modules("editing/sequence", "methods/encore")
    assert "methods/memit" in encore
    assert "linalg/low_rank_polar" not in encore
    assert not {"methods/mose", "report/tables", "evaluation/prompt_scores"} & encore
    assert modules("evaluation/stability") >= {"evaluation/stability", "linalg/orthogonal"}


def test_carriers_are_there():
    for name in provenance.CARRIERS - {"methods/register"}:
        assert (ROOT / "mose" / f"{name}.py").is_file(), name


# Top-level names of the rules, with the text that defines them.
DEFINITIONS = {
    match[1]: match[0]
    for match in re.finditer(
        r"^(?:def )?(\w+)(?: = |\()(?:.*\n)(?:(?:[ )\]}].*)?\n)*", RULES, re.MULTILINE
    )
}


def rules_of_programs():
    """By rule: its text with the definitions of what it names, and the program that it runs."""
    for match in re.finditer(r"^rule (\w+):\n(?:(?: .*)?\n)+", RULES, re.MULTILINE):
        text, todo, seen = match[0], [match[0]], set()
        while todo:
            for name in set(re.findall(r"\b\w+\b", todo.pop())) & DEFINITIONS.keys() - seen:
                seen.add(name)
                todo.append(DEFINITIONS[name])
                text += DEFINITIONS[name]
        programs = re.findall(r"\{PROGRAMS:q\}/(\w+\.py)", text)
        if "code=" in text and programs:
            yield match[1], text, programs[0]


def imports_of_program(program, options):
    """Files of the library that a program imports when it is given these options."""

    def visit(nodes):
        for node in nodes:
            if isinstance(node, ast.If) and ast.unparse(node.test).startswith("args."):
                option = "--" + ast.unparse(node.test).removeprefix("args.").replace("_", "-")
                yield from visit(node.body if option in options else node.orelse)
            elif isinstance(node, ast.ImportFrom) and node.module.startswith("mose"):
                for alias in node.names:
                    module = f"{node.module}.{alias.name}".replace(".", "/")
                    inner = (ROOT / f"{module}.py").is_file()
                    yield f"{module}.py" if inner else f"{node.module.replace('.', '/')}.py"
            else:
                yield from visit(ast.iter_child_nodes(node))

    names = set(visit(ast.parse((ROOT / "scripts" / program).read_text()).body))
    carried = {f"mose/{name}.py" for name in provenance.CARRIERS}
    return {name for name in names if name not in carried and not name.startswith("mose/cli/")}


@pytest.mark.parametrize(
    ("text", "program"), [pytest.param(*rest, id=rule) for rule, *rest in rules_of_programs()]
)
def test_a_rule_names_the_code_that_its_program_calls(text, program):
    named = set(re.findall(r'"(mose/[a-z_/]+\.py)"', text))
    assert named == imports_of_program(program, set(re.findall(r"--[a-z-]+", text)))


def test_every_rule_that_makes_something_says_by_which_code():
    with_code = {rule for rule, *_ in rules_of_programs()}
    rules = set(re.findall(r"^rule (\w+):", RULES, re.MULTILINE))
    assert rules - with_code == {
        *("so_far", "scan", "layer_choice", "target_norms", "export"),
    }

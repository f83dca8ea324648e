"""The documentation: its links and paths exist, and its examples of the library run."""

import os
import re
import shlex
import socket
import subprocess
import sys
from collections import Counter
from html import unescape
from pathlib import Path

import browser
import pytest
import tiny
import typer.main
import yaml

from mose.cli.main import app
from mose.models import loading, sources
from mose.statistics import corpus, second_moments
from mose.storage import files

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
LIBRARY = ROOT / "docs" / "library.md"
PAGES = [
    README,
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "CHANGELOG.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "config" / "README.md",
]

FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.+?)\s*$", re.MULTILINE)
CODE = re.compile(r"`([^`\n]+)`")
FOLDERS = ("benchmarks", "config", "docs", "mose", "profiles", "scripts", "tests", "workflow")
# A path of the repository, and not a part of a longer one.
REPOSITORY_PATH = re.compile(rf"(?<![\w/.<])(?:{'|'.join(FOLDERS)})/[\w./*-]*(?![\w<>])")
# Files that a reader is to write: config/models/NAME.yaml, config/mine.yaml.
PLACEHOLDER = re.compile(r"\b(NAME|mine)\b")


def anchors(page):
    """The anchors of a page's headings, as GitHub spells them."""
    seen = Counter()
    names = set()
    for heading in HEADING.findall(FENCE.sub("", page.read_text())):
        text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading)
        name = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
        names.add(f"{name}-{seen[name]}" if seen[name] else name)
        seen[name] += 1
    return names


def broken_links(page, root=ROOT):
    """The relative links of a page that lead to no file of the repository, or to no heading."""
    broken = []
    for link in LINK.findall(FENCE.sub("", page.read_text())):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        exists = target.exists() and target.is_relative_to(root)
        if not exists or (anchor and anchor not in anchors(target)):
            broken.append(link)
    return broken


def missing_paths(page, root=ROOT):
    """The paths of the repository, in backticks on a page, at which there is nothing."""
    missing = []
    for code in CODE.findall(FENCE.sub("", page.read_text())):
        for path in REPOSITORY_PATH.findall(code):
            named = path.rstrip(".")
            if not PLACEHOLDER.search(named) and not list(root.glob(named)):
                missing.append(named)
    return missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_to_a_file_and_a_heading(page):
    assert broken_links(page) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_path_in_backticks_exists(page):
    assert missing_paths(page) == []


def test_a_broken_link_and_a_missing_path_are_seen(tmp_path):
    (tmp_path / "mose").mkdir()
    (tmp_path / "mose" / "here.py").touch()
    page = tmp_path / "page.md"
    page.write_text(
        "# A page, of `code`\n## Twice\n## Twice\n"
        "[a](page.md#a-page-of-code) [b](#twice-1) [c](mose/) [d](https://example.org/#x)\n"
        "[e](none.md) [f](#none) [g](page.md#twice-2) [h](../outside.md)\n"
        "`mose/here.py` `python mose/*.py` `mose/gone.py` `x --out config/gone.yaml` "
        "`config/models/NAME.yaml` `results/models/a.h5`\n"
        "```\n# Not a heading\n`mose/fenced.py`\n```\n"
    )
    (tmp_path.parent / "outside.md").touch()
    assert broken_links(page, tmp_path) == ["none.md", "#none", "page.md#twice-2", "../outside.md"]
    assert missing_paths(page, tmp_path) == ["mose/gone.py", "config/gone.yaml"]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site. MkDocs refuses links to pages and headings that it does not have."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    built = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, text=True,
        capture_output=True, check=False,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    return folder


def test_the_site_has_the_reference_and_what_its_first_page_links_to(site):
    reference = (site / "api.html").read_text()
    assert all(f'id="mose.{name}"' in reference for name in ("Editor.edit", "apply_patch"))
    first = (site / "index.html").read_text()
    for place in re.findall(r'(?:href|src)="((?!https?:|#|data:)[^"#]+)', first):
        assert (site / place).exists(), place


def test_the_site_loads_nothing_from_a_network(site):
    for page in site.rglob("*.html"):
        loaded = (
            r'<(?:script|img|iframe)\b[^>]*\bsrc="(?:https?:)?//|<link\b[^>]*\bhref="(?:https?:)?//'
        )
        assert not re.search(loaded, page.read_text()), page


def test_the_site_s_search_finds_a_word_without_a_network(site):
    found, heard = browser.visit(
        (site / "methods.html").read_text(),
        """const query = document.querySelector("[data-md-component=search-query]");
        query.focus();
        query.value = "isospectral";
        query.dispatchEvent(new Event("keyup", { bubbles: true }));
        for (let tries = 0; tries < 100; tries++) {
          const items = [...document.querySelectorAll(".md-search-result__item")];
          if (items.length) return items.map(item => item.textContent);
          await new Promise(resolve => setTimeout(resolve, 50));
        }
        return [];""",
        site,
    )
    assert heard == []
    assert any("isospectral" in item for item in found), found


FORMULA = re.compile(r"\$`[^`]+`\$|^```math\n.*?^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("name", ["methods", "scale"])
def test_every_formula_is_mathml_in_the_site(site, name):
    written = FORMULA.findall((ROOT / "docs" / f"{name}.md").read_text())
    page = (site / f"{name}.html").read_text()
    formulas = re.findall(r"<math\b.*?</math>", page, re.DOTALL)
    assert len(formulas) == len(written) > 0
    assert "$`" not in page
    assert "language-math" not in page
    # A command that the converter does not know stays in the text with its backslash.
    assert [formula for formula in formulas if "\\" in unescape(formula)] == []
    # A browser lays all of them out.
    found, heard = browser.visit(
        page,
        """return [...document.querySelectorAll("math")].map(m => m.getBoundingClientRect())
           .filter(box => !(box.width > 2 && box.height > 5)).length""",
        site,
    )
    assert (found, heard) == (0, [])


def test_a_formula_says_in_the_site_what_its_source_says(site):
    """One of each kind, read back from MathML."""
    text = (site / "methods.html").read_text()
    for entity, letter in (("&#x022A4;", "T"), ("&#x02212;", "-"), ("&#x02190;", ":=")):
        text = text.replace(entity, letter)
    text = re.sub(r"\s", "", re.sub(r"<[^>]+>", "", unescape(text)))
    assert "W:=RW" in text
    assert "Δ=RKT(λC+KKT)-1=R(λI+KTC-1K)-1KTC-1" in text


def test_the_readme_is_short():
    assert len(README.read_text().splitlines()) < 120


def prepare_demo(folder):
    """What `make demo` leaves of a model that the example of the stages reads, of a tiny model."""
    tiny.save(folder / "tiny")
    model = folder / "results" / "models" / "smollm2-135m"
    manifest = sources.obtain({"local": str(folder / "tiny")}, model / "weights")
    files.write_json(model / "manifest.json", manifest)
    lm = loading.load(model / "manifest.json", "cpu")
    options = {
        "source": "sampled", "seed": 0, "tokens": 600, "heldout": 16, "window": 16, "shards": 1,
    }  # fmt: skip
    windows = model / "corpus" / "sampled" / "windows0.h5"
    corpus.write_part(windows, lm, options, "windows0")
    moments = windows.parent / "layers1-2" / "moments.h5"
    second_moments.write_shard(moments, lm, windows, [1, 2], False, "float32", (0, 1))


def examples_of(page):
    return re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*_):
        raise AssertionError("the example used the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def prepare_named_model(folder):
    """A tiny model under the name of the packaged one: files in config/models/ of the working
    directory replace those of the package."""
    tiny.save(folder / "tiny")
    entry = {"layers": [1, 2], "lambda": 0.05, "learning_rate": 0.2, "steps": 2}
    methods = {name: {"method": name, **entry} for name in ("mose", "memit")}
    path = folder / "config" / "models" / "smollm2-135m.yaml"
    path.parent.mkdir(parents=True)
    source = {"local": str(folder / "tiny")}
    path.write_text(yaml.safe_dump({"source": source, "methods": methods}))


@pytest.mark.parametrize("page", [README, LIBRARY], ids=lambda page: page.name)
def test_the_examples_of_the_editor_run(page, tmp_path, monkeypatch, capsys, no_network):
    examples = [text for text in examples_of(page) if "results/models" not in text]
    assert examples
    prepare_named_model(tmp_path)
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "__main__"}
    for text in examples:
        exec(compile(text, str(page), "exec"), names)
    assert (tmp_path / "edited" / "config.json").is_file()
    assert names["editor"].origin.name
    # What a terminal would show.
    assert (page == README) == bool(capsys.readouterr().out.strip())


def test_the_example_of_the_stages_runs(tmp_path, monkeypatch, capsys, no_network):
    (example,) = [text for text in examples_of(LIBRARY) if "results/models" in text]
    # A tiny model has four layers, and two steps are enough for it.
    for text, smaller in (("[4, 5, 6, 7, 8]", "[1, 2]"), ('"steps": 20', '"steps": 2')):
        assert text in example
        example = example.replace(text, smaller)
    prepare_demo(tmp_path)
    monkeypatch.chdir(tmp_path)
    exec(compile(example, str(LIBRARY), "exec"), {"__name__": "__main__"})
    assert capsys.readouterr().out.strip()


def test_the_commands_of_the_library_s_page_exist():
    page = LIBRARY.read_text()
    (shell,) = re.findall(r"^```sh\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    command = typer.main.get_command(app)
    for line in shell.splitlines():
        program, name, *arguments = shlex.split(line)
        assert program == "mose"
        # Click reads the line; nothing is run.
        command.commands[name].make_context(name, arguments)

"""The documentation: whole, linked, in the navigation, as the code is, and a site that needs no network."""

from __future__ import annotations

import ast
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import nas_budget
import nas_budget.optuna
import nas_budget.search
from tests.conftest import Run, script

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
EXPLAINING = [
    page
    for page in (ROOT / "README.md", *PAGES)
    if page.parent.name != "reference" and page.stem not in ("architecture", "glossary")
]
AMBIGUOUS = {"Cost", "Family", "Scheduler"}
"""Terms of the glossary that are ordinary words as well, in most places."""
LINK = re.compile(r"\]\(([^)\s]+)\)")
SHOWN = re.compile(r"^::: (\S+)$", re.MULTILINE)
FOUND_BY = {
    "Pareto": "search.html",
    "resume": "how-to/resuming.html",
    "ImageFolder": "how-to/own-images.html",
    "custom model": "how-to/custom-model.html",
    "latency": "budgets.html",
    "quantization": "exporting.html",
    "Optuna": "how-to/optuna.html",
    "Colab": "how-to/colab-and-kaggle.html",
    "Kaggle": "how-to/colab-and-kaggle.html",
    "FAQ": "faq.html",
    "RAM": "faq.html",
    "Python API": "reference/api.html",
    "hyperparameter": "search.html",
    "pretrained": "faq.html",
    "Jupyter": "notebook.html",
    "Windows": "faq.html",
    "macOS": "faq.html",
    "validation": "glossary.html",
    "out of memory": "troubleshooting.html",
    "disk full": "troubleshooting.html",
    "WinError": "troubleshooting.html",
    "CUDA is not available": "troubleshooting.html",
}
"""What people search for, and the page that answers it."""
N_HITS = 3


def plain(page: Path) -> str:
    """Its text without blocks of code."""
    return re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """What its headings are called in an address."""
    headings = re.findall(r"^#+ (.*)$", plain(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def pages_of(entries: Any) -> Iterator[str]:
    """The files of a navigation."""
    for entry in entries:
        for value in entry.values():
            yield from [value] if isinstance(value, str) else pages_of(value)


def test_the_navigation_has_every_page_once() -> None:
    nav = tomllib.loads((ROOT / "zensical.toml").read_text())["project"]["nav"]
    assert sorted(pages_of(nav)) == sorted(page.relative_to(DOCS).as_posix() for page in PAGES)


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda p: p.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(plain(page)):
        if "://" in link:
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), link
        assert target.is_relative_to(DOCS) or page.name == "README.md", f"{link}: not part of the site"
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", EXPLAINING, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_terms_are_linked_to_the_glossary(page: Path) -> None:
    text = page.read_text()
    prose = re.sub(r"^[#|].*$|`[^`]*`|!?\[[^]]*\]\([^)]*\)|\*\*[^*]*\*\*", "", plain(page), flags=re.MULTILINE)
    for term in re.findall(r"^## (.*)$", (DOCS / "glossary.md").read_text(), re.MULTILINE):
        if term not in AMBIGUOUS and re.search(rf"(?<![\w/.-]){re.escape(term)}(?![\w/-])", prose, re.IGNORECASE):
            assert f"glossary.md#{term.lower().replace(' ', '-')})" in text, term


def test_the_reference_of_commands_is_what_the_commands_say() -> None:
    generate = script(DOCS / "generate.py")
    assert generate.PAGE.read_text() == generate.commands(), "renew it: python docs/generate.py"


def test_the_tables_of_results_are_what_lies_under_the_results() -> None:
    results = script(DOCS / "results.py")
    assert results.PAGE.read_text() == results.filled(results.PAGE.read_text()), "renew them: python docs/results.py"


def test_every_public_name_has_its_place_in_the_reference() -> None:
    text = "\n".join(page.read_text() for page in (DOCS / "reference").glob("api*.md"))
    modules = nas_budget, nas_budget.search, nas_budget.optuna
    public = {f"{module.__name__}.{name}" for module in modules for name in module.__all__}
    shown = SHOWN.findall(text)
    assert public <= {*shown}
    assert len(shown) == len({*shown})
    for name in shown:
        module, _, attribute = name.rpartition(".")
        assert getattr(import_module(module), attribute).__doc__, name


def templates() -> Iterator[re.Pattern[str]]:
    """The texts of the package that are long enough to be a message; any value may stand where one is put in."""
    for file in (ROOT / "nas_budget").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            parts = node.values if isinstance(node, ast.JoinedStr) else [node]
            texts = [p.value if isinstance(p, ast.Constant) and isinstance(p.value, str) else "" for p in parts]
            if len("".join(texts)) >= 20:
                yield re.compile(".*".join(re.escape(text) for text in texts if text))


def test_messages_of_troubleshooting_are_those_of_the_code() -> None:
    text = (DOCS / "troubleshooting.md").read_text()
    quoted = re.findall(r"^```text\n(.*)\n```$", text, re.MULTILINE)
    known = [*templates()]
    assert len(quoted) >= 12
    for message in quoted:
        covered = max((m.end() - m.start() for pattern in known if (m := pattern.search(message))), default=0)
        assert covered >= 0.5 * len(message.removeprefix("error: ")), message


@pytest.mark.slow
def test_outputs_in_the_reference_are_what_the_commands_print(tmp_path: Path) -> None:
    examples = script(DOCS / "examples.py")
    for name, text in examples.outputs(examples.SAME_EVERYWHERE, tmp_path):
        assert (examples.OUTPUTS / f"{name}.txt").read_text() == text, "renew them: python docs/examples.py"


def test_every_command_has_an_output_in_the_reference() -> None:
    examples = script(DOCS / "examples.py")
    written = {path.stem for path in examples.OUTPUTS.glob("*.txt")}
    commands = {*re.findall(r"^## nas-budget (\w+)$", (DOCS / "reference" / "commands.md").read_text(), re.MULTILINE)}
    assert written == commands == {*examples.EXAMPLES}


def section(page: Path, title: str) -> str:
    """What stands under a heading, up to the next one of its level."""
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", page.read_text(), re.MULTILINE | re.DOTALL)
    assert found, f"{page}: {title}"
    return found[1]


@pytest.mark.slow
def test_the_landing_page_leads_to_a_result_in_a_minute(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index, minute = DOCS / "index.md", section(DOCS / "index.md", "In one minute")
    assert re.search(r"^!\[[^\]]+\]\(images/[^)]+\)$", index.read_text().partition("\n## ")[0], re.MULTILINE)
    assert "pip install -c constraints.txt ." in minute
    monkeypatch.chdir(tmp_path)
    (command,) = re.findall(r"^nas-budget (search .*)$", minute, re.MULTILINE)
    ran = run(*shlex.split(command))
    assert ran.code == 0, ran.err
    assert "best: " in ran.out
    (page,) = re.findall(r"the page `([^`]+)`", minute)
    assert (tmp_path / page).exists()


@pytest.mark.parametrize(
    ("page", "title", "said"),
    [
        ("index.md", "Who it is for", ["competition", "devices"]),
        ("index.md", "What it is not", ["neural architecture search", "pretrained", "Windows", "macOS"]),
        (
            "how-to/competition.md",
            "As a group",
            ["Kaggle", "digest", "`nas-budget train --study runs/contest --seed 1"],
        ),
        ("faq.md", "Does it run on Windows or macOS?", ["not tested"]),
    ],
)
def test_what_people_ask_first_is_answered(page: str, title: str, said: list[str]) -> None:
    text = section(DOCS / page, title)
    assert [words for words in said if words not in text] == []


def test_figures_of_the_tutorial_that_can_differ_say_by_how_much() -> None:
    page = DOCS / "tutorial.md"
    before = page.read_text().partition("\n## ")[0].replace("\n", " ")
    for said in (
        r"validation\S* images by up to \w+ points",
        r"standard deviation of [\d.]+ to [\d.]+ points",
        r"by a factor of",
    ):
        assert re.search(said, before), said
    shown = "\n".join(re.findall(r"^```console\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL))
    of_images = re.compile(
        r"^.*\d%.* (?:validation|test) images.*$|^(?:test accuracy|accuracy on|\.\.\. mean).*$", re.MULTILINE
    )
    lines = of_images.findall(shown)
    assert len(lines) >= 8
    assert [line for line in lines if "±" not in line] == []


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built beside a copy of what it is made of."""
    folder = tmp_path_factory.mktemp("site")
    shutil.copy(ROOT / "zensical.toml", folder)
    for name in "docs", "nas_budget":
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    command = [str(Path(sys.executable).with_name("zensical")), "build", "--strict"]
    built = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    assert built.returncode == 0, built.stdout + built.stderr
    return folder / "site"


def test_the_site_is_built_without_a_warning_and_asks_for_nothing_elsewhere(site: Path) -> None:
    assert len(list(site.rglob("*.html"))) == len(PAGES) + 1  # and that of what is not found
    for page in site.rglob("*.html"):
        assert not re.findall(r'<(?:script|img|iframe)[^>]+src="(?:https?:)?//[^"]*"', page.read_text())
        assert not re.findall(r'<link[^>]+rel="(?:stylesheet|preconnect)"[^>]+//[^>]*>', page.read_text())


@pytest.mark.browser
def test_the_site_works_from_disk_and_its_search_shows_the_right_page_early(site: Path, browser: Any) -> None:
    window, trouble, missed = browser.new_page(viewport={"width": 390, "height": 900}), [], {}
    window.on("pageerror", lambda error: trouble.append(str(error)))
    window.on("request", lambda asked: trouble.append(asked.url) if asked.url.startswith("http") else None)
    window.goto((site / "tutorial.html").as_uri())
    assert window.evaluate("document.documentElement.scrollWidth") <= 390
    window.set_viewport_size({"width": 1280, "height": 900})
    window.get_by_role("button", name="Search").first.click()
    for words, page in FOUND_BY.items():
        window.get_by_role("combobox", name="Search").fill(words)
        hits = window.locator(f"[role=option][href*='?h={words.replace(' ', '+')}']")  # a hit carries what was searched
        hits.first.wait_for(timeout=60_000)
        found = [hit.get_attribute("href").partition("?")[0] for hit in hits.all()[:N_HITS]]
        if (site / page).as_uri() not in found:
            missed[words] = found
    assert missed == {}
    window.get_by_role("combobox", name="Search").fill("")
    window.keyboard.type("quantization", delay=50)
    window.locator("[role=option][href*='?h=quantization']").first.wait_for(timeout=60_000)
    window.keyboard.press("Enter")
    window.wait_for_url("**/exporting.html*", timeout=60_000)
    assert trouble == []

"""Take the pictures of pages that documents show: those under docs/images/, and `page.png` beside each result.

    python docs/screenshots.py             # all of them
    python docs/screenshots.py FOLDER...   # only page.png in these folders of studies or trainings

Needs Chromium and playwright (`pip install --group dev`). The images of a training's mistakes are read from its data
set, where that is on disk.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from playwright.sync_api import sync_playwright

from nas_budget.errors import DataError
from nas_budget.records.paths import MISTAKES
from nas_budget.records.run_folder import RUN, kind_of
from nas_budget.records.training_run import read_result
from nas_budget.train.data.image_files import write_row
from nas_budget.train.data.open import open_dataset

ROOT = Path(__file__).parents[1]
RESULTS, IMAGES = ROOT / "studies" / "results", ROOT / "docs" / "images"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
WIDTH, HEIGHT = 1280, 1500
WHOLE = None
PICTURES: dict[str, tuple[Path, int | str | None]] = {
    "auto-5M": (RESULTS / "auto-5M", HEIGHT),
    "report": (RESULTS / "cifar10-150k", HEIGHT),
    "report-whole": (RESULTS / "cifar10-150k", WHOLE),
    "run": (RESULTS / "laptop-5m-best-90m", 1010),
    "run-whole": (RESULTS / "cifar10-150k-best-fast", WHOLE),
    "mistakes": (RESULTS / "cifar10-150k-best-fast", "section:has(.thumbnails)"),
    "space": (ROOT / "studies" / "cifar10-150k.toml", 1340),
}
"""Of each picture of the documents: a study, a training or a study file, and how many pixels from the top, or what."""


def write_page(source: Path, place: Path) -> str:
    """The address of a page of a study, a training, or the space of a study file; its commands name a folder runs/."""
    page, words = place / "page.html", ["explore", str(source)]
    if source.is_dir():
        words = ["report", f"runs/{source.name}"]
        copied = Path(shutil.copytree(source, place / "runs" / source.name))
        if kind_of(copied) == RUN:
            add_mistakes(copied)
    command = [sys.executable, "-m", "nas_budget", *words, "--quiet", "--output", str(page)]
    subprocess.run(command, check=True, cwd=place, stdout=subprocess.DEVNULL)
    return page.as_uri()


def add_mistakes(folder: Path) -> None:
    """Put the images that a training misclassified beside its result, as the training did where it ran."""
    result = read_result(folder)
    try:
        dataset = open_dataset(result.data)
    except DataError:
        return
    if dataset.digest == result.data_digest:
        images, _ = dataset.read("test")
        write_row(folder / MISTAKES, images[[mistake["index"] for mistake in result.mistakes]])


def take(browser: Any, source: Path, path: Path, what: int | str | None) -> None:
    """Draw a page, or a part of it, as a PNG file."""
    with TemporaryDirectory() as place:
        window = browser.new_page(viewport={"width": WIDTH, "height": what if isinstance(what, int) else HEIGHT})
        window.goto(write_page(source, Path(place)), timeout=120_000)
        for figure in window.locator(".figure").all():  # each is drawn when it comes into sight
            figure.scroll_into_view_if_needed(timeout=60_000)
            figure.locator(".main-svg").first.wait_for(state="attached", timeout=120_000)
        if what is WHOLE and window.locator("#state").count():
            window.select_option("#state", "pareto")  # a table of every trial would be most of the picture
        window.evaluate("scrollTo(0, 0)")
        window.wait_for_timeout(1_000)  # for the list of sections to follow
        if isinstance(what, str):
            window.locator(what).screenshot(path=path)
        else:
            window.screenshot(path=path, full_page=what is WHOLE)
        window.close()


def main(folders: list[str]) -> None:
    """Take the pictures of some folders, or all."""
    chromium = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if chromium is None:
        raise SystemExit("no Chromium: the page is not drawn")
    drawn = [Path(folder) for folder in folders] or sorted(path.parent for path in RESULTS.glob("*/page.png"))
    with sync_playwright() as started:
        flags = ["--no-sandbox", "--disable-gpu", "--enable-unsafe-swiftshader"]
        browser = started.chromium.launch(executable_path=chromium, args=flags, timeout=120_000)
        for name, (source, what) in ({} if folders else PICTURES).items():
            take(browser, source, IMAGES / f"{name}.png", what)
        for folder in drawn:
            take(browser, folder.resolve(), folder / "page.png", HEIGHT)
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1:])

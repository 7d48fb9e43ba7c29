"""Pages in headless Chromium."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from typing import Any

Open = Callable[..., Any]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
FLAGS += ["--disable-sync", "--no-first-run", "--enable-unsafe-swiftshader"]
OVERLAPS = """() => [...document.querySelectorAll('.js-plotly-plot')].filter((plot) => {
    const boxes = [...plot.querySelectorAll('.xtick text')].map((one) => one.getBoundingClientRect());
    return boxes.some((a, i) => boxes.some((b, j) => i < j && a.right > b.left + 1 && b.right > a.left + 1
        && a.bottom > b.top + 1 && b.bottom > a.top + 1));
}).map((plot) => plot.id)"""
"""The figures of whose ticks two lie over each other."""
DRIVER = "GL Driver Message"
"""A note of WebGL without a GPU, none of the page's."""


def words(html: str) -> str:
    """What a reader sees, without scripts, styles and tags."""
    seen = re.sub(r"<(script|style).*?</\1>", " ", html, flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", seen))


def json_of(html: str, name: str) -> Any:
    """What the script element of this id holds."""
    (text,) = re.findall(rf'<script type="application/json" id="{name}">(.*?)</script>', html, re.DOTALL)
    return json.loads(text)


def fetches(html: str) -> bool:
    """Whether an element of the page has a source that is not within it."""
    return bool(re.search(r"<(script|img|link|iframe)[^>]*(src|href)=[\"'](?!data:)", html))


def opened(
    browser: Any, address: str, scheme: str = "light", width: int = 1280, ready: str = "#tradeoff .scatterlayer .point"
) -> tuple[Any, list[str]]:
    """The page in a new window, and a list that fills with all that goes wrong or is asked of the network.

    Args:
        browser: To open it in.
        address: Of the page.
        scheme: "light" or "dark".
        width: Of the window in pixels.
        ready: What there is on the page once it can be used.
    """
    window, trouble = browser.new_page(color_scheme=scheme, viewport={"width": width, "height": 900}), []
    page, _, _ = address.partition("#")

    def heard(message: Any) -> None:
        if message.type != "log" and DRIVER not in message.text:
            trouble.append(message.text)

    window.on("console", heard)
    window.on("pageerror", lambda error: trouble.append(str(error)))
    window.on("dialog", lambda dialog: (trouble.append(dialog.message), dialog.dismiss()))
    window.on("request", lambda asked: trouble.append(asked.url) if not _own(asked.url, page) else None)
    window.goto(address, timeout=120_000)
    if width < 600:  # the first figure is drawn when it is near
        window.locator(".figure").first.scroll_into_view_if_needed()
    window.wait_for_selector(ready, timeout=120_000)
    return window, trouble


def _own(url: str, page: str) -> bool:
    """Whether it is the page itself, or something that it holds."""
    return url.partition("#")[0] == page or url.startswith(("data:", "blob:"))


def scroll_through(window: Any) -> None:
    """See every part of the page, so that each figure is drawn."""
    for place in window.locator(".figure").all():
        place.scroll_into_view_if_needed(timeout=60_000)
    window.wait_for_function(
        "[...document.querySelectorAll('.figure')].every((place) => place.querySelector('.main-svg'))", timeout=120_000
    )


def overlapping_ticks(window: Any) -> list[str]:
    """The figures in which ticks of a horizontal axis lie over each other."""
    found: list[str] = window.evaluate(OVERLAPS)
    return found


def goes_through_sections(window: Any) -> list[str]:
    """Go to each section by the list of them, as a reader does; their titles."""
    entries = window.locator(".sections a")
    titles: list[str] = entries.all_text_contents()
    for place, title in enumerate(titles):
        if not entries.nth(place).is_visible():  # a phone has a menu
            window.locator(".sections summary").click()
        entries.nth(place).click()
        here = entries.nth(place).get_attribute("href").removeprefix("#")
        window.wait_for_function("(here) => document.activeElement.id === here", arg=here)
        top = window.evaluate("document.activeElement.getBoundingClientRect().top")
        assert -5 <= top < 900, title
    return titles


def lies_in_its_card(window: Any, name: str) -> bool:
    """Whether the drawn figure lies within the section that holds it."""
    figure, card = (window.locator(at).first.bounding_box() for at in (f"#{name} .main-svg", f"section:has(#{name})"))
    beyond = [figure[side] + figure[size] - card[side] - card[size] for side, size in (("x", "width"), ("y", "height"))]
    return bool(card["x"] <= figure["x"] and max(beyond) <= 0)

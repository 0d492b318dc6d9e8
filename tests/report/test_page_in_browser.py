"""The report page in a real browser: on a phone, in the dark, printed, with the keyboard and for a screen reader."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from browsers import WHY_NOT, Browser, open_browser
from PIL import Image

from galaxy_exp.report.page import build_page

from .materials import STATES

pytestmark = [pytest.mark.slow, pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))]

PHONE = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
NAMED = {"image", "figure", "table", "region", "link", "navigation", "heading", "DisclosureTriangle"}
"""Roles that say nothing without a name."""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with open_browser(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@pytest.fixture(scope="module")
def opened(browser: Browser, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Browser:
    """The browser with the page of the state that the test asks for, opened once for all tests of that state."""
    folder = tmp_path_factory.mktemp("page")
    material = STATES[request.param](folder)
    drawn = io.BytesIO()
    Image.new("RGB", (8, 8), (20, 40, 60)).save(drawn, "JPEG")
    uri = f"data:image/jpeg;base64,{base64.b64encode(drawn.getvalue()).decode()}"
    path = folder / "page.html"
    mistakes = [replace(picture, uri=uri) for picture in material.mistakes]
    path.write_text(build_page(replace(material, mistakes=mistakes)), encoding="utf-8")
    browser.open(path.as_uri())
    return browser


every_state = pytest.mark.parametrize("opened", STATES, indirect=True, scope="module")
finished = pytest.mark.parametrize("opened", ["finished"], indirect=True, scope="module")


@every_state
def test_nothing_is_fetched_and_nothing_fails(opened: Browser) -> None:
    assert opened.run("return performance.getEntriesByType('resource').map(entry => entry.name)") == []
    assert opened.run("return [...document.images].filter(image => !image.naturalWidth).length") == 0
    assert opened.messages() == []


@every_state
def test_a_phone_need_not_scroll_sideways(opened: Browser) -> None:
    opened.devtools("Emulation.setDeviceMetricsOverride", **PHONE)
    try:
        width = opened.run("return [document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    finally:
        opened.devtools("Emulation.clearDeviceMetricsOverride")
    assert width[0] <= width[1] == 390


@every_state
def test_everything_has_a_name_for_a_screen_reader(opened: Browser) -> None:
    nodes: list[dict[str, Any]] = opened.devtools("Accessibility.getFullAXTree")["nodes"]
    shown = [node for node in nodes if not node["ignored"] and node["role"]["value"] in NAMED]
    assert {"link", "navigation", "heading"} <= {node["role"]["value"] for node in shown}
    assert [node["role"]["value"] for node in shown if not node.get("name", {}).get("value", "").strip()] == []


@finished
def test_the_keyboard_reaches_every_link_box_and_fold_in_order(opened: Browser) -> None:
    still = [{"name": "prefers-reduced-motion", "value": "reduce"}]
    opened.devtools("Emulation.setEmulatedMedia", features=still)
    opened.open(opened.run("return location.href"))
    expected = opened.run(
        "window.all = [...document.querySelectorAll('a[href], [tabindex], summary, button')]"
        ".filter(each => !each.parentElement.closest('details:not([open])') || each.matches('summary'));"
        "return all.length"
    )
    reached = []
    for _ in range(expected):
        opened.press("Tab")
        reached.append(opened.run("return all.indexOf(document.activeElement)"))
        box = "document.activeElement.getBoundingClientRect()"
        assert opened.run(f"return {box}.bottom > 0 && {box}.top < innerHeight && {box}.left >= 0")
    assert reached == list(range(expected))


@finished
def test_the_trials_are_sorted_by_the_column_that_is_clicked(opened: Browser) -> None:
    rows = "[...document.querySelectorAll('.trials tbody tr')]"
    column = f"return {rows}.map(row => row.cells[arguments[0]].textContent.trim())"
    click = "document.querySelectorAll('.trials thead button')[arguments[0]].click()"
    assert opened.run(column, 0)[:3] == ["11", "10", "8"]
    opened.run(click, 0)
    assert opened.run(column, 0) == [str(number) for number in range(13)]
    opened.run(click, 0)
    assert opened.run(column, 0) == [str(number) for number in reversed(range(13))]
    opened.run(click, 1)
    scores = opened.run(column, 1)
    assert scores[:-1] == sorted(scores[:-1])
    assert scores[-1] == "\N{EN DASH}"  # the failed one has no score
    opened.open(opened.run("return location.href"))


@finished
@pytest.mark.parametrize("width", [390, 1400])
def test_the_contents_stay_in_sight(opened: Browser, width: int) -> None:
    opened.devtools("Emulation.setDeviceMetricsOverride", **(PHONE | {"width": width, "mobile": width < 1000}))
    try:
        opened.run("scrollTo({top: 4000, behavior: 'instant'})")
        box = opened.run("return document.querySelector('nav').getBoundingClientRect().toJSON()")
    finally:
        opened.devtools("Emulation.clearDeviceMetricsOverride")
    assert box["top"] >= 0
    assert box["bottom"] <= 844


@finished
def test_wide_windows_are_used_and_no_tile_breaks_its_number(opened: Browser) -> None:
    opened.devtools("Emulation.setDeviceMetricsOverride", width=1400, height=900, deviceScaleFactor=1, mobile=False)
    try:
        right = opened.run(
            "return Math.max(...[...document.querySelectorAll('main figure, main .scroll')].map(each => "
            "each.getBoundingClientRect().right))"
        )
        broken = opened.run(
            "return [...document.querySelectorAll('.key dd')]"
            ".filter(each => each.scrollWidth > each.clientWidth).length"
        )
    finally:
        opened.devtools("Emulation.clearDeviceMetricsOverride")
    assert right > 1250
    assert broken == 0


@finished
def test_the_fold_opens_with_the_keyboard(opened: Browser) -> None:
    opened.run("document.querySelector('summary').focus()")
    opened.press("Enter")
    assert opened.run("return document.querySelector('details').open")


@finished
def test_it_follows_the_system_into_the_dark_and_is_light_on_paper(opened: Browser) -> None:
    def brightness(media: str, scheme: str) -> float:
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        opened.devtools("Emulation.setEmulatedMedia", media=media, features=features)
        colour: str = opened.run("return getComputedStyle(document.body).backgroundColor")
        return sum(map(float, colour.removeprefix("rgb(").removesuffix(")").split(",")))

    try:
        assert brightness("screen", "light") > 600
        assert brightness("screen", "dark") < 150
        assert brightness("print", "dark") > 600
        assert opened.run("return getComputedStyle(document.querySelector('nav')).display") == "none"
    finally:
        opened.devtools("Emulation.setEmulatedMedia")

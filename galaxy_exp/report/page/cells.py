"""Cells of the page's tables that hold more than a text."""

from __future__ import annotations

from galaxy_exp.report.page.html import Html, element
from galaxy_exp.report.page.material import Gain
from galaxy_exp.report.page.words import signed

__all__ = ["gain_cell"]


def gain_cell(gain: Gain) -> Html:
    """A gain, and its interval below."""
    interval = element("small", f"{signed(gain.low)} to {signed(gain.high)}")
    return element("td", element("span", signed(gain.difference)), interval, class_="number")

"""The report page with the keyboard, for screen readers, and in both colour schemes."""

import pytest
from helpers import browser
from helpers.report_sample import HOSTILE
from selenium.webdriver.common.keys import Keys

from .test_browser import AUDIO, OPENED

CONTROLS = (
    "button",
    "link",
    "combobox",
    "checkbox",
    "slider",
    "searchbox",
    "region",
    "navigation",
    "img",
    "image",
    "article",
    "progressbar",
)


def test_everything_with_the_keyboard(chromium, page):
    chromium.open(page)
    chromium.tab_to("node.textContent === 'Skip to the results'", 1)
    chromium.tab_to("node.id === 'theme'", 1)
    chromium.tab_to("node.closest('#results thead') && node.textContent === 'WER %'")
    assert chromium.run("return getComputedStyle(document.activeElement).outlineStyle") == "solid"
    chromium.press(Keys.ENTER)
    assert chromium.find("#results [aria-sort]").get_attribute("aria-sort") == "descending"
    chromium.press(Keys.SPACE)
    assert chromium.find("#results [aria-sort]").get_attribute("aria-sort") == "ascending"
    chromium.tab_to("node.closest('#utterances tbody')")
    opened = chromium.run("return document.activeElement.textContent")
    chromium.press(Keys.ENTER)
    assert (
        chromium.wait("return document.activeElement.matches('.utterance h3') && document.activeElement.textContent")
        == opened
    )
    chromium.tab_to("node.matches('.pair')", 10)
    chromium.press(Keys.SPACE)
    chromium.wait(AUDIO + "return !audio.paused")
    chromium.tab_to("node.matches('.position')")
    before = chromium.run("return document.activeElement.value")
    chromium.press(Keys.END)
    assert chromium.wait("return document.activeElement.value") > before
    chromium.tab_to("node.matches('.time-box')")
    width = chromium.run("return document.querySelector('.wide').clientWidth")
    chromium.press("+")
    assert chromium.run("return document.querySelector('.wide').clientWidth") > width
    chromium.press(Keys.ESCAPE)
    assert (
        chromium.wait(
            "return document.activeElement.matches('#utterances tbody a') && document.activeElement.textContent"
        )
        == opened
    )
    assert not chromium.all(".utterance")


def test_roles_and_names(chromium, page):
    chromium.open(page, OPENED)
    chromium.wait("return document.querySelector('.aligned')")
    named = chromium.named()
    assert [len(named[role]) for role in ("banner", "main", "status")] == [1, 1, 1]
    assert "Contents" in named["navigation"] and "Word error rates" in named["region"]
    assert [(role, name) for role in CONTROLS for name in named.get(role, ()) if not name.strip()] == []
    assert all(named.get(role) for role in ("button", "link", "combobox", "checkbox", "slider", "searchbox"))
    words = [name.replace(" ,", ",") for name in named["button"]]
    assert any(name.startswith("CAT, correct, at 0.10 seconds, confidence") for name in words)
    assert any(name.startswith(f"{HOSTILE} recognized as IMAGE, substitution, at 1.45") for name in words)
    assert len(named["columnheader"]) > 40 and len(named["rowheader"]) > 40


def test_structure(chromium, page):
    chromium.open(page, OPENED)
    chromium.wait("return document.querySelector('.aligned')")
    assert chromium.run("return document.documentElement.lang") == "en"
    ids = chromium.run("return [...document.querySelectorAll('[id]')].map((n) => n.id)")
    assert len(ids) > 20 and len(ids) == len(set(ids))
    levels = [
        int(x[1])
        for x in chromium.run(
            "return [...document.querySelectorAll('h1, h2, h3')].filter((n) => n.checkVisibility())"
            ".map((n) => n.localName)"
        )
    ]
    assert levels[0] == 1 and levels.count(1) == 1 and all(b <= a + 1 for a, b in zip(levels, levels[1:], strict=False))
    assert all(
        chromium.run("return [...document.querySelectorAll('table:not(.u-legend)')].map((t) => Boolean(t.caption))")
    )
    assert chromium.run(
        "return [...document.querySelectorAll('#contents a')].every((a) => document.querySelector(a.hash))"
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("utt", ["utt-0000", "utt-0003"])
def test_contrast(chromium, page, scheme, utt):
    chromium.open(page, OPENED.replace("utt-0000", utt), scheme=scheme)
    chromium.wait("return document.querySelector('.aligned')")
    contrasts = chromium.run(browser.CONTRASTS)
    assert len(contrasts) > 500
    assert min(contrasts)[0] >= 4.5, min(contrasts)


def test_errors_are_marked_not_only_by_colour(chromium, page):
    chromium.open(page, OPENED)
    chromium.wait("return document.querySelector('.pair.S')")
    style = "return getComputedStyle(document.querySelector(arguments[0])).textDecorationLine"
    assert chromium.find(".pair.S .op").text == "S" and chromium.run(style, ".pair.S .hyp") == "underline"
    assert chromium.run(style, ".pair.C .hyp") == "none"


def test_the_button_changes_the_colours(chromium, page):
    ground = "return getComputedStyle(document.documentElement).backgroundColor"
    chromium.open(page)
    light = chromium.run(ground)
    chromium.click("#theme")
    assert chromium.run(ground) != light and chromium.find("#theme").text == "Light colours"
    chromium.open(page)  # it is remembered
    assert chromium.run(ground) != light
    chromium.click("#theme")
    assert chromium.run(ground) == light


@pytest.mark.parametrize(("motion", "behavior"), [("reduce", "auto"), ("no-preference", "smooth")])
def test_motion_only_where_it_is_wanted(chromium, page, motion, behavior):
    chromium.open(page, motion=motion)
    assert chromium.run("return getComputedStyle(document.documentElement).scrollBehavior") == behavior


def test_a_telephone_shows_everything(chromium, page):
    chromium.open(page, OPENED.replace("utt-0000", "utt-0003"), width=390)
    chromium.wait("return document.querySelector('.aligned')")
    # nothing but what lies in a box that scrolls reaches beyond the screen
    outside = chromium.run(
        "return [...document.querySelectorAll('main *, header *')].filter((n) => n.checkVisibility() && "
        "!n.closest('.box, .time-box, #contents, .unseen, .swatches') && n.getBoundingClientRect().right > 391)"
        ".map((n) => n.outerHTML.slice(0, 80))"
    )
    assert outside == []
    small = chromium.run(
        "return [...document.querySelectorAll('button, select')].filter((n) => n.checkVisibility() && "
        "n.getBoundingClientRect().height < 24).map((n) => n.outerHTML.slice(0, 80))"
    )
    assert small == []  # WCAG 2.2, target size

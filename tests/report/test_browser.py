"""The report page in headless Chromium: tables, curves, errors, utterances and their sound."""

from urllib.parse import quote, unquote

import pytest
from helpers import browser, report_sample
from helpers.report_sample import HOSTILE, SYSTEMS

from lstmp.report import make_report
from lstmp.shards import shard_name, write_shard

OPENED = f"#system={quote(SYSTEMS[1], safe='')}&lm=tg&set=test&utt=utt-0000"
AUDIO = "const audio = document.querySelector('#utterances audio'); "


def column(chromium, section: str, number: int) -> list[str]:
    """The texts of a column of the first table of a section."""
    return chromium.run(
        "return [...document.querySelector(arguments[0] + ' table').tBodies[0].rows]"
        ".map((row) => row.cells[arguments[1]].textContent)",
        section,
        number,
    )


def key(text: str) -> float | str:
    """What a cell is sorted by: its last number, such as the upper end of an interval, or its text."""
    last = text.replace(",", "").split("–")[-1]
    return float(last) if last.replace(".", "").isdigit() else text


@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (390, "dark")])
@pytest.mark.parametrize("place", ["", OPENED])
def test_no_error_and_nothing_from_outside(chromium, page, width, scheme, place):
    chromium.open(page, place, width, scheme)
    chromium.wait("return document.querySelectorAll('#utterances tbody tr').length == 25")
    if place:
        chromium.wait("const image = document.querySelector('.spectrogram'); return image && image.naturalWidth > 0")
    asked = chromium.requests()
    assert len(asked) > 20 and not [url for url in asked if browser.is_remote(url)]
    assert chromium.console() == []
    assert chromium.run("return document.documentElement.scrollWidth") <= width  # nothing sticks out


SHOWN = "return [...document.querySelectorAll('main section')].filter((s) => s.checkVisibility()).map((s) => s.id)"


def test_every_part_is_shown(chromium, page):
    chromium.open(page)
    assert chromium.wait(SHOWN) == ["results", "comparison", "curves", "errors", "calibration", "utterances",
                                    "suspicious", "stages", "configuration", "commands"]
    assert chromium.texts("#contents a") == chromium.texts("main section:not([hidden]) h2")
    wide = "return [...document.querySelectorAll('.box')].filter((n) => n.scrollWidth > n.clientWidth)"
    assert chromium.run(wide + ".map((n) => n.ariaLabel)") == []  # no scroll bars where there is room
    assert column(chromium, "#comparison", 9) == ["B is better", "no difference shown", "B is better"]
    assert column(chromium, "#stages", 2)[0] == "20 s"


def test_the_report_of_an_experiment(chromium, experiment):
    make_report.main([str(experiment / "exp"), "--nj", "2"])
    chromium.open(experiment / "exp" / "report" / "index.html")
    chromium.wait("return document.querySelectorAll('#utterances tbody tr').length > 2")
    assert chromium.wait(SHOWN) == ["results", "comparison", "curves", "errors", "calibration", "utterances",
                                    "configuration", "commands"]
    chromium.click("#utterances tbody a")
    for name in ("phones", "states"):
        chromium.wait("return document.querySelector(arguments[0])", f".track.{name} .cell")
    chromium.wait("return document.querySelector('.spectrogram').naturalWidth > 0")
    chromium.click(".pair:nth-child(2)")
    chromium.wait(AUDIO + "return !audio.paused && audio.currentTime > 0")
    chromium.click(".play")
    assert chromium.console() == []


def test_the_policy_stops_what_comes_from_outside(chromium, page):
    chromium.open(page)
    chromium.run("document.body.append(Object.assign(new Image(), {src: 'https://example.invalid/a.png'}))")
    chromium.wait("return document.body.lastChild.complete")
    assert any("Content Security Policy" in line for line in chromium.console())


def test_error_rates_are_sorted_by_every_column(chromium, page):
    chromium.open(page)
    heads = chromium.all("#results thead button")
    assert len(heads) == 13
    for i, head in enumerate(heads):
        seen = {}
        for _ in range(2):
            head.click()
            direction = chromium.run("return arguments[0].parentNode.ariaSort", head)
            seen[direction] = [key(text) for text in column(chromium, "#results", i)]
        assert seen["ascending"] == sorted(seen["ascending"]) == seen["descending"][::-1], i
        assert len(chromium.all("#results [aria-sort]")) == 1
    assert len({key(text) for text in column(chromium, "#results", 3)}) == 4
    assert chromium.find("#said").get_attribute("textContent") == "Sorted by seed, ascending"


def test_error_rates_are_filtered(chromium, page):
    chromium.open(page)
    assert len(column(chromium, "#results", 0)) == 4
    chromium.click("#results select option[value='test']")
    assert column(chromium, "#results", 2) == ["test", "test"]


def test_comparisons_are_filtered(chromium, page):
    chromium.open(page)
    chromium.click("#comparison option[value='dev']")
    assert column(chromium, "#comparison", 2) == ["tg"]
    chromium.click("#comparison label:last-child option[value='']")
    assert column(chromium, "#comparison", 2) == ["tg", "tg", "tg, big"]


def test_a_system_leads_to_its_errors(chromium, page):
    chromium.open(page)
    assert [s.get_attribute("value") for s in chromium.all("#choice select")] == [SYSTEMS[1], "tg", "test"]
    chromium.click("#results tbody a")
    chromium.wait("return document.querySelector('#choice select').value == 'tri1'")
    chromium.wait("return document.querySelector('#utterances caption').textContent.includes('dev, by tri1')")
    assert chromium.wait("return document.activeElement.textContent") == "Errors"


def test_curves_by_minutes_and_without_a_system(chromium, page):
    chromium.open(page)
    assert len(chromium.all("#curves canvas")) == 3
    assert chromium.texts(".plot:first-child .u-label") == [
        "epoch",
        "lstmp, held-out",
        "lstmp, training",
        "wide, held-out",
        "wide, training",
    ]
    chromium.click("#curves option[value='minutes']")
    chromium.click("#curves input[type='checkbox']")
    assert chromium.texts(".plot:first-child .u-label") == ["minutes", "wide, held-out", "wide, training"]
    assert len(chromium.all("#curves details tbody tr")) == 12 + 9


def test_errors_and_confidences(chromium, page):
    chromium.open(page)
    captions = chromium.texts("#errors caption")
    assert captions[:3] == ["Substitutions", "Deletions", "Insertions"] and len(captions) == 7
    assert report_sample.SPEAKER in chromium.run(
        "document.querySelectorAll('#errors thead button')[7].click();"
        "return document.querySelector('#errors .two').textContent"
    )
    assert len(chromium.all(".reliability circle")) == 10


def test_errors_that_are_loaded_late_do_not_replace_those_of_the_choice(chromium, page):
    chromium.open(page)
    chromium.wait("return document.querySelector('#errors strong')")
    before = chromium.texts("#errors p")
    slow = shard_name("errors", SYSTEMS[0], "tg", "dev")
    chromium.run("""
        const [slow, system, other] = arguments, load = lstmpReport.load;
        lstmpReport.load = (name) => name === slow
            ? new Promise((resolve) => { window.release = () => load(name).then(resolve); }) : load(name);
        window.shown = [lstmpReport.showErrors({ system, lm: "tg", set: "dev" }),
                        lstmpReport.showErrors({ system: other, lm: "tg", set: "test" })];
        window.release();
        Promise.all(window.shown).then(() => { window.both = true; });""", slow, *SYSTEMS)
    chromium.wait("return window.both")
    assert chromium.texts("#errors p") == before


def test_hostile_words_stay_words(chromium, page):
    chromium.open(page, OPENED)
    chromium.wait("return document.querySelector('.aligned')")
    assert HOSTILE in chromium.texts(".aligned .ref")
    assert "<b>" in chromium.find("h1").text
    assert not chromium.all("img[src='x']") and chromium.run("return window.harmed === undefined")


def test_opening_an_utterance_loads_its_shard_only(chromium, page):
    chromium.open(page)
    chromium.wait("return document.querySelectorAll('#utterances tbody tr').length == 25")
    chromium.requests()
    chromium.click("#utterances tbody a")
    chromium.wait("return document.querySelector('.aligned')")
    asked = [unquote(unquote(url)) for url in chromium.requests()]
    shard = int(chromium.find(".utterance h3").text[-4:]) // report_sample.PER_SHARD
    of = f"{SYSTEMS[1]}/tg/test/{shard}.js"
    assert [url.split("/data/")[1] for url in asked if "/data/" in url] == [
        f"words/{of}",
        f"sound/test/{shard}.js",
        f"states/{of}",
    ]


def test_a_word_plays_from_its_beginning(chromium, page):
    chromium.open(page, OPENED)
    chromium.wait("return document.querySelector('.aligned')")
    chromium.run(AUDIO + "audio.addEventListener('play', () => { window.began = audio.currentTime; }, {once: true})")
    chromium.click(".pair:nth-child(4)")  # at 1.45 s, in a file in which the utterance begins at 0.5 s
    assert chromium.wait("return window.began") == pytest.approx(1.95, abs=0.2)
    chromium.wait(AUDIO + "return !audio.paused && audio.currentTime > 1.96")
    chromium.wait("return parseFloat(document.querySelector('.cursor').style.left) > 36")
    assert chromium.find(".play").text == "Pause"
    chromium.click(".play")
    assert chromium.wait(AUDIO + "return audio.paused")
    chromium.click(".player input[type='checkbox']")
    chromium.click(".pair:nth-child(4)")
    chromium.wait(AUDIO + "return !audio.paused || audio.currentTime > 2.3")
    chromium.wait(AUDIO + "return audio.paused")  # one word only
    assert chromium.run(AUDIO + "return audio.currentTime") < 4.4
    assert chromium.run(AUDIO + "return audio.error") is None


def test_words_phones_and_states_lie_on_one_axis(chromium, page):
    chromium.open(page, OPENED)
    chromium.wait("return document.querySelector('.track.states .cell')")
    left = {
        name: chromium.run(
            "return document.querySelector(arguments[0]).getBoundingClientRect().left", f".track.{name} .cell"
        )
        for name in ("words", "phones", "states")
    }
    assert max(left.values()) - min(left.values()) < 1
    width = "return document.querySelector('.wide').clientWidth"
    before = chromium.run(width)
    chromium.click("button[aria-label='Zoom in']")
    assert chromium.run(width) == pytest.approx(1.5 * before, abs=2)
    box = chromium.find(".wide")
    chromium.run("arguments[0].parentNode.scrollLeft = 0; arguments[0].scrollIntoView({block: 'center'})", box)
    chromium.run(
        "const box = arguments[0].getBoundingClientRect(); arguments[0].dispatchEvent(new MouseEvent('click', "
        "{clientX: box.left + box.width / 2, clientY: box.top + 9, bubbles: true}))",
        box,
    )
    assert chromium.wait(AUDIO + "return !audio.paused && audio.currentTime") >= 2.49


@pytest.mark.parametrize(("utt", "direction"), [("utt-0000", "ltr"), ("utt-0003", "rtl")])
def test_words_run_as_their_script_does(chromium, page, utt, direction):
    chromium.open(page, OPENED.replace("utt-0000", utt))
    assert chromium.wait("const words = document.querySelector('.aligned'); return words && words.dir") == direction


def test_a_thousand_utterances_page_by_page(chromium, page):
    chromium.open(page)
    chromium.wait("return document.querySelectorAll('#utterances tbody tr').length == 25")
    errors = [int(x) for x in column(chromium, "#utterances", 4)]
    assert errors == sorted(errors, reverse=True) and errors[0] > 3
    assert chromium.find("#utterances .pager span").text == "1–25 of 1,000"
    chromium.click("#utterances .pager button:last-child")
    assert chromium.find("#utterances .pager span").text == "26–50 of 1,000"
    chromium.find("#utterances input[type='search']").send_keys("0777")
    assert column(chromium, "#utterances", 0) == ["utt-0777"]


def test_an_address_with_an_unknown_utterance(chromium, page):
    chromium.open(page, OPENED + "9")
    assert (
        chromium.wait("const n = document.querySelector('#utterances [role=alert]'); return n && n.textContent")
        == "There is no utterance utt-00009 in this list."
    )


def test_suspicious_utterances(chromium, page):
    chromium.open(page)
    chromium.click("#suspicious tbody a")
    chromium.wait("return document.querySelector('#suspicious .aligned')")
    assert "words without audio" in chromium.find("#suspicious .utterance .muted").text
    assert "suspicious=utt-0000" in chromium.driver.current_url


def test_configuration_only_changed(chromium, page):
    chromium.open(page)
    assert len(column(chromium, "#configuration", 0)) == 15
    chromium.click("#configuration input[type='checkbox']")
    chromium.find("#configuration input[type='search']").send_keys("key_5")
    assert column(chromium, "#configuration", 1) == ["key_5", *(f"key_{n}" for n in range(50, 60))]
    assert len(chromium.all("#configuration tr.changed")) == 2  # 52 and 56


def test_commands_are_copied(chromium, page):
    chromium.open(page)
    chromium.click(".command button")
    chromium.wait("return document.getElementById('said').textContent == 'Copied'")


def test_a_run_is_followed(chromium, tmp_path):
    running = report_sample.write(tmp_path, running=True)
    faster = chromium.tell(
        "Page.addScriptToEvaluateOnNewDocument",
        source="const every = setInterval; window.setInterval = (f, time) => every(f, time / 100)",
    )["identifier"]
    chromium.open(running)
    assert len(chromium.all("#progress .stage.done")) == 7 and not chromium.all("#chosen:not([hidden])")
    assert "About 13 min left" in chromium.find("#progress").text
    assert "No system has been scored yet" in chromium.find("#results").text
    write_shard(running.parent, "progress", report_sample.progress(finished=True))
    chromium.wait("return document.querySelectorAll('#progress .stage.done').length == 11")
    assert "Finished." in chromium.find("#progress").text and chromium.console() == []
    chromium.tell("Page.removeScriptToEvaluateOnNewDocument", identifier=faster)


def test_without_scripts_there_are_error_rates(chromium, page):
    chromium.open(page, scripts=False)
    text = chromium.find("#results").text
    chromium.tell("Emulation.setScriptExecutionDisabled", value=False)
    assert "tri1 tg dev" in text and "need JavaScript" in text

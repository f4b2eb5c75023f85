"""A headless Chromium, driven by Selenium, for tests of pages."""

import base64
import json
import shutil
import time
from pathlib import Path
from urllib.parse import urlsplit

from selenium import webdriver
from selenium.webdriver.common.keys import Keys

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
SWITCHES = (
    "--headless=new",
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--mute-audio",
    "--autoplay-policy=no-user-gesture-required",
)

# [contrast, text] of all text that is seen, against the nearest background that is not transparent; WCAG 2.2
CONTRASTS = """
const parse = (c) => c.match(/[\\d.]+/g).map(Number);
const linear = (v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
const light = (rgb) => [0.2126, 0.7152, 0.0722].reduce((sum, weight, i) => sum + weight * linear(rgb[i] / 255), 0);
const behind = (node) => {
  for (; node; node = node.parentElement) {
    const colour = parse(getComputedStyle(node).backgroundColor);
    if (colour.length < 4 || colour[3] === 1) return colour;
  }
};
const out = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const node = walker.currentNode.parentElement;
  if (!walker.currentNode.data.trim() || node.closest(":disabled")) continue;
  if (!node.checkVisibility({ visibilityProperty: true })) continue;
  const style = getComputedStyle(node);
  const ink = node.namespaceURI.endsWith("svg") ? style.fill : style.color;
  const [a, b] = [light(parse(ink)), light(behind(node))].sort((x, y) => y - x);
  out.push([(a + 0.05) / (b + 0.05), walker.currentNode.data.trim().slice(0, 60)]);
}
return out;
"""


class Browser:
    """A browser; ``driver`` is Selenium's, ``switches`` are further ones of its command line."""

    def __init__(self, *switches: str):
        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        for switch in SWITCHES + switches:
            options.add_argument(switch)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
        self.driver.set_script_timeout(20)

    def open(
        self,
        page: Path,
        place: str = "",
        width: int = 1440,
        scheme: str = "light",
        motion: str = "reduce",
        scripts: bool = True,
    ) -> None:
        """Open a page at a place, such as ``#utt=a``, and wait until it is complete."""
        self.driver.get("about:blank")
        self.driver.get_log("browser")
        self.driver.get_log("performance")
        self.tell(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600
        )
        self.tell(
            "Emulation.setEmulatedMedia",
            features=[
                {"name": "prefers-color-scheme", "value": scheme},
                {"name": "prefers-reduced-motion", "value": motion},
            ],
        )
        self.tell("Emulation.setScriptExecutionDisabled", value=not scripts)
        self.driver.get(page.as_uri() + place)
        if scripts:
            self.wait("return document.documentElement.dataset.ready")

    def tell(self, command: str, **arguments):
        """A command of Chromium's DevTools protocol."""
        return self.driver.execute_cdp_cmd(command, arguments)

    def run(self, script: str, *arguments):
        """Run JavaScript in the page; returns what it returns."""
        return self.driver.execute_script(script, *arguments)

    def wait(self, script: str, *arguments):
        """Wait until a script returns something true, and return it."""
        end = time.monotonic() + 20
        while not (value := self.run(script, *arguments)):
            assert time.monotonic() < end, f"still not true: {script}"
            time.sleep(0.02)
        return value

    def find(self, selector: str):
        return self.driver.find_element("css selector", selector)

    def all(self, selector: str) -> list:
        return self.driver.find_elements("css selector", selector)

    def click(self, selector: str) -> None:
        """Click on the first element of a selector, brought into view."""
        element = self.find(selector)
        self.run("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()

    def texts(self, selector: str) -> list[str]:
        return self.run("return [...document.querySelectorAll(arguments[0])].map((n) => n.textContent)", selector)

    def press(self, *keys: str) -> None:
        webdriver.ActionChains(self.driver).send_keys(*keys).perform()

    def tab_to(self, script: str, most: int = 300) -> None:
        """Press Tab until the script, a condition on ``node``, is true for the focused element."""
        for _ in range(most):
            self.press(Keys.TAB)
            if self.run(f"const node = document.activeElement; return Boolean({script})"):
                return
        raise AssertionError(f"Tab does not lead to {script}")

    def console(self) -> list[str]:
        """What the page wrote to the console since it was opened."""
        return [f"{entry['level']}: {entry['message']}" for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """The URLs that were asked for since the last call."""
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        return [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]

    def named(self) -> dict[str, list[str]]:
        """Role → names, as a screen reader gets them."""
        out: dict[str, list[str]] = {}
        for node in self.tell("Accessibility.getFullAXTree")["nodes"]:
            if not node.get("ignored"):
                out.setdefault(node["role"]["value"], []).append(node.get("name", {}).get("value", ""))
        return out

    def picture(self, path: Path) -> None:
        """A screenshot of the whole page, to be looked at."""
        data = self.tell("Page.captureScreenshot", captureBeyondViewport=True)["data"]
        path.write_bytes(base64.b64decode(data))

    def close(self) -> None:
        self.driver.quit()


def is_remote(url: str) -> bool:
    return urlsplit(url).scheme not in ("file", "about")

/* Elements and numbers. All text of the data becomes text nodes, so a word such as <img> stays a word. */
(function (report) {
  "use strict";
  const SVG = "http://www.w3.org/2000/svg";

  function fill(node, attributes, children) {
    for (const [name, value] of Object.entries(attributes || {})) {
      if (name === "on") for (const [event, action] of Object.entries(value)) node.addEventListener(event, action);
      else if (name === "style") for (const [key, v] of Object.entries(value)) node.style.setProperty(key, v);
      else if (value === true) node.setAttribute(name, "");
      else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
    }
    node.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
    return node;
  }

  /** An element, e.g. el("button", {type: "button", on: {click: f}}, "text", node). Attributes false and null are left out. */
  report.el = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
  report.svg = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

  let unique = 0;
  report.newId = () => "e" + (unique += 1);

  /** A labelled <select>; options are [value, text]. */
  report.select = function (label, options, value, changed) {
    const node = report.el(
      "select",
      { on: { change: () => changed(node.value) } },
      ...options.map(([v, text]) => report.el("option", { value: v, selected: v === value }, text)),
    );
    return report.el("label", { class: "field" }, report.el("span", {}, label), node);
  };

  report.checkbox = function (label, checked, changed) {
    const node = report.el("input", { type: "checkbox", checked, on: { change: () => changed(node.checked) } });
    return report.el("label", { class: "check" }, node, label);
  };

  report.searchBox = function (label, typed) {
    const node = report.el("input", { type: "search", on: { input: () => typed(node.value.trim().toLowerCase()) } });
    return report.el("label", { class: "field" }, report.el("span", {}, label), node);
  };

  /** Says something to screen readers. */
  report.say = (text) => {
    document.getElementById("said").textContent = text;
  };

  /** Shows a section and returns its body, emptied; the table of contents then lists it. */
  report.body = function (id) {
    const section = document.getElementById(id);
    section.hidden = false;
    const body = section.querySelector(".body");
    body.replaceChildren();
    return body;
  };

  report.isNumber = (x) => typeof x === "number" && Number.isFinite(x);

  /** −1234.5 → "−1,234.50"; "–" if it is not known. */
  report.number = (x, digits = 0) =>
    !report.isNumber(x)
      ? "–"
      : x.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits }).replace("-", "−");

  /** Seconds → "3 h 05 min", "4 min 10 s", "12.3 s". */
  report.duration = function (seconds) {
    if (!report.isNumber(seconds)) return "–";
    if (seconds < 59.95) return report.number(seconds, seconds < 10 ? 1 : 0) + " s";
    const two = (x) => String(x).padStart(2, "0");
    const s = Math.round(seconds);
    if (s < 3600) return `${Math.floor(s / 60)} min ${two(s % 60)} s`;
    return `${Math.floor(s / 3600)} h ${two(Math.floor(s / 60) % 60)} min`;
  };

  /** The same of an estimate: "40 s", "12 min", "3 h 10 min". */
  report.about = function (seconds) {
    if (seconds < 90) return `${Math.ceil(seconds / 10) * 10} s`;
    const minutes = Math.round(seconds / 60);
    return minutes < 100
      ? `${minutes} min`
      : `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")} min`;
  };

  /** Seconds since 1970, or a text with a date → date and time of the reader; other text stays as it is. */
  report.date = function (when) {
    const iso = String(when).replace(/^(\S+) (\S+) ([+-]\d\d)(\d\d)$/, "$1T$2$3:$4");
    const date = new Date(report.isNumber(when) ? when * 1000 : iso);
    return Number.isNaN(date.getTime())
      ? String(when)
      : date.toLocaleString("en-GB", {
          day: "numeric",
          month: "short",
          year: "numeric",
          hour: "2-digit",
          minute: "2-digit",
        });
  };

  report.plural = (n, one, many) => `${report.number(n)} ${n === 1 ? one : many || one + "s"}`;

  /** The direction of a text: that of its first letter of a script that is known. */
  report.direction = (text) =>
    /^[^A-Za-z\u00c0-\u02af\u0370-\u058f]*[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]/.test(text) ? "rtl" : "ltr";
})(window.lstmpReport);

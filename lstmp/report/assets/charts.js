/* Small drawings: an interval on a scale, a bar, the reliability diagram. Each says its numbers in words as well. */
(function (report) {
  "use strict";
  const { el, svg } = report;

  /** A round number at or above x: the end of a scale. */
  report.roundUp = function (x) {
    if (!(x > 0)) return 1;
    const unit = 10 ** Math.floor(Math.log10(x));
    return unit * [1, 1.5, 2, 3, 4, 5, 6, 8, 10].find((step) => step * unit >= x * 0.9999);
  };

  /** An interval [low, high] with its estimate, on a scale from `from` to `to`; a line at zero if that is within. */
  report.interval = function (estimate, interval, from, to) {
    const [low, high] = interval || [estimate, estimate];
    const at = (x) => (100 * (Math.min(Math.max(x, from), to) - from)) / (to - from) + "%";
    return el(
      "span",
      { class: "interval", "aria-hidden": "true" },
      from < 0 ? el("span", { class: "zero", style: { left: at(0) } }) : null,
      el("span", { class: "range", style: { left: at(low), right: `calc(100% - ${at(high)})` } }),
      el("span", { class: "dot", style: { left: at(estimate) } }),
    );
  };

  /** A bar whose length is value / most. */
  report.bar = (value, most) =>
    el(
      "span",
      { class: "bar", "aria-hidden": "true" },
      el("span", { style: { width: `${most > 0 ? (100 * value) / most : 0}%` } }),
    );

  /** The reliability diagram: for each bin of confidence, the share of correct words against the mean confidence. */
  report.reliability = function (bins) {
    const size = 300,
      left = 42,
      bottom = 38,
      top = 10;
    const x = (v) => left + v * size,
      y = (v) => top + (1 - v) * size;
    const most = Math.max(...bins.map((bin) => bin.n), 1);
    const parts = [];
    for (const v of [0, 0.25, 0.5, 0.75, 1]) {
      parts.push(
        svg("line", { class: "grid", x1: x(0), x2: x(1), y1: y(v), y2: y(v) }),
        svg("text", { x: left - 7, y: y(v) + 4, "text-anchor": "end" }, String(v)),
        svg("text", { x: x(v), y: y(0) + 17, "text-anchor": "middle" }, String(v)),
      );
    }
    parts.push(svg("line", { class: "ideal", x1: x(0), y1: y(0), x2: x(1), y2: y(1) }));
    const filled = bins.filter((bin) => bin.n > 0);
    parts.push(
      svg("polyline", { class: "line", points: filled.map((b) => `${x(b.confidence)},${y(b.correct)}`).join(" ") }),
    );
    for (const bin of filled) {
      parts.push(
        svg(
          "circle",
          { cx: x(bin.confidence), cy: y(bin.correct), r: 3 + 7 * Math.sqrt(bin.n / most) },
          svg(
            "title",
            {},
            `confidence ${bin.confidence.toFixed(2)}: ${(100 * bin.correct).toFixed(1)} % of ` +
              `${report.plural(bin.n, "word")} are correct`,
          ),
        ),
      );
    }
    parts.push(
      svg("text", { class: "axis", x: x(0.5), y: y(0) + 34, "text-anchor": "middle" }, "confidence"),
      svg(
        "text",
        { class: "axis", transform: `translate(11 ${y(0.5)}) rotate(-90)`, "text-anchor": "middle" },
        "share of correct words",
      ),
    );
    return svg(
      "svg",
      {
        class: "reliability",
        viewBox: `0 0 ${left + size + 14} ${top + size + bottom}`,
        role: "img",
        "aria-label": "Share of correct words by confidence; the numbers are in the table",
      },
      ...parts,
    );
  };
})(window.lstmpReport);

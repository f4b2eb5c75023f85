/* Learning curves: loss, frame accuracy and learning rate, by epochs or by minutes; drawn by uPlot. */
(function (report) {
  "use strict";
  const el = report.el;
  const state = { by: "epoch", off: new Set(), data: null, plots: [] };
  const PLOTS = [
    {
      title: "loss",
      keys: [
        ["valid_loss", "held-out"],
        ["loss", "training"],
      ],
      digits: 3,
    },
    {
      title: "frame accuracy, %",
      keys: [
        ["valid_accuracy", "held-out"],
        ["accuracy", "training"],
      ],
      digits: 1,
    },
    { title: "learning rate", keys: [["rate", "rate"]], digits: 6 },
  ];

  const names = () => Object.keys(state.data.systems).filter((name) => (state.data.systems[name].epochs || []).length);

  /** The colour of the i-th system in the present theme, as the canvas needs it. */
  function colour(variable) {
    return getComputedStyle(document.documentElement.querySelector(`.swatches [data-colour="${variable}"]`)).color;
  }

  function series(plot) {
    // one line per system and key; all x in one sorted list, as uPlot needs it
    const lines = [];
    names().forEach((name, i) => {
      if (state.off.has(name)) return;
      const epochs = state.data.systems[name].epochs;
      for (const [key, of] of plot.keys) {
        const points = epochs
          .filter((e) => report.isNumber(e[key]) && report.isNumber(e[state.by]))
          .map((e) => [e[state.by], e[key]]);
        if (points.length) lines.push({ name, of, colour: colour(String(i % 6)), points: new Map(points) });
      }
    });
    const xs = [...new Set(lines.flatMap((line) => [...line.points.keys()]))].sort((a, b) => a - b);
    return { lines, xs, ys: lines.map((line) => xs.map((x) => (line.points.has(x) ? line.points.get(x) : undefined))) };
  }

  function draw(plot, place) {
    const { lines, xs, ys } = series(plot);
    place.replaceChildren(el("h3", {}, plot.title));
    if (!lines.length) return place.append(el("p", { class: "empty" }, "No values."));
    const ink = colour("ink"),
      grid = { stroke: colour("rule"), width: 1 };
    const axis = { stroke: ink, grid, ticks: grid, font: "12px system-ui, sans-serif" };
    const shown = (v) =>
      v === null || v === undefined ? "–" : v < 0.01 ? v.toExponential(2) : report.number(v, plot.digits);
    state.plots.push(
      new window.uPlot(
        {
          width: Math.max(place.clientWidth, 240),
          height: 220,
          legend: { live: true, markers: { dash: (u, i) => (u.series[i].dash ? "dashed" : "solid") } },
          cursor: { y: false },
          scales: { x: { time: false } },
          axes: [
            {
              ...axis,
              label: state.by === "epoch" ? "epoch" : "minutes",
              size: 34,
              labelSize: 18,
              labelGap: 0,
              labelFont: axis.font,
              incrs: state.by === "epoch" ? [1, 2, 5, 10, 20, 50] : undefined,
            },
            {
              ...axis,
              size: 56,
              values: (u, ticks) =>
                ticks.map((t) =>
                  Math.abs(t) > 0 && Math.abs(t) < 0.01 ? t.toExponential(0) : String(Number(t.toPrecision(6))),
                ),
            },
          ],
          series: [
            {
              label: state.by === "epoch" ? "epoch" : "minutes",
              value: (u, v) => (v === null ? "–" : report.number(v, state.by === "epoch" ? 0 : 1)),
            },
            ...lines.map((line) => ({
              label: line.of === "rate" ? line.name : `${line.name}, ${line.of}`,
              stroke: line.colour,
              width: 2,
              dash: line.of === "training" ? [5, 4] : undefined,
              spanGaps: true,
              points: { show: xs.length < 30, size: 5, fill: line.colour },
              value: (u, v) => shown(v),
            })),
          ],
        },
        [xs, ...ys],
        place,
      ),
    );
  }

  function numbers() {
    // for screen readers, and to copy
    const rows = names().flatMap((name) => state.data.systems[name].epochs.map((e) => ({ name, ...e })));
    const accuracy = (x) => (report.isNumber(x) ? report.number(x, 2) : "–");
    const column = (title, key, show) => ({ title, number: true, value: (e) => e[key], cell: (e) => show(e[key]) });
    const table = report.table(
      [
        { title: "system", head: true, value: (e) => e.name },
        column("epoch", "epoch", (x) => report.number(x)),
        column("minutes", "minutes", (x) => report.number(x, 1)),
        column("loss, training", "loss", (x) => report.number(x, 4)),
        column("loss, held-out", "valid_loss", (x) => report.number(x, 4)),
        column("accuracy, training", "accuracy", accuracy),
        column("accuracy, held-out", "valid_accuracy", accuracy),
        column("rate", "rate", (x) => (report.isNumber(x) ? x.toExponential(2) : "–")),
      ],
      { caption: "Learning curves in numbers", page: 50 },
    );
    table.show(rows);
    return el("details", {}, el("summary", {}, "The numbers"), table.node);
  }

  function drawAll() {
    state.plots.splice(0).forEach((plot) => plot.destroy());
    document.querySelectorAll("#curves .plot").forEach((place, i) => draw(PLOTS[i], place));
  }

  /** Shows the curves; called again when they have changed during a run. */
  report.showCurves = function (curves) {
    state.data = curves;
    if (!curves || !names().length) return;
    const open = document.querySelector("#curves details[open]") !== null;
    const held = document.activeElement && document.activeElement.closest("#curves") ? document.activeElement.id : "";
    const body = report.body("curves");
    const swatches = ["0", "1", "2", "3", "4", "5", "ink", "rule"].map((c) => el("span", { "data-colour": c }));
    const systems = names().map((name, i) => {
      const running = curves.systems[name].running ? " (running)" : "";
      const box = report.checkbox(name + running, !state.off.has(name), (on) => {
        state.off[on ? "delete" : "add"](name);
        drawAll();
      });
      box.prepend(el("span", { class: "swatch", "data-colour": String(i % 6), "aria-hidden": "true" }));
      box.querySelector("input").id = "curve-" + i;
      return box;
    });
    const by = report.select(
      "by",
      [
        ["epoch", "epochs"],
        ["minutes", "minutes"],
      ],
      state.by,
      (value) => {
        state.by = value;
        drawAll();
      },
    );
    by.querySelector("select").id = "curves-by";
    const table = numbers();
    table.open = open;
    body.append(
      el("div", { class: "swatches", "aria-hidden": "true" }, ...swatches),
      el("div", { class: "filters" }, by, ...systems),
      el("p", { class: "hint" }, "Solid: held-out part; dashed: training."),
      el("div", { class: "plots" }, ...PLOTS.map((plot) => el("div", { class: "plot" }))),
      table,
    );
    drawAll();
    if (held) document.getElementById(held).focus();
  };

  let timer = 0;
  const redraw = () => {
    clearTimeout(timer);
    timer = setTimeout(() => state.data && drawAll(), 150);
  };
  window.addEventListener("resize", redraw);
  document.addEventListener("theme", redraw);
})(window.lstmpReport);

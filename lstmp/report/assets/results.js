/* The table of word error rates, and the paired comparisons. */
(function (report) {
  "use strict";
  const el = report.el;
  const different = (rows, key) => [...new Set(rows.map((row) => row[key]))];

  function reveal() {
    // after the new choice is shown
    setTimeout(() => {
      document.getElementById("chosen").scrollIntoView();
      document.getElementById("h-errors").focus({ preventScroll: true });
    });
  }

  function columns(rows, to) {
    const several = rows.some((row) => row.experiment !== undefined);
    const best = new Map(); // (LM, set) → lowest error rate
    for (const row of rows) {
      const key = JSON.stringify([row.lm, row.set]);
      best.set(key, Math.min(row.wer, best.has(key) ? best.get(key) : Infinity));
    }
    const isBest = (row) => rows.length > 1 && row.wer === best.get(JSON.stringify([row.lm, row.set]));
    const number = (key, title, digits, hint) => ({
      title,
      number: true,
      hint,
      value: (row) => row[key],
      cell: (row) => report.number(row[key], digits),
    });
    return [
      several ? { title: "experiment", value: (row) => row.experiment } : null,
      {
        title: "system",
        head: true,
        value: (row) => row.system,
        cell: (row) =>
          el(
            "a",
            {
              href: report.linkTo({ system: row.system, lm: row.lm, set: row.set }),
              title: "errors and utterances of this system",
              on: { click: reveal },
            },
            row.system,
          ),
      },
      { title: "LM", value: (row) => row.lm },
      { title: "set", value: (row) => row.set },
      {
        title: "WER %",
        number: true,
        hint: "insertions, deletions and substitutions per hundred words",
        value: (row) => row.wer,
        cell: (row) => el(isBest(row) ? "strong" : "span", {}, report.number(row.wer, 2)),
      },
      {
        title: "95 % interval",
        hint: "bootstrap over utterances; sorts by its upper end",
        value: (row) => row.ci && row.ci[1],
        cell: (row) =>
          el(
            "span",
            { class: "with-drawing" },
            report.interval(row.wer, row.ci, 0, to),
            row.ci ? el("span", { class: "n" }, `${report.number(row.ci[0], 2)}–${report.number(row.ci[1], 2)}`) : "–",
          ),
      },
      number("ins", "ins"),
      number("del", "del"),
      number("sub", "sub"),
      number("words", "words"),
      number("rtf", "RTF", 3, "seconds of decoding on one core for a second of audio"),
      number("params", "parameters"),
      number("minutes", "minutes", 1, "of training this system"),
      number("seed", "seed"),
    ].filter(Boolean);
  }

  /** The table of error rates, with a choice of systems, LMs and sets. */
  report.showResults = function (results) {
    const rows = (results && results.rows) || [];
    if (!rows.length) return;
    const body = report.body("results");
    const to = report.roundUp(Math.max(...rows.map((row) => (row.ci ? row.ci[1] : row.wer))));
    const table = report.table(columns(rows, to), {
      caption: `Word error rates; the drawn scale is from 0 to ${report.number(to, to < 3 ? 1 : 0)} %`,
    });
    const only = {};
    const update = () =>
      table.show(rows.filter((row) => Object.entries(only).every(([key, value]) => !value || row[key] === value)));
    const filters = ["experiment", "system", "lm", "set"]
      .filter((key) => different(rows, key).length > 1)
      .map((key) =>
        report.select(
          key === "lm" ? "LM" : key,
          [["", "all"], ...different(rows, key).map((value) => [value, value])],
          "",
          (value) => {
            only[key] = value;
            update();
          },
        ),
      );
    body.append(
      filters.length ? el("div", { class: "filters" }, ...filters) : "",
      table.node,
      el("p", { class: "hint" }, "Bold: the lowest rate of its set and LM. A system’s name leads to its errors."),
    );
    update();
  };

  function verdict(item) {
    if (!item.ci || (item.ci[0] <= 0 && item.ci[1] >= 0)) return "no difference shown";
    return item.ci[1] < 0 ? "B is better" : "A is better";
  }

  /** Pairs of systems: B minus A, with the interval of the paired bootstrap. */
  report.showComparison = function (items) {
    if (!items || !items.length) return;
    const body = report.body("comparison");
    const most = report.roundUp(
      Math.max(...items.map((item) => Math.max(...(item.ci || [item.difference]).map(Math.abs)))),
    );
    const table = report.table(
      [
        { title: "A", head: true, value: (item) => item.a },
        { title: "B", head: true, value: (item) => item.b },
        { title: "LM", value: (item) => (item.lm_b && item.lm_b !== item.lm ? `${item.lm}, ${item.lm_b}` : item.lm) },
        { title: "set", value: (item) => item.set },
        { title: "WER of A", number: true, value: (item) => item.wer_a, cell: (item) => report.number(item.wer_a, 2) },
        { title: "WER of B", number: true, value: (item) => item.wer_b, cell: (item) => report.number(item.wer_b, 2) },
        { title: "B minus A", number: true, value: (item) => item.difference, cell: (item) => signed(item.difference) },
        {
          title: "95 % interval",
          value: (item) => item.ci && item.ci[1],
          cell: (item) =>
            el(
              "span",
              { class: "with-drawing" },
              report.interval(item.difference, item.ci, -most, most),
              item.ci ? el("span", { class: "n" }, `${signed(item.ci[0])} to ${signed(item.ci[1])}`) : "–",
            ),
        },
        {
          title: "p",
          number: true,
          value: (item) => item.p,
          cell: (item) => (item.p < 0.001 ? "< 0.001" : report.number(item.p, 3)),
        },
        { title: "in words", value: verdict },
      ],
      {
        caption: `Differences in WER, with the paired bootstrap; the drawn scale is from ${signed(-most)} to ${signed(most)}`,
        page: 12,
      },
    );
    const only = { system: "", set: "" };
    const update = () =>
      table.show(
        items.filter((i) => (!only.set || i.set === only.set) && (!only.system || [i.a, i.b].includes(only.system))),
      );
    const filter = (key, values) => {
      const change = (value) => {
        only[key] = value;
        update();
      };
      return report.select(key, [["", "all"], ...[...new Set(values)].map((value) => [value, value])], "", change);
    };
    const systems = items.flatMap((item) => [item.a, item.b]);
    const filters = [
      filter("system", systems),
      filter(
        "set",
        items.map((item) => item.set),
      ),
    ];
    body.append(items.length > 2 ? el("div", { class: "filters" }, ...filters) : "", table.node);
    update();
  };

  function signed(x) {
    if (!report.isNumber(x)) return "–";
    const shown = report.number(Math.abs(x), 2);
    return (Number(shown) === 0 ? "" : x > 0 ? "+" : "−") + shown;
  }
})(window.lstmpReport);

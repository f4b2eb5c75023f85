/* The errors of one system on one set: which words, and by speaker, word frequency, length and level; and the confidences. */
(function (report) {
  "use strict";
  const el = report.el;
  const word = (text) => el("bdi", { class: "word" }, text);
  let wanted = null; // the decoding that was chosen last: another one may be loaded later than it

  function counts(title, heads, items) {
    const most = Math.max(...items.map((item) => item[heads.length]), 1);
    const table = report.table(
      [
        ...heads.map((head, i) => ({
          title: head,
          head: i === 0,
          value: (item) => item[i],
          cell: (item) => word(item[i]),
        })),
        {
          title: "times",
          number: true,
          value: (item) => item[heads.length],
          cell: (item) =>
            el(
              "span",
              { class: "with-bar" },
              report.bar(item[heads.length], most),
              el("span", {}, report.number(item[heads.length])),
            ),
        },
      ],
      { caption: title, sort: heads.length, descending: true, page: 12 },
    );
    table.show(items);
    return table.node;
  }

  const errorsOf = (row) => (report.isNumber(row.errors) ? row.errors : row.ins + row.del + row.sub);

  function rates(title, label, rows, by) {
    const to = report.roundUp(
      Math.max(...rows.map((row) => (row.ci ? row.ci[1] : row.wer)).filter(report.isNumber), 0.1),
    );
    const given = rows.some((row) => row.ci);
    const table = report.table(
      [
        {
          title: label,
          head: true,
          value: (row) => (by ? row.label : rows.indexOf(row)),
          cell: (row) => el("bdi", {}, String(row.label)),
        },
        rows.some((row) => report.isNumber(row.utterances))
          ? { title: "utterances", number: true, value: (row) => row.utterances }
          : null,
        { title: "words", number: true, value: (row) => row.words },
        { title: "errors", number: true, value: errorsOf },
        {
          title: "WER %",
          number: true,
          value: (row) => row.wer,
          cell: (row) =>
            el(
              "span",
              { class: "with-bar" },
              given ? report.interval(row.wer, row.ci, 0, to) : report.bar(row.wer, to),
              el("span", {}, report.number(row.wer, 1)),
            ),
        },
      ].filter(Boolean),
      { caption: title, sort: by ? 4 : undefined, descending: true, page: 12 },
    );
    table.show(rows);
    return table.node;
  }

  function calibration(data) {
    const section = document.getElementById("calibration");
    section.hidden = !data || !(data.bins || []).some((bin) => bin.n);
    if (section.hidden) return;
    const body = report.body("calibration");
    const table = report.table(
      [
        {
          title: "confidence",
          head: true,
          value: (bin) => bin.low,
          cell: (bin) => `${report.number(bin.low, 2)} to ${report.number(bin.high, 2)}`,
        },
        { title: "words", number: true, value: (bin) => bin.n },
        {
          title: "mean",
          number: true,
          hint: "mean confidence",
          value: (bin) => bin.confidence,
          cell: (bin) => (bin.n ? report.number(bin.confidence, 2) : "–"),
        },
        {
          title: "correct, %",
          number: true,
          value: (bin) => bin.correct,
          cell: (bin) => (bin.n ? report.number(100 * bin.correct, 1) : "–"),
        },
      ],
      { caption: "Confidences and correct words" },
    );
    table.show(data.bins);
    const measures = [
      report.isNumber(data.ece) ? `Expected calibration error ${report.number(data.ece, 3)}` : "",
      report.isNumber(data.nce) ? `normalized cross entropy ${report.number(data.nce, 3)}` : "",
    ]
      .filter(Boolean)
      .join("; ");
    body.append(
      el(
        "p",
        {},
        "Well-calibrated confidences lie on the diagonal: of the words with confidence 0.8, 80 % are correct. " +
          "Below it the system is too sure. The area of a point grows with its number of words.",
        measures ? ` ${measures}.` : "",
      ),
      el("div", { class: "beside" }, report.reliability(data.bins), table.node),
    );
  }

  /** Shows the errors of a decoding, {system, lm, set}. */
  report.showErrors = async function (chosen) {
    wanted = chosen;
    const data = await report.load(report.nameOf("errors", chosen.system, chosen.lm, chosen.set));
    if (wanted !== chosen) return;
    const body = report.body("errors");
    if (!data) return body.append(el("p", { class: "empty" }, "There is no list of errors of this system and set."));
    const sum = (key) => data.by_speaker.reduce((total, row) => total + row[key], 0);
    const total = sum("ins") + sum("del") + sum("sub");
    body.append(
      el(
        "p",
        {},
        el("strong", {}, `${report.number((100 * total) / sum("words"), 2)} %`),
        `: ${report.plural(total, "error")} in ` +
          `${report.plural(sum("words"), "word")} – ${report.plural(sum("sub"), "substitution")}, ` +
          `${report.plural(sum("del"), "deletion")}, ${report.plural(sum("ins"), "insertion")}.`,
      ),
    );
    body.append(
      el(
        "div",
        { class: "columns" },
        counts("Substitutions", ["reference", "hypothesis"], data.substitutions || []),
        counts("Deletions", ["reference"], data.deletions || []),
        counts("Insertions", ["hypothesis"], data.insertions || []),
      ),
    );
    const tables = [
      ["By speaker", "speaker", data.by_speaker, true],
      ["By frequency of the word in the training text, without insertions", "times", data.by_frequency],
      ["By length of the utterance", "words in it", data.by_length],
      ["By level of the signal", "dB", data.by_level],
    ];
    body.append(
      el(
        "div",
        { class: "columns two" },
        ...tables.filter(([, , rows]) => rows && rows.length).map((t) => rates(...t)),
      ),
    );
    calibration(data.calibration);
    report.showContents();
  };
})(window.lstmpReport);

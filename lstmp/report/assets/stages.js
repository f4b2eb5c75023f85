/* Time and memory of the stages and of their steps. */
(function (report) {
  "use strict";
  const el = report.el;

  function costs(rows) {
    const most = Math.max(...rows.map((row) => row.seconds || 0));
    const memory = (mib) =>
      !report.isNumber(mib) ? "–" : mib >= 1024 ? `${report.number(mib / 1024, 1)} GiB` : `${report.number(mib)} MiB`;
    return [
      {
        title: "time",
        number: true,
        value: (row) => row.seconds,
        cell: (row) =>
          el(
            "span",
            { class: "with-bar" },
            report.bar(row.seconds || 0, most),
            el("span", {}, report.duration(row.seconds)),
          ),
      },
      {
        title: "CPU time",
        number: true,
        hint: "summed over cores",
        value: (row) => row.cpu_seconds,
        cell: (row) => report.duration(row.cpu_seconds),
      },
      { title: "peak memory", number: true, value: (row) => row.peak_mib, cell: (row) => memory(row.peak_mib) },
    ];
  }

  /** Shows the stages; the steps are folded away. */
  report.showStages = function (stages, experiment) {
    if (!stages || !stages.length) return;
    const body = report.body("stages");
    const of = experiment.several ? [{ title: "experiment", value: (row) => row.experiment }] : [];
    const table = report.table(
      [
        ...of,
        { title: "stage", value: (row) => Number(row.stage) },
        { title: "title", head: true, value: (row) => row.title },
        ...costs(stages),
      ],
      { caption: "Stages" },
    );
    table.show(stages);
    const log = (name) =>
      !name
        ? "–"
        : experiment.several
          ? el("code", {}, name)
          : el("a", { href: "../log/" + encodeURIComponent(name) }, name); // the report is in the experiment's folder
    const rows = stages.flatMap((stage) =>
      (stage.steps || []).map((step) => ({ ...step, number: stage.stage, experiment: stage.experiment })),
    );
    const steps = report.table(
      [
        ...of,
        { title: "stage", value: (row) => Number(row.number) },
        {
          title: "step",
          head: true,
          value: (row) => row.step,
          cell: (row) => el("span", { title: row.command }, row.step),
        },
        ...costs(rows),
        { title: "begun", value: (row) => row.began, cell: (row) => (row.began ? report.date(row.began) : "–") },
        { title: "status", value: (row) => (row.status === 0 || row.status === "0" ? "ok" : row.status) },
        { title: "log", value: (row) => row.log, cell: (row) => log(row.log) },
      ],
      { caption: "Steps", page: 40 },
    );
    steps.show(rows);
    const total = stages.reduce((sum, stage) => sum + (stage.seconds || 0), 0);
    body.append(
      el("p", {}, `${report.duration(total)} in all.`),
      table.node,
      rows.length ? el("details", {}, el("summary", {}, report.plural(rows.length, "step")), steps.node) : "",
    );
  };
})(window.lstmpReport);

/* The configuration; values that differ from the defaults of conf/ are marked. */
(function (report) {
  "use strict";
  const el = report.el;

  function shown(value) {
    if (value === null || value === undefined) return "–";
    return typeof value === "string" ? value || "“”" : JSON.stringify(value).replace(/,(?=\S)/g, ", ");
  }

  report.showConfiguration = function (entries) {
    if (!entries || !entries.length) return;
    const body = report.body("configuration");
    const code = (value) => el("code", {}, shown(value));
    const several = entries.some((entry) => entry.experiment !== undefined);
    const table = report.table(
      [
        several ? { title: "experiment", value: (entry) => entry.experiment } : null,
        { title: "file", value: (entry) => entry.file },
        { title: "key", head: true, value: (entry) => entry.key, cell: (entry) => code(entry.key) },
        { title: "value", value: (entry) => shown(entry.value), cell: (entry) => code(entry.value) },
        { title: "default", value: (entry) => shown(entry.default), cell: (entry) => code(entry.default) },
        {
          title: "changed",
          value: (entry) => (entry.changed ? "changed" : ""),
          cell: (entry) => (entry.changed ? "changed" : ""),
        },
      ].filter(Boolean),
      {
        caption: "Values of the configuration",
        page: 50,
        empty: "No value fits.",
        mark: (entry, tr) => tr.classList.toggle("changed", Boolean(entry.changed)),
      },
    );
    const changes = entries.filter((entry) => entry.changed).length;
    let only = changes > 0,
      text = "";
    const update = () =>
      table.show(
        entries.filter(
          (entry) =>
            (!only || entry.changed) && `${entry.file} ${entry.key} ${shown(entry.value)}`.toLowerCase().includes(text),
        ),
      );
    body.append(
      el(
        "p",
        {},
        `${report.number(changes)} of ${report.plural(entries.length, "value")} differ${changes === 1 ? "s" : ""} from the defaults in conf/.`,
      ),
      el(
        "div",
        { class: "filters" },
        report.checkbox("only changed", only, (on) => {
          only = on;
          update();
        }),
        report.searchBox("search", (typed) => {
          text = typed;
          update();
        }),
      ),
      table.node,
    );
    update();
  };
})(window.lstmpReport);

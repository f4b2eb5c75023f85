/* Tables that can be sorted by any column, and that show many rows page by page. */
(function (report) {
  "use strict";
  const el = report.el;
  const collator = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

  function compare(a, b) {
    // what is not known comes last, in either direction
    if (typeof a === "number" && typeof b === "number") return a - b;
    return collator.compare(String(a), String(b));
  }

  function sorted(rows, column, descending) {
    const known = (x) => x !== null && x !== undefined && x !== "";
    const keyed = rows.map((row) => [column.value(row), row]);
    const first = keyed.filter(([key]) => known(key)).sort((a, b) => (descending ? -1 : 1) * compare(a[0], b[0]));
    return [...first, ...keyed.filter(([key]) => !known(key))].map(([, row]) => row);
  }

  /**
   * A table. Columns are {title, value(row), cell(row), number, head, hint}: `value` is what is sorted by; `cell` is the node
   * or text that is shown (by default the value); `number` aligns right, and sorts the largest first; `head` marks the cell
   * that names the row.
   * Options: caption; sort: index of the column that it is sorted by (otherwise the given order), descending; page: rows shown at
   * once; empty: what is said when there is no row; mark(row, tr) may add attributes to a row.
   * Returns {node, show(rows), redraw(), order()}: show() replaces the rows and keeps the order; order() is all rows in it.
   */
  report.table = function (columns, options) {
    const state = { sort: options.sort, descending: Boolean(options.descending), from: 0, rows: [] };
    const page = options.page || Infinity;
    const body = el("tbody");
    const heads = columns.map((column, i) => {
      const button = el(
        "button",
        { type: "button", title: column.hint, on: { click: () => sortBy(i) } },
        column.title,
        el("span", { class: "arrow", "aria-hidden": "true" }),
      );
      return el("th", { scope: "col", class: column.number ? "n" : null }, button);
    });
    const caption = el("caption", {}, options.caption);
    const box = el(
      "div",
      { class: "box", tabindex: "0", role: "region", "aria-label": options.caption },
      el("table", {}, caption, el("thead", {}, el("tr", {}, ...heads)), body),
    );
    const where = el("span");
    const back = el("button", { type: "button", on: { click: () => turn(-1) } }, "Previous");
    const forth = el("button", { type: "button", on: { click: () => turn(1) } }, "Next");
    const pager = el("nav", { class: "pager", "aria-label": "Pages of: " + options.caption }, back, where, forth);

    function sortBy(i) {
      state.descending = state.sort === i ? !state.descending : Boolean(columns[i].number);
      state.sort = i;
      state.from = 0;
      draw();
      report.say(`Sorted by ${columns[i].title}, ${state.descending ? "descending" : "ascending"}`);
    }

    function turn(step) {
      state.from += step * page;
      draw();
      box.scrollTop = 0;
      report.say(where.textContent);
    }

    const order = () =>
      state.sort === undefined ? state.rows : sorted(state.rows, columns[state.sort], state.descending);

    function cells(row) {
      return columns.map((column) => {
        const value = column.cell ? column.cell(row) : column.value(row);
        const shown =
          value === null || value === undefined ? "–" : typeof value === "number" ? report.number(value) : value;
        return el(
          column.head ? "th" : "td",
          { scope: column.head ? "row" : null, class: column.number ? "n" : null },
          shown,
        );
      });
    }

    function draw() {
      heads.forEach((head, i) => {
        if (i === state.sort) head.setAttribute("aria-sort", state.descending ? "descending" : "ascending");
        else head.removeAttribute("aria-sort");
      });
      const rows = order();
      const shown = rows.slice(state.from, state.from + page);
      body.replaceChildren(
        ...shown.map((row) => {
          const tr = el("tr", {}, ...cells(row));
          if (options.mark) options.mark(row, tr);
          return tr;
        }),
      );
      if (!rows.length)
        body.append(el("tr", {}, el("td", { colspan: columns.length, class: "empty" }, options.empty || "None.")));
      pager.hidden = rows.length <= page;
      where.textContent = `${report.number(state.from + 1)}–${report.number(state.from + shown.length)} of ${report.number(rows.length)}`;
      back.disabled = state.from === 0;
      forth.disabled = state.from + page >= rows.length;
    }

    return {
      node: el("div", { class: "table" }, box, pager),
      show(rows) {
        state.rows = rows;
        state.from = 0;
        draw();
      },
      redraw: draw,
      order,
    };
  };
})(window.lstmpReport);

/* The head of the page, the table of contents, and the commands to repeat the experiment. */
(function (report) {
  "use strict";
  const el = report.el;

  /** Experiment, commit, machine, versions, notes. */
  report.showHeading = function (experiment) {
    const facts = [
      ["folder", experiment.several ? "" : experiment.exp],
      ["made", experiment.made && report.date(experiment.made)],
      ["commit", experiment.commit],
      ["machine", experiment.machine],
      ...(experiment.several ? experiment.parts : []).map((part) => [part.name, part.exp]),
      [
        "versions",
        Object.entries(experiment.versions || {})
          .map(([name, version]) => `${name} ${version}`)
          .join(", "),
      ],
    ];
    document
      .getElementById("facts")
      .replaceChildren(
        ...facts
          .filter(([, value]) => value)
          .map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, String(value)))),
      );
    document
      .getElementById("notes")
      .replaceChildren(...(experiment.notes || []).map((note) => el("p", { class: "note" }, ...code(note))));
    document.querySelector(".made").hidden = Boolean(experiment.made);
    if (experiment.several) document.querySelector(".kind").textContent = "Experiments";
  };

  function code(text) {
    // `x` in a note is code
    return text.split("`").map((part, i) => (i % 2 ? el("code", {}, part) : part));
  }

  /** The table of contents: the sections that are shown. */
  report.showContents = function () {
    const shown = [...document.querySelectorAll("main section")].filter((s) => !s.hidden && !s.parentNode.hidden);
    const links = shown.map((section) =>
      el("li", {}, el("a", { href: "#" + section.id }, section.querySelector("h2").textContent)),
    );
    document.getElementById("contents").replaceChildren(el("ul", {}, ...links));
  };

  report.showCommands = function (commands) {
    if (!commands || !commands.length) return;
    const body = report.body("commands");
    body.append(
      el("p", {}, "From the folder of ", el("code", {}, "run.sh"), ":"),
      ...commands.map((command) =>
        el(
          "div",
          { class: "command" },
          el("pre", { class: "box", tabindex: "0" }, el("code", {}, command)),
          copyButton(command),
        ),
      ),
    );
  };

  function copyButton(text) {
    const button = el(
      "button",
      {
        type: "button",
        "aria-label": "Copy: " + text,
        on: {
          click: async () => {
            button.textContent = (await copy(text)) ? "Copied" : "Not copied";
            report.say(button.textContent);
            setTimeout(() => {
              button.textContent = "Copy";
            }, 2000);
          },
        },
      },
      "Copy",
    );
    return button;
  }

  async function copy(text) {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch (error) {
      // not every browser lets a page from the disk use the clipboard
      const area = el("textarea", { class: "unseen", "aria-hidden": "true" });
      area.value = text;
      document.body.append(area);
      area.select();
      const done = document.execCommand("copy");
      area.remove();
      return done;
    }
  }
})(window.lstmpReport);

/* The progress of a run: what is done, what is running, the time left. During the run, progress and learning curves
   are read again every 10 seconds. */
(function (report) {
  "use strict";
  const el = report.el;
  const EVERY = 10000; // milliseconds
  const SILENT = 15 * 60; // seconds without news after which the run may have been stopped
  const STATES = {
    done: ["✓", "done"],
    running: ["▸", "running"],
    waiting: ["·", "waiting"],
    skipped: ["–", "skipped"],
    failed: ["✗", "failed"],
  };

  const seconds = (when) => (report.isNumber(when) ? when : Date.parse(when) / 1000);

  function summary(progress) {
    const said = [];
    const quiet = Date.now() / 1000 - seconds(progress.updated);
    const failed = progress.stages.find((item) => item.state === "failed");
    if (failed) said.push(el("strong", { class: "warning" }, `Stage ${failed.stage} has failed.`));
    else if (progress.finished) said.push("Finished.");
    else if (report.isNumber(progress.left))
      said.push(el("strong", {}, "About " + report.about(progress.left) + " left"), " in all. ");
    said.push(` Begun ${report.date(progress.began)}; last news ${report.date(progress.updated)}.`);
    if (!progress.finished && quiet > SILENT) {
      said.push(
        el("strong", { class: "warning" }, ` No news for ${report.about(quiet)}: the run may have been stopped.`),
      );
    }
    return el("p", {}, ...said);
  }

  function stage(item) {
    const [sign, word] = STATES[item.state] || ["·", String(item.state)];
    const time =
      item.state === "running" && report.isNumber(item.left)
        ? `${report.about(item.left)} left`
        : report.isNumber(item.seconds)
          ? report.duration(item.seconds)
          : report.isNumber(item.left)
            ? `about ${report.about(item.left)}`
            : "";
    return el(
      "li",
      { class: "stage " + item.state, "aria-current": item.state === "running" ? "step" : null },
      el("span", { class: "sign", "aria-hidden": "true" }, sign),
      el("span", { class: "name" }, `${item.stage} ${item.title}`),
      el("span", { class: "word" }, word),
      el("span", { class: "time" }, time),
    );
  }

  function network(net) {
    const share = (net.epoch - 1 + (net.of_batches ? net.batches / net.of_batches : 0)) / net.of;
    const label = `${net.name}: epoch ${net.epoch} of ${net.of}`;
    return el(
      "div",
      { class: "network" },
      el("span", {}, label),
      el("progress", { max: "1", value: String(Math.min(Math.max(share, 0), 1)), "aria-label": label }),
      el(
        "span",
        { class: "muted" },
        [
          report.isNumber(net.loss) ? `loss ${report.number(net.loss, 3)}` : "",
          report.isNumber(net.frames_per_second) ? `${report.number(net.frames_per_second)} frames per second` : "",
        ]
          .filter(Boolean)
          .join(", "),
      ),
    );
  }

  function show(progress) {
    const body = report.body("progress");
    body.append(
      summary(progress),
      progress.network ? network(progress.network) : "",
      el("ol", { class: "stages" }, ...progress.stages.map(stage)),
    );
  }

  /** Shows the progress of a run that is going on, and follows it. */
  report.followProgress = async function () {
    let progress = await report.load("progress");
    if (!progress || !progress.stages) return; // no run has noted its progress
    const failed = progress.stages.some((item) => item.state === "failed");
    if (progress.finished && !failed) return; // its times are in the table of stages
    show(progress);
    if (progress.finished) return;
    const timer = setInterval(async () => {
      progress = (await report.load("progress", true)) || progress;
      show(progress);
      report.showCurves(await report.load("curves", true));
      report.showContents();
      if (progress.finished) {
        clearInterval(timer);
        report.say("The run has finished.");
        document
          .querySelector("#progress .body")
          .append(
            el("p", {}, el("button", { type: "button", on: { click: () => location.reload() } }, "Show the results")),
          );
      }
    }, EVERY);
  };
})(window.lstmpReport);

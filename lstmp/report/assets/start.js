/* Loads the data that every view of the page needs, and shows the parts in their order. */
(async function (report) {
  "use strict";
  const experiment = (await report.load("experiment")) || {};
  report.showHeading(experiment);
  const [results, comparison, curves, stages, suspicious] = await Promise.all(
    ["results", "comparison", "curves", "stages", "suspicious"].map((name) =>
      report.exists(name) ? report.load(name) : null,
    ),
  );
  await report.followProgress();
  report.showResults(results);
  report.showComparison(comparison && comparison.items);
  report.showCurves(curves);
  report.showStages(stages && stages.stages, experiment);
  report.showConfiguration(experiment.config);
  report.showCommands(experiment.commands);
  report.followChoice(experiment.decodings, (chosen) => {
    report.showErrors(chosen);
    report.showUtterances(chosen);
  });
  report.showSuspicious(suspicious);
  report.showContents();
  // the sections have got their heights only now
  const section =
    location.hash.length > 1 && !location.hash.includes("=") && document.getElementById(location.hash.slice(1));
  if (section) section.scrollIntoView();
  document.documentElement.dataset.ready = "true";
})(window.lstmpReport);

/* The data of the report. A page that is opened from the disk may not fetch() files, so each file of data is a script,
   data/NAME.js, that calls lstmpReport.add("NAME", {...}). load() appends this script to the page when it is needed.
   NAME consists of percent-quoted parts, joined by "/", and is also the name of the file. */
window.lstmpReport = {};
(function (report) {
  "use strict";
  const data = new Map(); // NAME → data
  const promises = new Map(); // NAME → promise of the data
  let files = null; // names of the files that every page has, if `experiment` lists them

  /** The NAME of parts such as ["errors", system, lm, set], quoted as by shard_name of lstmp/shards.py. */
  report.nameOf = function (...parts) {
    const hex = (c) => "%" + c.charCodeAt(0).toString(16).toUpperCase();
    return parts
      .map((part) => encodeURIComponent(part).replace(/^\.+$|[!'()*]/g, (s) => [...s].map(hex).join("")))
      .join("/");
  };

  /** Called by the files of data. */
  report.add = function (name, value) {
    data.set(name, value);
    if (name === "experiment" && Array.isArray(value.files)) files = new Set(value.files);
  };

  /** Whether there is a file that not every report has, such as `suspicious`. */
  report.exists = (name) => files === null || files.has(name);

  /** A promise of the data, or of null if there is no such file. `again` reads a file that has changed since. */
  report.load = function (name, again) {
    if (again || !promises.has(name)) promises.set(name, append(name, again));
    return promises.get(name);
  };

  function append(name, again) {
    return new Promise((resolve) => {
      const script = document.createElement("script");
      script.src = "data/" + name.replace(/%/g, "%25") + ".js" + (again ? "?" + Date.now() : "");
      const end = () => {
        script.remove();
        resolve(data.has(name) ? data.get(name) : null);
      };
      script.addEventListener("load", end);
      script.addEventListener("error", end);
      document.head.append(script);
    });
  }
})(window.lstmpReport);

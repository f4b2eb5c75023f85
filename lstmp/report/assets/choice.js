/* The choice of system, LM and set that errors, confidences and utterances are shown of. */
(function (report) {
  "use strict";
  let rows = [];

  const matching = (place) =>
    rows.filter((row) => ["system", "lm", "set"].every((key) => !place[key] || row[key] === place[key]));

  /** The first decoding that has what is asked for: first the system, then the set, then the LM. */
  function complete(place) {
    for (const keys of [["system", "lm", "set"], ["system", "set"], ["system", "lm"], ["system"], ["set"], []]) {
      const asked = {};
      keys.forEach((key) => {
        asked[key] = place[key];
      });
      const found = matching(asked);
      if (found.length) return found[0];
    }
    return null;
  }

  function show(chosen) {
    const pick = (key, label) => {
      const values = [...new Set(rows.map((row) => row[key]))];
      return report.select(
        label,
        values.map((value) => [value, value]),
        chosen[key],
        (value) => {
          const next = complete({ ...report.place, [key]: value });
          report.goTo({
            system: key === "system" ? value : next.system,
            lm: key === "lm" ? value : next.lm,
            set: key === "set" ? value : next.set,
          });
        },
      );
    };
    const bar = document.getElementById("choice");
    const held = bar.contains(document.activeElement)
      ? [...bar.querySelectorAll("select")].indexOf(document.activeElement)
      : -1;
    bar.replaceChildren(pick("system", "system"), pick("lm", "LM"), pick("set", "set"));
    if (held >= 0) bar.querySelectorAll("select")[held].focus();
  }

  /**
   * Calls listener(chosen) now and whenever the choice changes. `decodings` are {system, lm, set, detailed}; without a choice in
   * the address, the last one with details is shown.
   */
  report.followChoice = function (decodings, listener) {
    rows = decodings || [];
    if (!rows.length) return;
    document.getElementById("chosen").hidden = false;
    const first = [...rows].reverse().find((row) => row.detailed) || rows[rows.length - 1];
    let last = null;
    const update = () => {
      const place = report.place;
      const chosen = place.system || place.lm || place.set ? complete(place) : first;
      if (chosen === last) return;
      last = chosen;
      Object.assign(place, { system: chosen.system, lm: chosen.lm, set: chosen.set });
      show(chosen);
      listener(chosen);
    };
    report.onPlace(update);
    update();
  };
})(window.lstmpReport);

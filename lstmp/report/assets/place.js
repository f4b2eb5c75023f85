/* The place in the page: what is chosen is in the address, as in #system=lstmp&lm=tg&set=test&utt=a-1, so that a link to it
   can be kept and sent. A plain #results is a section. */
(function (report) {
  "use strict";
  const listeners = [];
  report.place = { system: null, lm: null, set: null, utt: null, suspicious: null, of: null };

  function read() {
    const text = location.hash.slice(1);
    if (text && !text.includes("=")) return; // a section: the choice stays as it is
    const given = new URLSearchParams(text);
    for (const key of Object.keys(report.place)) {
      if (given.has(key) || ["utt", "suspicious", "of"].includes(key)) report.place[key] = given.get(key);
    }
  }

  function address(place) {
    const given = new URLSearchParams();
    for (const [key, value] of Object.entries(place)) if (value !== null) given.set(key, value);
    return "#" + given.toString();
  }

  /** The address of the present place with some changes. */
  report.linkTo = (changes) => address({ ...report.place, utt: null, suspicious: null, of: null, ...changes });

  report.goTo = (changes) => {
    location.hash = report.linkTo(changes);
  };

  /** f(place) is called whenever the place has changed. */
  report.onPlace = (f) => listeners.push(f);

  window.addEventListener("hashchange", () => {
    const before = JSON.stringify(report.place);
    read();
    if (JSON.stringify(report.place) !== before) listeners.forEach((f) => f(report.place));
  });
  read();
})(window.lstmpReport);

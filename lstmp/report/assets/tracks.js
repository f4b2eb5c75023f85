/* The spectrogram of an utterance with its words, phones and states below, on one axis of time that can be zoomed. Everything
   is placed in percent of the utterance, so zooming changes one width only. */
(function (report) {
  "use strict";
  const el = report.el;
  const MOST = 1200; // pixels per second
  const FIRST = 110; // at least this many at first, so that phones can be read

  function cells(track, items, seconds) {
    // items are [start, end, text, title, class]
    return el(
      "div",
      { class: "track " + track },
      ...items.map(([start, end, text, title, kind]) =>
        el(
          "span",
          {
            class: "cell " + (kind || ""),
            title,
            style: { left: `${(100 * start) / seconds}%`, width: `${(100 * (end - start)) / seconds}%` },
          },
          el("span", {}, text),
        ),
      ),
    );
  }

  function spectrogram(sound) {
    if (!sound.spectrogram) return null;
    const bins = sound.bins || [];
    const image = el("img", {
      class: "spectrogram",
      src: sound.spectrogram,
      alt: "",
      decoding: "async",
      draggable: "false",
    });
    if (bins.length > 1 && bins[0] < bins[bins.length - 1]) image.classList.add("turned"); // its first row is the lowest
    const fit = () => {
      // the last frames may reach beyond the utterance, or end before
      if (sound.frame_seconds && image.naturalWidth)
        image.style.width = `${(100 * image.naturalWidth * sound.frame_seconds) / sound.seconds}%`;
    };
    image.addEventListener("load", fit);
    return el("div", { class: "picture" }, image);
  }

  function frequencies(bins) {
    if (!bins || bins.length < 2) return [];
    const high = [...bins].sort((a, b) => b - a);
    const shown = [500, 1000, 2000, 4000, 8000, 16000].filter((hz) => hz <= high[0] && hz >= high[high.length - 1]);
    return shown.map((hz) => {
      // the rows are not equally far apart in hertz
      const row = high.findIndex((bin) => bin <= hz);
      return el(
        "span",
        { style: { top: `${(100 * (row + 0.5)) / high.length}%` } },
        hz < 1000 ? `${hz} Hz` : `${hz / 1000} kHz`,
      );
    });
  }

  function ticks(seconds, scale) {
    const step = [0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30].find((s) => s * scale >= 45) || 60;
    return Array.from({ length: Math.floor(seconds / step) + 1 }, (_, i) => i * step).map((t) =>
      el(
        "span",
        {
          class: "tick",
          style: { left: `${(100 * t) / seconds}%` },
        },
        step < 1 ? t.toFixed(step < 0.1 ? 2 : 1) : String(t),
      ),
    );
  }

  const timed = (words) => words.filter((w) => report.isNumber(w.start) && report.isNumber(w.end) && w.end > w.start);

  /**
   * The picture of an utterance. `sound` {seconds, spectrogram, bins, frame_seconds}, `words` and `states` {phones, states} as in
   * the data; onPick(t) is called with the time that was clicked on. Returns {node, cursor(t, playing)}.
   */
  report.tracks = function (sound, words, states, onPick) {
    const seconds = sound.seconds;
    const phones = (states && states.phones) || [],
      hmm = (states && states.states) || [];
    const sign = { C: "", S: "S ", I: "+ ", D: "− " };
    const tracks = [
      ["time", el("div", { class: "track axis" })],
      [
        "words",
        cells(
          "words",
          timed(words).map((w) => [
            w.start,
            w.end,
            (sign[w.op] || "") + (w.op === "D" ? w.ref : w.hyp),
            `${w.start.toFixed(2)}–${w.end.toFixed(2)} s`,
            w.op,
          ]),
          seconds,
        ),
      ],
      phones.length
        ? [
            "phones",
            cells(
              "phones",
              phones.map(([start, end, phone]) => [
                start,
                end,
                phone.replace(/_[BIES]$/, ""),
                `${phone}, ${start.toFixed(2)}–${end.toFixed(2)} s`,
                /^(SIL|SPN)/.test(phone) ? "silent" : "",
              ]),
              seconds,
            ),
          ]
        : null,
      hmm.length
        ? [
            "states",
            cells(
              "states",
              hmm.map(([start, end, state, pdf]) => [
                start,
                end,
                report.isNumber(pdf) ? String(pdf) : state,
                `${state}${report.isNumber(pdf) ? `, pdf-id ${pdf}` : ""}, ${start.toFixed(2)}–${end.toFixed(2)} s`,
              ]),
              seconds,
            ),
          ]
        : null,
    ].filter(Boolean);
    const picture = spectrogram(sound);
    const line = el("span", { class: "cursor", style: { left: "0%" } });
    const wide = el(
      "div",
      {
        class: "wide",
        "aria-hidden": "true",
        on: {
          click: (event) => {
            const box = wide.getBoundingClientRect();
            onPick((seconds * (event.clientX - box.left)) / box.width);
          },
        },
      },
      ...(picture ? [picture] : []),
      ...tracks.map(([, node]) => node),
      line,
    );
    const box = el(
      "div",
      {
        class: "time-box",
        tabindex: "0",
        role: "region",
        "aria-label": "Spectrogram, words, phones and states over time; plus and minus zoom",
      },
      wide,
    );
    const labels = el(
      "div",
      { class: "labels", "aria-hidden": "true" },
      ...(picture ? [el("div", { class: "hertz" }, ...frequencies(sound.bins))] : []),
      ...tracks.map(([name]) => el("div", { class: "track" }, name)),
    );
    let scale; // pixels per second; 0: the whole utterance is seen

    function zoom(factor) {
      const fit = box.clientWidth / seconds;
      const middle = (box.scrollLeft + box.clientWidth / 2) / wide.clientWidth;
      scale = factor ? Math.min((scale || fit) * factor, MOST) : 0;
      if (scale <= fit) scale = 0;
      wide.style.width = scale ? `${scale * seconds}px` : "100%";
      tracks[0][1].replaceChildren(...ticks(seconds, scale || fit));
      box.scrollLeft = middle * wide.clientWidth - box.clientWidth / 2;
    }

    box.addEventListener("keydown", (event) => {
      const factor = { "+": 1.5, "=": 1.5, "-": 1 / 1.5, 0: null }[event.key];
      if (factor === undefined || event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      zoom(factor);
    });
    box.addEventListener(
      "wheel",
      (event) => {
        if (!event.ctrlKey) return;
        event.preventDefault();
        zoom(event.deltaY < 0 ? 1.2 : 1 / 1.2);
      },
      { passive: false },
    );
    new ResizeObserver(() => {
      if (!box.clientWidth) return;
      if (scale === undefined) scale = FIRST;
      zoom(scale ? 1 : null);
    }).observe(box);

    const button = (text, label, factor) =>
      el("button", { type: "button", "aria-label": label, on: { click: () => zoom(factor) } }, text);
    return {
      node: el(
        "div",
        { class: "tracks" },
        el(
          "div",
          { class: "zoom", role: "group", "aria-label": "Zoom" },
          button("−", "Zoom out", 1 / 1.5),
          button("+", "Zoom in", 1.5),
          button("Whole", "Show the whole utterance", null),
        ),
        labels,
        box,
      ),
      cursor(t, playing) {
        line.style.left = `${(100 * t) / seconds}%`;
        const at = (t / seconds) * wide.clientWidth;
        if (playing && (at < box.scrollLeft || at > box.scrollLeft + box.clientWidth - 20)) box.scrollLeft = at - 60;
      },
    };
  };
})(window.lstmpReport);

/* One opened utterance: reference and hypothesis aligned, the audio from any word, and the picture over time. */
(function (report) {
  "use strict";
  const el = report.el;
  const OPS = { C: "correct", S: "substitution", I: "insertion", D: "deletion" };

  function details(word) {
    const parts = [OPS[word.op]];
    if (report.isNumber(word.start)) parts.push(`at ${word.start.toFixed(2)} seconds`);
    if (report.isNumber(word.confidence)) parts.push(`confidence ${word.confidence.toFixed(2)}`);
    return parts.join(", ");
  }

  // Its name for screen readers is its text: "CAT recognized as HAT, substitution, at 1.20 seconds".
  function pair(word, audible, play) {
    const confidence = report.isNumber(word.confidence)
      ? el("span", { class: "confidence" }, el("span", { style: { width: `${100 * word.confidence}%` } }))
      : null;
    return el(
      "button",
      {
        type: "button",
        class: "pair " + word.op,
        title: details(word),
        disabled: !audible || !report.isNumber(word.start),
        on: { click: () => play(word) },
      },
      el("span", { class: "ref", dir: "auto", "aria-hidden": word.ref ? null : "true" }, word.ref || "∅"),
      word.op === "S" ? el("span", { class: "unseen" }, " recognized as ") : null,
      el("span", { class: "hyp", dir: "auto", "aria-hidden": "SI".includes(word.op) ? null : "true" }, word.hyp || "∅"),
      el("span", { class: "op", "aria-hidden": "true" }, word.op === "C" ? "" : word.op),
      el("span", { class: "unseen" }, ", " + details(word)),
      confidence,
    );
  }

  function legend() {
    const key = (op, text) =>
      el(
        "li",
        {},
        el("span", { class: "pair " + op }, el("span", { class: "hyp" }, "word"), el("span", { class: "op" }, op)),
        text,
      );
    return el(
      "div",
      { class: "legend" },
      el(
        "span",
        {},
        "The reference is above, the hypothesis below, with a bar for its confidence. Click a word to play the recording " +
          "from there.",
      ),
      el("ul", {}, key("S", "substitution"), key("D", "deletion"), key("I", "insertion")),
    );
  }

  /**
   * The panel of an utterance. `given`: title, facts (text), words, sound and states (null if there are none), and the functions
   * before, after (null at the ends) and close. Returns the panel; its heading takes the focus by panel.focusHeading().
   */
  report.utterancePanel = function (given) {
    const id = report.newId();
    const heading = el("h3", { id, tabindex: "-1" }, el("bdi", {}, given.title));
    const step = (text, action) =>
      el("button", { type: "button", disabled: !action, on: { click: action || (() => {}) } }, text);
    const head = el(
      "div",
      { class: "panel-head" },
      heading,
      el(
        "div",
        { class: "buttons" },
        step("Previous", given.before),
        step("Next", given.after),
        step("Close", given.close),
      ),
    );
    const panel = el(
      "article",
      {
        class: "utterance",
        "aria-labelledby": id,
        on: {
          keydown: (event) => {
            if (event.key === "Escape") given.close();
          },
        },
      },
      head,
      el("p", { class: "muted" }, given.facts),
    );
    const sound = given.sound,
      words = given.words || [];
    const audible = Boolean(sound && sound.audio && sound.seconds);
    let player = null,
      one = false;
    const play = (word) => {
      if (!player) return;
      player.play(word.start, one ? Math.max(word.end, word.start + 0.1) : undefined);
      report.say(`Playing from ${word.hyp || word.ref}`);
    };
    const text = words.map((word) => word.ref).join(" ");
    const pairs = words.map((word) => pair(word, audible, play));
    panel.append(
      el("div", { class: "aligned", dir: report.direction(text), role: "group", "aria-label": "Words" }, ...pairs),
      legend(),
    );
    if (audible) {
      const tracks = report.tracks(sound, words, given.states, (t) => player.play(t));
      player = report.player(sound, (t, playing) => {
        tracks.cursor(t, playing);
        words.forEach((word, i) =>
          pairs[i].classList.toggle("heard", playing && word.op !== "D" && word.start <= t && t < word.end),
        );
      });
      player.node.append(
        report.checkbox("one word at a time", false, (on) => {
          one = on;
        }),
      );
      panel.append(player.node, tracks.node);
    } else {
      panel.append(
        el(
          "p",
          { class: "empty" },
          sound && sound.error ? `No audio: ${sound.error}` : "There is no audio of this utterance.",
        ),
      );
    }
    panel.focusHeading = () => {
      panel.scrollIntoView({ block: "start" });
      heading.focus({ preventScroll: true });
    };
    return panel;
  };
})(window.lstmpReport);

/* The lists of utterances: all of a system on a set, and those that the alignment check suspects. Opening one loads only its
   shards of words, sound and states. */
(function (report) {
  "use strict";
  const el = report.el;
  const errors = (item) => item.ins + item.del + item.sub;
  let chosen = null; // the decoding that is shown

  /**
   * A list with a search box and a panel for the opened utterance.
   * `given`: id of the section, items, columns, intro, options of the table; key of an opened utterance in the address ("utt" or
   * "suspicious"), place(item), the whole of what the address says, isOpen(item); and read(item), which promises {facts, words,
   * sound, states}.
   */
  function list(given) {
    const body = report.body(given.id);
    const opened = el("div", { class: "opened" });
    const table = report.table(given.columns, {
      page: 25,
      ...given.table,
      mark: (item, tr) => {
        if (given.isOpen(item)) tr.setAttribute("aria-current", "true");
      },
    });
    const found = el("span", { class: "muted" });
    const filter = report.searchBox("search", (text) => {
      const rows = given.items.filter((item) =>
        `${item.utt} ${item.speaker} ${item.reason || ""}`.toLowerCase().includes(text),
      );
      table.show(rows);
      found.textContent = text ? `${report.number(rows.length)} of ${report.number(given.items.length)}` : "";
    });
    body.append(given.intro, opened, el("div", { class: "filters" }, filter, found), table.node);
    table.show(given.items);
    let present = null; // the opened item
    let asked = null; // the utterance in the address
    return async function open() {
      const utt = report.place[given.key];
      const item = given.items.find(given.isOpen) || null;
      if (item === present && utt === asked) return;
      asked = utt;
      const before = present;
      present = item;
      table.redraw();
      opened.replaceChildren();
      if (!item) {
        if (utt)
          opened.append(el("p", { class: "warning", role: "alert" }, `There is no utterance ${utt} in this list.`));
        if (before)
          (
            table.node.querySelector(`a[data-utt="${CSS.escape(before.utt)}"]`) ||
            table.node.querySelector("a") ||
            body
          ).focus();
        return;
      }
      const parts = await given.read(item);
      if (present !== item) return; // another one was opened meanwhile
      const order = table.order(),
        at = order.indexOf(item);
      const go = (other) => other && (() => report.goTo(given.place(other)));
      const panel = report.utterancePanel({
        title: item.utt,
        ...parts,
        before: go(order[at - 1]),
        after: go(order[at + 1]),
        close: () => report.goTo({}),
      });
      opened.replaceChildren(panel);
      panel.focusHeading();
      report.say(`Utterance ${item.utt} opened`);
    };
  }

  const link = (place) => ({
    title: "utterance",
    head: true,
    value: (item) => item.utt,
    cell: (item) => el("a", { href: report.linkTo(place(item)), "data-utt": item.utt }, item.utt),
  });
  const number = (key, title, digits, hint) => ({
    title,
    hint,
    number: true,
    value: (item) => item[key],
    cell: (item) => report.number(item[key], digits),
  });

  async function ofUtterance(kind, parts, item) {
    const shard = await report.load(report.nameOf(kind, ...parts, String(item.shard)));
    return (shard && shard[item.utt]) || null;
  }

  async function read(item) {
    const of = [chosen.system, chosen.lm, chosen.set];
    const [words, sound] = await Promise.all([
      ofUtterance("words", of, item),
      ofUtterance("sound", [chosen.set], item),
    ]);
    const timed = (words || []).some((word) => report.isNumber(word.start)); // else there are no states either
    const states = timed ? await ofUtterance("states", of, item) : null;
    const facts = [
      `speaker ${item.speaker}`,
      report.isNumber(item.seconds) ? report.duration(item.seconds) : "",
      report.isNumber(item.level) ? `level ${report.number(item.level, 1)} dB` : "",
      `${report.plural(errors(item), "error")} in ${report.plural(item.words, "word")}`,
      report.isNumber(item.wer) ? `WER ${report.number(item.wer, 1)} %` : "",
    ];
    return { facts: facts.filter(Boolean).join(" · "), words, sound, states };
  }

  let openUtterance = null,
    openSuspicious = null;

  /** Shows the utterances of a decoding, {system, lm, set, detailed}. */
  report.showUtterances = async function (row) {
    chosen = row;
    openUtterance = null;
    const data = await report.load(report.nameOf("utterances", row.system, row.lm, row.set));
    if (chosen !== row) return;
    const items = (data && data.items) || [];
    const place = (item) => ({ utt: item.utt });
    openUtterance = list({
      id: "utterances",
      key: "utt",
      items,
      read,
      place,
      isOpen: (item) => item.utt === report.place.utt,
      intro: el(
        "p",
        {},
        "Those with the most errors come first. Open one to see its words, hear it, and look at its alignment.",
      ),
      columns: [
        link(place),
        { title: "speaker", value: (item) => item.speaker },
        number("seconds", "seconds", 1),
        number("words", "words"),
        { title: "errors", number: true, value: errors },
        number("ins", "ins"),
        number("del", "del"),
        number("sub", "sub"),
        number("wer", "WER %", 1),
        number("level", "dB", 1, "level of the signal"),
      ],
      table: {
        caption: `Utterances of ${row.set}, by ${row.system} with ${row.lm}`,
        sort: 4,
        descending: true,
        empty: "No utterance fits.",
      },
    });
    openUtterance();
  };

  const score = (item) => (item.score === null ? "∞" : report.number(item.score, 2)); // it cannot be aligned at all

  /** Shows the utterances that the alignment check suspects. */
  report.showSuspicious = function (data) {
    const items = (data && data.items) || [];
    if (!items.length) return;
    const place = (item) => ({ suspicious: item.utt, of: item.set });
    openSuspicious = list({
      id: "suspicious",
      key: "suspicious",
      items,
      place,
      isOpen: (item) => item.utt === report.place.suspicious && (!report.place.of || item.set === report.place.of),
      intro: el(
        "p",
        {},
        "Transcripts that seem not to fit their audio, as found by steps/check_alignment.sh. The limit of the score is 1.",
      ),
      columns: [
        link(place),
        { title: "folder", value: (item) => item.set },
        { title: "speaker", value: (item) => item.speaker },
        { title: "score", number: true, value: (item) => (item.score === null ? Infinity : item.score), cell: score },
        { title: "reason", value: (item) => item.reason },
      ],
      table: {
        caption: "Suspicious utterances and their scores",
        sort: 3,
        descending: true,
        empty: "No utterance fits.",
      },
      read: async (item) => ({
        facts: [item.set, item.speaker ? `speaker ${item.speaker}` : "", `score ${score(item)}`, item.reason]
          .filter(Boolean)
          .join(" · "),
        words: item.words,
        states: null,
        sound: await ofUtterance("sound", [item.set], item),
      }),
    });
    openSuspicious();
  };

  report.onPlace(() => {
    if (openUtterance) openUtterance();
    if (openSuspicious) openSuspicious();
  });
})(window.lstmpReport);

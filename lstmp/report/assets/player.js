/* Plays the audio of one utterance. Times are seconds from the beginning of the utterance, which may be a part of a file. */
(function (report) {
  "use strict";
  const el = report.el;
  let playing = null; // only one utterance is heard at a time

  const clock = (t) => `${Math.floor(t / 60)}:${(t % 60).toFixed(1).padStart(4, "0")}`;

  /**
   * A player for {audio, offset, seconds}. onTime(t) is called while it plays and when the position has changed.
   * Returns {node, play(from, until), stop(), audio}.
   */
  report.player = function (sound, onTime) {
    const offset = sound.offset || 0,
      seconds = sound.seconds;
    const audio = el("audio", { preload: "metadata", src: sound.audio });
    const button = el(
      "button",
      { type: "button", class: "play", on: { click: () => (audio.paused ? play() : stop()) } },
      "Play",
    );
    const position = el("input", {
      type: "range",
      min: "0",
      max: String(seconds),
      step: "0.05",
      value: "0",
      class: "position",
      "aria-label": "Position",
      on: { input: () => seek(Number(position.value)) },
    });
    const time = el("span", { class: "time" });
    const speed = report.select(
      "speed",
      [
        ["0.5", "half"],
        ["0.75", "three quarters"],
        ["1", "normal"],
      ],
      "1",
      (value) => {
        audio.playbackRate = Number(value);
      },
    );
    const trouble = el(
      "p",
      { class: "warning", role: "alert", hidden: true },
      "This browser cannot play ",
      el("code", {}, sound.audio),
      ".",
    );
    const node = el("div", { class: "player" }, audio, button, position, time, speed, trouble);
    let end = seconds; // where the present playing stops
    let following = false; // whether follow() is going to be called

    function now() {
      return Math.min(Math.max(audio.currentTime - offset, 0), seconds);
    }

    function show(t) {
      position.value = String(t);
      position.setAttribute("aria-valuetext", `${t.toFixed(1)} of ${seconds.toFixed(1)} seconds`);
      time.textContent = `${clock(t)} / ${clock(seconds)}`;
      onTime(t, !audio.paused);
    }

    function seek(t) {
      audio.currentTime = offset + t;
      end = seconds;
      show(t);
    }

    async function play(from, until) {
      if (playing && playing !== stop) playing();
      playing = stop;
      if (from !== undefined) audio.currentTime = offset + from;
      else if (now() >= seconds - 0.05 || audio.currentTime < offset) audio.currentTime = offset;
      end = until === undefined ? seconds : until;
      try {
        await audio.play();
        if (!following) requestAnimationFrame(follow);
        following = true;
      } catch (error) {
        if (error.name !== "AbortError") trouble.hidden = false; // stopped before it began
      }
    }

    function stop() {
      audio.pause();
    }

    function follow() {
      // the event timeupdate comes too seldom for a cursor that moves
      following = !audio.paused && node.isConnected;
      if (!following) return stop();
      if (now() >= end) stop();
      show(now());
      requestAnimationFrame(follow);
    }

    audio.addEventListener("play", () => {
      button.textContent = "Pause";
    });
    audio.addEventListener("pause", () => {
      button.textContent = "Play";
      show(now());
    });
    audio.addEventListener("error", () => {
      trouble.hidden = false;
    });
    show(0);
    return { node, play, stop, audio };
  };
})(window.lstmpReport);

/* Sends the microphone to the server, and shows its segments: the words that may still change in grey. */
(function () {
  "use strict";
  const button = document.getElementById("start");
  const level = document.getElementById("level");
  const state = document.getElementById("state");
  const words = document.getElementById("words");
  const MOST_WAITING = 2 ** 20; // bytes that wait to be sent: ten seconds of speech and more
  let running = null; // what is open while the page listens

  function tell(text) {
    state.textContent = text;
  }

  function clock(seconds) {
    const whole = Math.floor(seconds);
    return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
  }

  /* The paragraph of the open segment, at the end of the page. */
  function openParagraph() {
    const last = words.lastElementChild;
    if (last && last.classList.contains("open")) return last;
    const paragraph = document.createElement("p");
    paragraph.className = "open";
    paragraph.append(document.createElement("time"), document.createElement("span"));
    words.append(paragraph);
    return paragraph;
  }

  function show(segment) {
    const paragraph = openParagraph();
    paragraph.firstElementChild.textContent = clock(segment.begin);
    const open = document.createElement("i");
    open.textContent = segment.words.slice(segment.settled).join(" ");
    paragraph.lastElementChild.replaceChildren(segment.words.slice(0, segment.settled).join(" "), " ", open);
    if (segment.final) paragraph.className = "";
    paragraph.scrollIntoView({ block: "nearest" });
  }

  function release(session) {
    session.stream.getTracks().forEach((track) => track.stop());
    if (session.context.state !== "closed") session.context.close();
    level.value = 0;
  }

  function ended(session, text) {
    release(session);
    if (running !== session) return;
    running = null;
    button.textContent = "Start";
    button.disabled = false;
    const last = words.lastElementChild;
    if (last && last.classList.contains("open")) last.remove(); // words of a broken connection are not final
    tell(text);
  }

  function send(session, block) {
    let loudest = 0;
    for (const sample of block) loudest = Math.max(loudest, Math.abs(sample));
    level.value = loudest / 32767;
    if (session.socket.readyState !== WebSocket.OPEN || session.finishing) return;
    if (session.socket.bufferedAmount > MOST_WAITING) {
      session.socket.close();
      ended(session, "The server is slower than speech. Start again later.");
      return;
    }
    session.socket.send(block.buffer);
  }

  function connect(session) {
    const url = new URL("stream" + location.search, location.href);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    session.socket = new WebSocket(url);
    session.socket.onopen = () => session.socket.send(JSON.stringify({ rate: session.context.sampleRate }));
    session.socket.onmessage = (event) => {
      const message = JSON.parse(event.data);
      if (message.words) {
        show(message);
      } else if (message.ready) {
        tell("Listening.");
        button.disabled = false;
        session.recorder.port.onmessage = (data) => send(session, data.data);
      } else if (message.done) {
        session.why = "Press Start and speak.";
      } else if (message.error) {
        session.why = `The server has ended the connection: ${message.error}.`;
      }
    };
    session.socket.onclose = (event) => {
      const reason = event.reason ? `: ${event.reason}` : "; it may be full, or need a token (?token=… in the address)";
      ended(session, session.why || `No connection to the server${reason}.`);
    };
  }

  async function start() {
    const session = { finishing: false, why: "" };
    button.disabled = true;
    tell("Waiting for the microphone.");
    try {
      session.stream = await navigator.mediaDevices.getUserMedia({
        audio: { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false },
      });
    } catch (error) {
      button.disabled = false;
      tell(`The microphone cannot be used: ${error.message || error.name}.`);
      return;
    }
    running = session;
    session.context = new AudioContext();
    try {
      await session.context.audioWorklet.addModule("recorder.js");
    } catch (error) {
      ended(session, `The browser cannot record: ${error.message}.`);
      return;
    }
    session.recorder = new AudioWorkletNode(session.context, "recorder", { numberOfOutputs: 0 });
    session.context.createMediaStreamSource(session.stream).connect(session.recorder);
    button.textContent = "Stop";
    tell("Connecting.");
    connect(session);
  }

  function stop(session) {
    session.finishing = true;
    button.disabled = true;
    release(session);
    tell("Waiting for the last words.");
    if (session.socket.readyState === WebSocket.OPEN) session.socket.send(JSON.stringify({ end: true }));
    else session.socket.close();
  }

  button.onclick = () => (running ? stop(running) : start());
  if (!navigator.mediaDevices) {
    button.disabled = true;
    tell("A browser gives the microphone to pages of this machine or over https only.");
  }
  document.documentElement.dataset.ready = "1";
})();

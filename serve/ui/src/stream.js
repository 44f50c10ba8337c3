// The WebSocket: reconnects for ever with capped, jittered backoff; silence counts as a failure.
const FIRST_MS = 250;
const LAST_MS = 8000;
const SILENT_MS = 12000; // the server says something every two seconds

export function connect(store, base) {
  const url = `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${base}/v1/stream`;
  let socket;
  let timer;
  let pause = FIRST_MS;
  let stopped = false;

  const open = () => {
    socket = new WebSocket(url);
    let heard = Date.now();
    const watch = setInterval(() => {
      if (Date.now() - heard > SILENT_MS) socket.close();
    }, 1000);
    socket.onmessage = (event) => {
      heard = Date.now();
      pause = FIRST_MS;
      store.message(JSON.parse(event.data));
    };
    socket.onclose = () => {
      clearInterval(watch);
      if (stopped) return;
      const wait = pause * (0.5 + Math.random() / 2);
      pause = Math.min(LAST_MS, pause * 2);
      store.link({ state: "reconnecting", retryAt: Date.now() + wait });
      timer = setTimeout(open, wait);
    };
  };
  open();
  return () => {
    stopped = true;
    clearTimeout(timer);
    socket.close();
  };
}

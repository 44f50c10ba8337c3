// Puts the console into an element, inside a shadow root: the page's styles stay out, ours stay in.
import React from "react";
import { createRoot } from "react-dom/client";
import { App } from "./App.jsx";
import { connect } from "./stream.js";
import { createStore } from "./store.js";
import css from "./style.css?inline";

// The console lies at `<root>/console`, the API at `<root>`: a proxy may have put a prefix before both.
const root = () => location.pathname.replace(/\/console(\/.*)?$/, "");

export function mount(element, { base = root() } = {}) {
  const host = document.createElement("div");
  element.replaceChildren(host);
  const shadow = host.attachShadow({ mode: "open" });
  const style = document.createElement("style");
  style.textContent = css;
  const box = document.createElement("div");
  box.className = "root";
  shadow.append(style, box);
  const store = createStore();
  const disconnect = connect(store, base);
  const react = createRoot(box);
  react.render(<App store={store} base={base} />);
  return () => {
    disconnect();
    react.unmount();
  };
}

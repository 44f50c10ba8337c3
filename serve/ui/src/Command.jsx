// Halt and resume: says what will happen, asks for the token once, shows what became of it.
import React, { useEffect, useRef, useState } from "react";
import { command, newKey } from "./api.js";

const KEPT = "don-token"; // for this tab only; gone when it closes

const WORDS = {
  halt: {
    title: "Halt trading",
    what: "Cancels every open order, closes every position at market and refuses new orders until resumed.",
    act: "Halt now",
  },
  resume: {
    title: "Resume trading",
    what: "The desk trades again from the next bar on.",
    act: "Resume",
  },
};

export function CommandDialog({ kind, base, close }) {
  const dialog = useRef(null);
  const [token, setToken] = useState(() => sessionStorage.getItem(KEPT) ?? "");
  const [known, setKnown] = useState(Boolean(token));
  const [reason, setReason] = useState("");
  const [key] = useState(newKey); // the same for every try of this dialog: it happens once
  const [state, setState] = useState({ busy: false, error: "" });
  const words = WORDS[kind];

  useEffect(() => {
    dialog.current.showModal();
  }, []);

  const submit = async (event) => {
    event.preventDefault();
    setState({ busy: true, error: "" });
    try {
      await command(base, kind, token.trim(), reason, key);
      sessionStorage.setItem(KEPT, token.trim());
      close();
    } catch (error) {
      if (error.status === 401) {
        sessionStorage.removeItem(KEPT);
        setKnown(false);
      }
      setState({ busy: false, error: error.message });
    }
  };

  return (
    <dialog ref={dialog} onCancel={close} onClose={close} aria-labelledby="command-title">
      <form onSubmit={submit}>
        <h2 id="command-title">{words.title}</h2>
        <p>{words.what}</p>
        {!known && (
          <label>
            Token
            <input
              name="token"
              type="password"
              autoComplete="off"
              spellCheck="false"
              required
              autoFocus
              value={token}
              onChange={(event) => setToken(event.target.value)}
            />
            <small>In the file “token” of Don’s state folder. Kept in this tab until it closes.</small>
          </label>
        )}
        <label>
          Reason
          <input
            name="reason"
            maxLength="500"
            autoComplete="off"
            placeholder="optional, for the journal"
            value={reason}
            onChange={(event) => setReason(event.target.value)}
          />
        </label>
        {state.error && (
          <p className="error" role="alert">
            {state.error}
          </p>
        )}
        <footer>
          <button type="button" onClick={close}>
            Cancel
          </button>
          <button type="submit" className={kind} disabled={state.busy} autoFocus={known}>
            {state.busy ? "Sending" : words.act}
          </button>
        </footer>
      </form>
    </dialog>
  );
}

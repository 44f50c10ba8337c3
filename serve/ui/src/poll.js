// Asks again and again; what was told last stays, with the error that came since.
import { useEffect, useState } from "react";

// `ask(signal)` -> what is told; `every(told)` -> ms until the next question. Asks anew when `key` changes.
export function usePolled(ask, every, key) {
  const [state, set] = useState({ key: undefined, told: null, error: "" });
  useEffect(() => {
    const abort = new AbortController();
    let timer;
    const load = async () => {
      let told = null;
      try {
        told = await ask(abort.signal);
        set({ key, told, error: "" });
      } catch (failure) {
        if (abort.signal.aborted) return;
        set((old) => ({ key, told: old.key === key ? old.told : null, error: failure.message }));
      }
      if (!abort.signal.aborted) timer = setTimeout(load, every(told));
    };
    load();
    return () => {
      abort.abort();
      clearTimeout(timer);
    };
  }, [key]);
  return state.key === key ? state : { key, told: null, error: "" };
}

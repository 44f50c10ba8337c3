// One screen: the account on top, the market in the middle, what we hold and did below, why beside.
import React, { useCallback, useEffect, useMemo, useState } from "react";
import { Books } from "./Books.jsx";
import { CommandDialog } from "./Command.jsx";
import { Data } from "./Data.jsx";
import { Episodes } from "./Episodes.jsx";
import { EquityChart } from "./EquityChart.jsx";
import { Models } from "./Models.jsx";
import { PriceChart } from "./PriceChart.jsx";
import { Session } from "./Session.jsx";
import { Decisions, Health } from "./Side.jsx";
import { Fills, Orders, Positions } from "./Tables.jsx";
import { Training } from "./Training.jsx";
import { TopBar, useNow, verdict } from "./TopBar.jsx";
import { Watch } from "./Watch.jsx";
import { digitsOf, guessDigits } from "./format.js";
import { useStore } from "./store.js";

const NONE = [];
export const PAGES = {
  trade: "Trade",
  books: "Books",
  models: "Models",
  training: "Training",
  episodes: "Episodes",
  data: "Data",
};

const STALE = "STALE_DATA: ";
const staleness = (decision) =>
  decision?.status === "skipped" ? (decision.reasons.find((reason) => reason.startsWith(STALE)) ?? "").replace(STALE, "") : "";

// The page that is shown, kept in the address so that it can be linked to and reloaded.
function usePage() {
  const read = () => (location.hash.slice(1) in PAGES ? location.hash.slice(1) : "trade");
  const [page, set] = useState(read);
  useEffect(() => {
    const turn = () => set(read());
    addEventListener("hashchange", turn);
    return () => removeEventListener("hashchange", turn);
  }, []);
  const open = useCallback((name) => {
    location.hash = name === "trade" ? "" : name;
    set(name);
  }, []);
  return [page, open];
}

export function App({ store, base }) {
  const session = useStore(store, (s) => s.session);
  const link = useStore(store, (s) => s.link);
  const ages = useStore(store, (s) => s.ages);
  const hasDesk = useStore(store, (s) => Boolean(s.desk));
  const halted = useStore(store, (s) => s.desk?.halted);
  const haltReason = useStore(store, (s) => s.desk?.halt_reason);
  const standings = useStore(store, (s) => s.desk?.standings) ?? NONE;
  const reducing = useStore(store, (s) => s.desk?.state === "reducing");
  const stale = useStore(store, (s) => staleness(s.decisions[s.decisions.length - 1]));
  const missing = useStore(store, (s) => s.missing);
  const symbols = session?.symbols ?? NONE;
  const [picked, choose] = useState("");
  const [asked, ask] = useState("");
  const [page, open] = usePage();
  const chosen = symbols.includes(picked) ? picked : (symbols[0] ?? "");
  const now = useNow();
  const view = verdict(link, ages, hasDesk, now, stale);

  const steps = useMemo(
    () => new Map((session?.instruments ?? []).map((row) => [row.symbol, digitsOf(row.tick_size)])),
    [session],
  );
  const digits = useCallback(
    (symbol) => steps.get(symbol) ?? guessDigits(store.get().market?.bars?.[symbol]?.close ?? 1),
    [steps, store],
  );
  const close = useCallback(() => ask(""), []);

  useEffect(() => {
    document.title = halted ? "HALTED · Don" : session?.policy ? `${session.policy} · Don` : "Don";
  }, [halted, session]);

  const old = view.level === "lost";
  return (
    <div className={`app ${old ? "old" : ""}`} data-testid="app" data-level={view.level}>
      <TopBar store={store} level={view.level} short={view.short} onCommand={ask} page={page} pages={PAGES} open={open} />
      <div className="banners">
        {halted && (
          <p className="banner red" role="alert">
            <b>Halted.</b> {haltReason} No new orders until resumed.
          </p>
        )}
        {reducing && !halted && (
          <p className="banner amber" role="alert">
            <b>Reducing.</b> Only orders that reduce a position pass.{" "}
            {standings.map((each) => `${each.scope}: ${each.reason || "no reason given"}${each.actor ? `, by ${each.actor}` : ""}`).join("; ")}
          </p>
        )}
        {view.long && (
          <p className="banner amber" role="alert">
            {view.long}
          </p>
        )}
        {missing.length > 0 && <p className="banner amber">History is incomplete: {missing[0]}.</p>}
      </div>
      {page === "data" && <Data base={base} />}
      {page === "books" && <Books store={store} base={base} />}
      {page === "models" && <Models store={store} base={base} />}
      {page === "training" && <Training base={base} />}
      {page === "episodes" && <Episodes base={base} />}
      {page === "trade" && (
        <main>
          <div className="left-column">
            <Watch store={store} base={base} symbols={symbols} chosen={chosen} choose={choose} digits={digits} />
            <Session store={store} />
          </div>
          <div className="charts">
            <PriceChart store={store} base={base} symbol={chosen} digits={chosen ? digits(chosen) : 2} />
            <EquityChart store={store} />
          </div>
          <div className="tables">
            <Positions store={store} symbols={symbols} digits={digits} choose={choose} />
            <Orders store={store} digits={digits} choose={choose} />
            <Fills store={store} digits={digits} choose={choose} />
          </div>
          <aside>
            <Decisions store={store} />
            <Health store={store} />
          </aside>
        </main>
      )}
      {asked && <CommandDialog kind={asked} base={base} close={close} />}
    </div>
  );
}

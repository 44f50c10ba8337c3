// What runs, and what came of it so far.
import React from "react";
import { interval, number, signed } from "./format.js";
import { useStore } from "./store.js";

export const Session = React.memo(function Session({ store }) {
  const session = useStore(store, (s) => s.session);
  const desk = useStore(store, (s) => s.desk);
  const counts = desk?.counts ?? {};
  const rows = [
    ["Exchange", (session?.exchange ?? "").replace("_", " ").toLowerCase()],
    ["Account", session?.account],
    ["Bars", session?.interval_ns ? interval(session.interval_ns) : ""],
    ["Decisions", counts.decisions],
    ["Orders", counts.orders],
    ["Fills", counts.fills],
    ["Denials", counts.denials],
    ["Differences", counts.differences, counts.differences ? "down" : ""],
    ["Books equal exchange", { true: "yes", false: "no" }[desk?.ledger_equal], desk?.ledger_equal === false ? "down" : ""],
    ["Realised, all time", desk && signed(desk.realized)],
    ["P&L, all time", desk && signed(desk.pnl_total)],
  ];
  return (
    <section className="panel session" aria-label="Session">
      <header className="legend">
        <h2>Session</h2>
      </header>
      <dl className="scroll pairs">
        {rows
          .filter(([, value]) => value !== undefined && value !== null && value !== "")
          .map(([name, value, kind]) => (
            <div key={name}>
              <dt>{name}</dt>
              <dd className={kind}>{typeof value === "number" ? number(value, 0) : value}</dd>
            </div>
          ))}
      </dl>
    </section>
  );
});

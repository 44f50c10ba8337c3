// Who trades, how it goes, whether what is shown is current, and the way to stop it.
import React, { useEffect, useState } from "react";
import { clock, day, number, percent, signed, signedPercent, span, times, tone } from "./format.js";
import { ms, useStore } from "./store.js";

const OLD_S = 6; // silence after which the picture is called old

export function useNow(every = 500) {
  const [now, setNow] = useState(Date.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), every);
    return () => clearInterval(timer);
  }, [every]);
  return now;
}

// One verdict about the connection: {level, short, long}; level is live, wait, warn or lost.
// `stale`: why the last decision was skipped, if the data were too old for it.
export function verdict(link, ages, hasDesk, now, stale) {
  const silent = link.lastAt ? (now - link.lastAt) / 1000 : 0;
  const since = link.lastAt ? ` since ${clock(link.lastAt)} UTC` : "";
  if (link.state === "connecting") return { level: "wait", short: "connecting", long: "" };
  if (link.state === "reconnecting") {
    const wait = Math.max(0, Math.ceil((link.retryAt - now) / 1000));
    return {
      level: "lost",
      short: "disconnected",
      long: `Not connected${since}: what is shown is old. Trying again${wait ? ` in ${wait} s` : ""}.`,
    };
  }
  if (link.state === "away") return { level: "lost", short: "no data", long: `${link.detail}. What is shown is old.` };
  if (silent > OLD_S)
    return { level: "lost", short: `silent ${span(silent)}`, long: `Nothing heard${since}: what is shown is old.` };
  if (!hasDesk) return { level: "wait", short: "starting", long: "" };
  const age = Math.max(ages.market ?? 0, 0);
  if (age > 10) return { level: "warn", short: "stale market", long: `The market data are ${span(age)} old.` };
  if (stale) return { level: "warn", short: "data behind", long: `The last decision was skipped: ${stale}.` };
  return { level: "live", short: "live", long: "" };
}

export const TopBar = React.memo(function TopBar({ store, level, short, onCommand, page, pages, open }) {
  const desk = useStore(store, (s) => s.desk);
  const session = useStore(store, (s) => s.session);
  const { now: down, worst } = useStore(store, (s) => s.drawdown);
  const start = desk ? Number(desk.equity) - Number(desk.pnl) : 0;
  const gross = (desk?.positions ?? []).reduce((sum, row) => sum + Math.abs(row.weight ?? 0), 0);
  const halted = desk?.halted;
  const held = desk?.standings?.length ?? 0;
  return (
    <header className="top">
      <div className="brand">
        <strong>DON</strong>
        <nav className="pages" aria-label="Pages">
          {Object.entries(pages).map(([name, label]) => (
            <button key={name} type="button" aria-current={page === name ? "page" : undefined} onClick={() => open(name)}>
              {label}
              {name === "books" && held > 0 && <i className="dot stale" role="img" aria-label={`${held} not active`} />}
            </button>
          ))}
        </nav>
        {session?.session ? (
          <span className="who">
            <b title={session.policy}>{session.policy}</b>
            <small>
              {session.mode} {session.session}
            </small>
          </span>
        ) : (
          <span className="who">
            <small>no session yet</small>
          </span>
        )}
      </div>
      <dl className="figures">
        <Figure label="Equity" value={number(desk?.equity)} strong />
        <Figure
          label="P&L session"
          value={signed(desk?.pnl)}
          note={start > 0 ? signedPercent(Number(desk.pnl) / start) : ""}
          tone={tone(desk?.pnl)}
          title={desk ? `${signed(desk.pnl_total)} since the account began` : ""}
        />
        <Figure label="Unrealised" value={signed(desk?.unrealized)} tone={tone(desk?.unrealized)} />
        <Figure label="Drawdown" value={percent(down)} note={worst === null ? "" : `max ${percent(worst)}`} />
        <Figure label="Leverage" value={desk ? times(gross) : "\u2013"} />
        <Figure label="Fees" value={number(desk?.fees)} />
        <Figure label="Funding" value={signed(desk?.funding)} />
      </dl>
      <div className="control">
        <span className="clock" title="Exchange time, UTC">
          <small>{desk?.ts_event ? `${day(ms(desk.ts_event))} UTC` : ""}</small>
          {desk?.ts_event ? clock(ms(desk.ts_event)) : ""}
        </span>
        {desk && !desk.reconciled && <span className="tag amber">not reconciled</span>}
        {desk?.counts.differences > 0 && <span className="tag red">{desk.counts.differences} differences</span>}
        <span className={`link ${level}`} role="status" data-testid="link">
          <i />
          {short}
        </span>
        {halted ? (
          <button type="button" className="resume" onClick={() => onCommand("resume")}>
            Resume
          </button>
        ) : (
          <button type="button" className="halt" onClick={() => onCommand("halt")} disabled={!desk}>
            Halt
          </button>
        )}
      </div>
    </header>
  );
});

function Figure({ label, value, note, tone: kind = "", strong, title }) {
  return (
    <div className={strong ? "figure strong" : "figure"} title={title}>
      <dt>{label}</dt>
      <dd className={kind}>
        {value}
        {note && <small>{note}</small>}
      </dd>
    </div>
  );
}

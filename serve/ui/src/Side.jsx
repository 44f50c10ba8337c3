// Why the desk did what it did, and how every part is doing.
import React, { useMemo, useState } from "react";
import { Clocks } from "./Clocks.jsx";
import { base, moment, signedPercent, span } from "./format.js";
import { ms, useStore } from "./store.js";

const SHOWN = 60;
const tagOf = (status) => (status.startsWith("halt") ? "red" : status === "fallback" || status === "skipped" ? "amber" : "");

export const Decisions = React.memo(function Decisions({ store }) {
  const decisions = useStore(store, (s) => s.decisions);
  const counts = useStore(store, (s) => s.desk?.counts);
  const policy = useStore(store, (s) => s.session?.policy);
  const rows = useMemo(() => decisions.slice(-SHOWN).reverse(), [decisions]);
  return (
    <section className="panel decisions" aria-label="Decisions">
      <header className="legend">
        <h2>Decisions</h2>
        <span className="count">{counts?.decisions ?? rows.length}</span>
        {counts && <span className="right dim">{counts.denials} denied</span>}
      </header>
      <ol className="scroll">
        {rows.map((row) => (
          <Decision key={row.decision} row={row} policy={row.policy === policy ? "" : row.policy} />
        ))}
        {rows.length === 0 && <li className="empty">None yet: the first comes when a bar closes.</li>}
      </ol>
    </section>
  );
});

// `policy`: which of several it is of; "" where there is one.
const Decision = React.memo(function Decision({ row, policy }) {
  const weights = Object.entries(row.weights).filter(([, weight]) => weight !== null && weight !== undefined);
  return (
    <li>
      <p className="head">
        <b>#{row.decision}</b>
        <span className="dim">{moment(ms(row.ts_event))}</span>
        <span className={`tag ${tagOf(row.status)}`}>{row.status}</span>
        {policy && <span className="policy">{policy}</span>}
        <span className="right dim">
          {row.orders.length} {row.orders.length === 1 ? "order" : "orders"}
        </span>
      </p>
      {row.status !== "skipped" && weights.length > 0 && (
        <p className="weights">
          {weights.map(([symbol, weight]) => (
            <span key={symbol} title={symbol}>
              <i className={weight >= 0 ? "long" : "short"} style={{ "--w": Math.min(1, Math.abs(weight) * 2) }} />
              <em>{base(symbol)}</em>
              {signedPercent(weight, 0)}
            </span>
          ))}
        </p>
      )}
      {row.reasons.map((reason) => (
        <p key={reason} className="reason">
          {reason.replace(/(^|[\s(])-(?=\d)/g, "$1\u2212")}
        </p>
      ))}
      {byCode(row.denials).map(([code, denials]) => (
        <p key={code} className="denial" title={denials.map((d) => `${d.symbol} ${d.detail}`).join("\n")}>
          <b>{code}</b> {denials.map((d) => d.symbol && base(d.symbol)).join(", ")}
          {denials.length === 1 && ` ${denials[0].detail}`}
        </p>
      ))}
    </li>
  );
});

function byCode(denials) {
  const groups = new Map();
  for (const denial of denials) groups.set(denial.code, [...(groups.get(denial.code) ?? []), denial]);
  return [...groups];
}

const RANK = { down: 0, stale: 1, starting: 2, live: 3 };

export const Health = React.memo(function Health({ store }) {
  const parts = useStore(store, (s) => s.health);
  const [open, setOpen] = useState("");
  const sorted = useMemo(
    () => [...parts].sort((a, b) => RANK[a.state] - RANK[b.state] || a.part.localeCompare(b.part)),
    [parts],
  );
  const clocks = sorted.flatMap((part) => part.clocks ?? []);
  const ill = sorted.filter((part) => part.state !== "live").length;
  const streams = sorted.reduce((sum, part) => sum + part.streams.length, 0);
  return (
    <section className="panel health" aria-label="Health">
      <header className="legend">
        <h2>Health</h2>
        <span className={ill ? "tag amber" : "count"}>
          {ill ? `${ill} of ${sorted.length} not live` : `${sorted.length} parts, ${streams} streams`}
        </span>
      </header>
      <ul className="scroll">
        {sorted.map((part) => (
          <Part
            key={part.part}
            part={part}
            open={open === part.part}
            toggle={() => setOpen(open === part.part ? "" : part.part)}
          />
        ))}
        {sorted.length === 0 && <li className="empty">Nothing heard yet.</li>}
      </ul>
      <Clocks clocks={clocks} />
    </section>
  );
});

function Part({ part, open, toggle }) {
  const ill = part.streams.filter((stream) => stream.state !== "live").length;
  return (
    <li>
      <button type="button" className="part" aria-expanded={open} onClick={toggle} disabled={!part.streams.length}>
        <Dot state={part.state} />
        <span className="name">{part.part}</span>
        <span className="detail" title={part.detail}>
          {part.detail || (part.state === "live" ? "" : part.state)}
        </span>
        {part.streams.length > 0 && (
          <span className={ill ? "streams amber" : "streams"}>
            {part.streams.length - ill}/{part.streams.length}
          </span>
        )}
        {part.restarts > 0 && <span className="amber">{part.restarts} restarts</span>}
        <span className="age">{span(part.age_s)}</span>
      </button>
      {open && <Streams streams={part.streams} />}
    </li>
  );
}

function Streams({ streams }) {
  return (
    <table className="streams-table">
      <thead>
        <tr>
          <th className="left">Stream</th>
          <th>Last event</th>
          <th>Events</th>
          <th>Gaps</th>
          <th>Reconn.</th>
        </tr>
      </thead>
      <tbody>
        {streams.map((stream) => (
          <tr key={stream.stream} title={stream.detail}>
            <td className="left">
              <Dot state={stream.state} /> {stream.stream.replace(/-USDT-PERP$/, "")}
            </td>
            <td>{stream.ts_event ? moment(ms(stream.ts_event)) : "\u2013"}</td>
            <td>{stream.events.toLocaleString("en-US")}</td>
            <td className={stream.gaps ? "amber" : ""}>{stream.gaps}</td>
            <td className={stream.reconnects ? "amber" : ""}>{stream.reconnects}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

export const Dot = ({ state }) => <i className={`dot ${state}`} role="img" aria-label={state} />;

// What was collected: is every minute of every stream there? Streams down, time across.
import React, { useCallback, useEffect, useMemo, useState } from "react";
import { clocks as fetchClocks, coverage as fetchCoverage } from "./api.js";
import { Clocks } from "./Clocks.jsx";
import { Trouble } from "./Frame.jsx";
import { Heat, NAMES, STATES } from "./Heat.jsx";
import { moment, number, span as spanText } from "./format.js";
import { usePolled } from "./poll.js";
import { ms } from "./store.js";

const SPANS = ["6h", "24h", "7d", "30d", "365d"];
const SPAN_MS = { "6h": 21600e3, "24h": 86400e3, "7d": 604800e3, "30d": 2592e6, "365d": 31536e6 };
const EVERY_MS = 15_000;
const COLUMNS = 240;
const NONE = [];
const iso = (at) => new Date(at).toISOString();

export const Data = React.memo(function Data({ base }) {
  const [span, setSpan] = useState("24h");
  const [end, setEnd] = useState(0); // ms; 0: the newest minute that is known
  const [exchange, setExchange] = useState("");
  const [channel, setChannel] = useState("");
  const [told, setTold] = useState(null);
  const [error, setError] = useState("");
  const [names, setNames] = useState({ exchanges: [], channels: [] });

  useEffect(() => {
    const abort = new AbortController();
    let timer;
    const load = async () => {
      try {
        const query = { span, columns: COLUMNS, limit: 500 };
        if (end) query.end = iso(end);
        if (exchange) query.exchange = exchange;
        if (channel) query.channel = channel;
        const found = await fetchCoverage(base, query, abort.signal);
        setTold(found);
        setError("");
        setNames((old) => ({
          exchanges: merge(old.exchanges, found.rows, "exchange"),
          channels: merge(old.channels, found.rows, "channel"),
        }));
      } catch (failure) {
        if (abort.signal.aborted) return;
        setError(failure.message);
      }
      timer = setTimeout(load, EVERY_MS);
    };
    load();
    return () => {
      abort.abort();
      clearTimeout(timer);
    };
  }, [base, span, end, exchange, channel]);

  const clocks = usePolled((signal) => fetchClocks(base, signal), () => EVERY_MS, base).told ?? NONE;
  const shift = (way) => {
    const from = end || (told ? ms(told.end) : 0);
    if (from) setEnd(from + way * SPAN_MS[span] * 0.5);
  };
  const show = useCallback((gap) => {
    const length = ms(gap.end) - ms(gap.start);
    const fits = SPANS.find((name) => SPAN_MS[name] > 2 * length) ?? "365d";
    setSpan(fits);
    setEnd(ms(gap.end) + (SPAN_MS[fits] - length) / 2);
  }, []);

  return (
    <div className="data" data-testid="data">
      <section className="panel coverage" aria-label="Completeness">
        <header className="legend">
          <h2>Completeness</h2>
          <Choice label="Exchange" value={exchange} choose={setExchange} names={names.exchanges} />
          <Choice label="Channel" value={channel} choose={setChannel} names={names.channels} />
          <span className="right spans" role="group" aria-label="Time shown">
            <button type="button" onClick={() => shift(-1)} aria-label="Earlier" disabled={!told}>
              ‹
            </button>
            {SPANS.map((name) => (
              <button key={name} type="button" aria-pressed={name === span} onClick={() => setSpan(name)}>
                {name === "365d" ? "1y" : name}
              </button>
            ))}
            <button type="button" onClick={() => shift(1)} aria-label="Later" disabled={!end}>
              ›
            </button>
            <button type="button" aria-pressed={!end} onClick={() => setEnd(0)}>
              newest
            </button>
          </span>
        </header>
        <Key shares={told?.shares} />
        <Clocks clocks={clocks} compact />
        <Trouble asked={{ told, error }} />
        {told && told.streams === 0 && (
          <p className="empty">
            Nothing was collected yet. <code>don data collect</code>, <code>backfill</code> and <code>import</code> fill
            the store; <code>don data audit --rebuild</code> looks at what is there.
          </p>
        )}
        {told && told.rows.length > 0 && <Heat told={told} />}
        {told && told.streams > told.rows.length && (
          <p className="dim more">
            {told.rows.length} of {told.streams} streams: choose an exchange or a channel.
          </p>
        )}
      </section>
      <Gaps told={told} show={show} />
    </div>
  );
});

function merge(known, rows, field) {
  const all = new Set([...known, ...rows.map((row) => row[field])]);
  return all.size === known.length ? known : [...all].sort();
}

function Choice({ label, value, choose, names }) {
  return (
    <select aria-label={label} value={value} onChange={(event) => choose(event.target.value)}>
      <option value="">{`all ${label.toLowerCase()}s`}</option>
      {names.map((name) => (
        <option key={name}>{name}</option>
      ))}
    </select>
  );
}

function Key({ shares }) {
  return (
    <ul className="key">
      {NAMES.map((name) => (
        <li key={name}>
          <i style={{ background: STATES[name] }} />
          {name}
          {shares?.[name] !== undefined && <b>{share(shares[name])}</b>}
        </li>
      ))}
    </ul>
  );
}

// Never rounded up to everything or down to nothing.
export function share(value) {
  if (value > 0 && value < 0.0001) return "<0.01%";
  if (value < 1 && value > 0.9999) return ">99.99%";
  return `${number(value * 100, 2)}%`;
}

const MOST = 1000; // that the server lists

// One outage takes many streams: those that begin, end and are explained alike are one line.
function outages(gaps) {
  const found = new Map();
  for (const gap of gaps) {
    const name = [gap.exchange, gap.start, gap.end, gap.state, gap.reason].join("|");
    const known = found.get(name);
    if (known) known.streams.push(gap);
    else found.set(name, { ...gap, name, streams: [gap] });
  }
  return [...found.values()];
}

function streamsOf({ streams }) {
  if (streams.length === 1) return `${streams[0].channel} ${streams[0].symbol}`;
  const channels = [...new Set(streams.map((each) => each.channel))];
  return channels.length === 1 ? `${channels[0]}, ${streams.length} symbols` : `${streams.length} streams`;
}

function Gaps({ told, show }) {
  const gaps = told?.gaps ?? NONE;
  const shown = useMemo(() => outages(gaps), [gaps]);
  return (
    <section className="panel gaps" aria-label="Gaps">
      <header className="legend">
        <h2>Gaps</h2>
        <span className="count">
          {told?.streams > 0 && shown.length}
          {gaps.length >= MOST && "+"}
        </span>
        <span className="right dim">newest first, UTC</span>
      </header>
      <div className="scroll">
        <ol>
          {shown.map((gap) => (
            <li key={gap.name} title={gap.streams.map((each) => `${each.channel} ${each.symbol}`).join("\n")}>
              <button type="button" onClick={() => show(gap)}>
                <i style={{ background: STATES[gap.state] }} title={gap.state} />
                <b>{moment(ms(gap.start))}</b>
                <span className="length">{spanText((ms(gap.end) - ms(gap.start)) / 1000)}</span>
                <span className="stream">
                  {streamsOf(gap)} <small className="dim">{gap.exchange}</small>
                </span>
                <span className="reason dim">{gap.reason}</span>
              </button>
            </li>
          ))}
        </ol>
        {told && told.streams > 0 && gaps.length === 0 && <p className="empty">No gaps in the time shown.</p>}
      </div>
    </section>
  );
}

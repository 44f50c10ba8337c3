// The symbols: last price, change over the last day of bars, a sparkline, what we hold.
import React, { useEffect, useState } from "react";
import { bars as fetchBars } from "./api.js";
import { C } from "./colors.js";
import { base as baseOf, number, signedPercent, tone } from "./format.js";
import { ms, useStore } from "./store.js";

const DAY_NS = 86_400e9;
const MAX_POINTS = 96;
const EVERY_MS = 15_000;

export const Watch = React.memo(function Watch({ store, base, symbols, chosen, choose, digits }) {
  const ns = useStore(store, (s) => s.session?.interval_ns ?? 0);
  const [past, setPast] = useState({});

  useEffect(() => {
    if (!ns || !symbols.length) return undefined;
    const abort = new AbortController();
    const points = Math.min(MAX_POINTS, Math.max(12, Math.round(DAY_NS / ns)));
    let timer;
    const load = async () => {
      for (const symbol of symbols)
        try {
          const found = await fetchBars(base, symbol, points, abort.signal);
          setPast((old) => ({ ...old, [symbol]: found }));
        } catch {
          if (abort.signal.aborted) return; // otherwise the next round tries again
        }
      timer = setTimeout(load, EVERY_MS);
    };
    load();
    return () => {
      abort.abort();
      clearTimeout(timer);
    };
  }, [base, ns, symbols]);

  return (
    <nav className="panel watch" aria-label="Symbols">
      <header className="legend">
        <h2>Markets</h2>
        <span className="right dim">{pastLabel(past, ns)}</span>
      </header>
      <div className="rows" role="tablist">
        {symbols.map((symbol) => (
          <Row
            key={symbol}
            store={store}
            symbol={symbol}
            past={past[symbol]}
            digits={digits(symbol)}
            chosen={symbol === chosen}
            choose={choose}
          />
        ))}
      </div>
    </nav>
  );
});

function pastLabel(past, ns) {
  const bars = Object.values(past)[0];
  if (!bars?.length || !ns) return "";
  return `${Math.round((bars.length * ns) / 3600e9)}h`;
}

function Row({ store, symbol, past, digits, chosen, choose }) {
  const bar = useStore(store, (s) => s.market?.bars?.[symbol] ?? s.market?.closed?.[symbol]);
  const held = useStore(store, (s) => s.desk?.positions.find((position) => position.symbol === symbol));
  const old = past?.[0]?.open;
  const last = bar?.close ?? past?.[past.length - 1]?.close;
  const change = old && last ? last / old - 1 : null;
  const closes = (past ?? []).map((row) => row.close);
  if (bar && past?.length && ms(bar.ts_open) > ms(past[past.length - 1].ts_open)) closes.push(bar.close);
  return (
    <button type="button" role="tab" aria-selected={chosen} className="row" onClick={() => choose(symbol)}>
      <span className="name">
        {baseOf(symbol)}
        {held && (
          <small className={Number(held.size) > 0 ? "buy" : "sell"}>{Number(held.size) > 0 ? "long" : "short"}</small>
        )}
      </span>
      <Spark values={closes} good={change >= 0} />
      <span className="price">{number(last, digits)}</span>
      <span className={`change ${tone(change)}`}>{signedPercent(change)}</span>
    </button>
  );
}

function Spark({ values, good }) {
  if (values.length < 2) return <svg className="spark" aria-hidden="true" />;
  const low = Math.min(...values);
  const range = Math.max(...values) - low || 1;
  const points = values
    .map((value, n) => `${((n / (values.length - 1)) * 58 + 1).toFixed(1)},${(19 - ((value - low) / range) * 18).toFixed(1)}`)
    .join(" ");
  return (
    <svg className="spark" viewBox="0 0 60 20" preserveAspectRatio="none" aria-hidden="true">
      <polyline points={points} fill="none" stroke={good ? C.up : C.down} strokeWidth="1.2" />
    </svg>
  );
}

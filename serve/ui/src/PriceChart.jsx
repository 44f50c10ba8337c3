// Candles of the chosen symbol: history over REST, the forming bar and our fills from the stream.
import React, { useEffect, useRef, useState } from "react";
import { bars as fetchBars } from "./api.js";
import { Candles, describeFill } from "./candles.js";
import { compact, interval, moment, number, signedPercent, tone } from "./format.js";
import { useStore } from "./store.js";

const HISTORY = 500;
const AGAIN_MS = 2000;

export const PriceChart = React.memo(function PriceChart({ store, base, symbol, digits }) {
  const box = useRef(null);
  const [hover, setHover] = useState(null);
  const [problem, setProblem] = useState("");
  const ns = useStore(store, (s) => s.session?.interval_ns ?? 0);
  const session = useStore(store, (s) => s.session?.session ?? "");

  useEffect(() => {
    if (!symbol || !ns) return undefined;
    const chart = new Candles(box.current, setHover);
    const abort = new AbortController();
    let seen = {};
    let ready = false;
    let timer;

    const load = async () => {
      ready = false;
      try {
        // after a short gap only what is missing of it
        const since = chart.last ? new Date(chart.last * 1000).toISOString() : undefined;
        const found = await fetchBars(base, symbol, HISTORY, abort.signal, since);
        if (!since || !found.length || !found.every((bar) => chart.update(bar)))
          chart.load(since ? await fetchBars(base, symbol, HISTORY, abort.signal) : found, ns / 1e9, digits);
        setProblem("");
        ready = true;
        seen = {};
        draw();
      } catch (error) {
        if (abort.signal.aborted) return;
        setProblem(error.message);
        timer = setTimeout(load, AGAIN_MS);
      }
    };
    const draw = () => {
      if (!ready) return;
      const { market, fills, desk } = store.get();
      let fresh = false;
      if (market !== seen.market) {
        const before = chart.last;
        const whole = chart.update(market?.closed?.[symbol]) && chart.update(market?.bars?.[symbol]);
        if (!whole) {
          ready = false;
          timer = setTimeout(load, 200);
          return;
        }
        fresh = chart.last !== before;
      }
      if (fresh || fills !== seen.fills)
        box.current.dataset.markers = chart.mark(fills.filter((fill) => fill.symbol === symbol));
      if (desk !== seen.desk) {
        const held = desk?.positions.find((position) => position.symbol === symbol);
        chart.line(held, desk?.open_orders.filter((order) => order.symbol === symbol) ?? [], digits);
      }
      seen = { market, fills, desk };
      box.current.dataset.bars = chart.bars.size;
      box.current.dataset.close = chart.bars.get(chart.last)?.close ?? "";
    };
    load();
    const unsubscribe = store.subscribe(draw);
    return () => {
      abort.abort();
      clearTimeout(timer);
      unsubscribe();
      chart.remove();
    };
  }, [store, base, symbol, digits, ns, session]);

  return (
    <section className="panel chart" aria-label={`Candles of ${symbol}`}>
      <Legend store={store} symbol={symbol} digits={digits} ns={ns} hover={hover} />
      <div className="canvas" ref={box} data-testid="candles" />
      {problem && <p className="notice">Bars cannot be read: {problem}. Trying again.</p>}
    </section>
  );
});

function Legend({ store, symbol, digits, ns, hover }) {
  const live = useStore(store, (s) => s.market?.bars?.[symbol] ?? s.market?.closed?.[symbol]);
  const quote = useStore(store, (s) => s.market?.quotes?.[symbol]);
  const stale = useStore(store, (s) => s.desk?.stale?.includes(symbol) || s.market?.stale?.includes(symbol));
  const bar = hover ?? live;
  const change = bar ? bar.close / bar.open - 1 : null;
  const fills = hover?.fills ?? [];
  return (
    <header className="legend">
      <h2>{symbol}</h2>
      <span className="dim">{ns ? interval(ns) : ""}</span>
      {stale && <span className="tag amber">stale</span>}
      {bar && (
        <dl className="ohlc">
          {["open", "high", "low", "close"].map((key) => (
            <React.Fragment key={key}>
              <dt>{key[0].toUpperCase()}</dt>
              <dd className={tone(change)}>{number(bar[key], digits)}</dd>
            </React.Fragment>
          ))}
          <dd className={tone(change)}>{signedPercent(change)}</dd>
          <dt>Vol</dt>
          <dd>{compact(bar.volume)}</dd>
        </dl>
      )}
      {hover ? (
        <span className="right dim">
          {fills.length ? fills.map((fill) => describeFill(fill, digits)).join(", ") : moment(hover.time * 1000)}
        </span>
      ) : (
        quote && (
          <dl className="ohlc right">
            <dt>Bid</dt>
            <dd>{number(quote.bid, digits)}</dd>
            <dt>Ask</dt>
            <dd>{number(quote.ask, digits)}</dd>
            <dt>Spread</dt>
            <dd>{number(((quote.ask - quote.bid) / quote.bid) * 1e4, 1)} bp</dd>
          </dl>
        )
      )}
    </header>
  );
}

// The session's equity against where it began, and the drawdown under it.
import { BaselineSeries, createChart } from "lightweight-charts";
import React, { useEffect, useRef } from "react";
import { C, chartOptions } from "./colors.js";
import { number, percent, signed, tone } from "./format.js";
import { useStore } from "./store.js";

const EVERY_MS = 1000;

// One point a bar: irregular points would bend the time axis.
function perBar(points, step) {
  const kept = [];
  for (const point of points) {
    const time = Math.floor(point.time / 1000 / step) * step;
    const last = kept[kept.length - 1];
    if (last && last.time === time) last.value = point.value;
    else kept.push({ time, value: point.value });
  }
  return kept;
}

function drawdowns(points) {
  let peak = -Infinity;
  return points.map(({ time, value }) => {
    peak = Math.max(peak, value);
    return { time, value: peak > 0 ? value / peak - 1 : 0 };
  });
}

export const EquityChart = React.memo(function EquityChart({ store }) {
  const box = useRef(null);
  const ns = useStore(store, (s) => s.session?.interval_ns ?? 0);

  useEffect(() => {
    if (!ns) return undefined;
    const chart = createChart(box.current, {
      ...chartOptions,
      layout: { ...chartOptions.layout, attributionLogo: false }, // the chart above carries it
      handleScroll: false,
      handleScale: false,
      timeScale: { ...chartOptions.timeScale, rightOffset: 1, fixLeftEdge: true },
    });
    const line = {
      topLineColor: C.up,
      topFillColor1: "rgba(38,166,154,.22)",
      topFillColor2: "rgba(38,166,154,.02)",
      bottomLineColor: C.down,
      bottomFillColor1: "rgba(239,83,80,.02)",
      bottomFillColor2: "rgba(239,83,80,.22)",
      lineWidth: 2,
    };
    const equity = chart.addSeries(BaselineSeries, {
      ...line,
      priceFormat: { type: "custom", minMove: 0.01, formatter: (price) => number(price, 0) },
    });
    equity.priceScale().applyOptions({ scaleMargins: { top: 0.08, bottom: 0.3 } });
    const under = chart.addSeries(BaselineSeries, {
      ...line,
      topLineColor: "transparent",
      baseValue: { type: "price", price: 0 },
      lineWidth: 1,
      priceScaleId: "drawdown",
      lastValueVisible: false,
      priceLineVisible: false,
      priceFormat: { type: "percent" },
    });
    under.priceScale().applyOptions({ scaleMargins: { top: 0.76, bottom: 0.02 } });
    let seen;
    let timer;
    const draw = () => {
      timer = undefined;
      const { equity: points } = store.get();
      if (points === seen) return;
      seen = points;
      const data = perBar(points, ns / 1e9);
      if (data.length) equity.applyOptions({ baseValue: { type: "price", price: data[0].value } });
      equity.setData(data);
      under.setData(drawdowns(data));
      box.current.dataset.points = data.length;
      chart.timeScale().fitContent();
    };
    draw();
    // a curve over days need not be drawn ten times a second
    const unsubscribe = store.subscribe(() => {
      timer ??= setTimeout(draw, seen?.length ? EVERY_MS : 0);
    });
    return () => {
      unsubscribe();
      clearTimeout(timer);
      chart.remove();
    };
  }, [store, ns]);

  return (
    <section className="panel equity" aria-label="Equity curve">
      <Legend store={store} />
      <div className="canvas" ref={box} data-testid="equity" />
    </section>
  );
});

function Legend({ store }) {
  const first = useStore(store, (s) => s.equity[0]?.value);
  const last = useStore(store, (s) => s.equity[s.equity.length - 1]?.value);
  const { now, worst, peak } = useStore(store, (s) => s.drawdown);
  return (
    <header className="legend">
      <h2>Equity</h2>
      <span className="dim unit">USDT, this session</span>
      {last !== undefined && (
        <dl className="ohlc right">
          <dt>Change</dt>
          <dd className={tone(last - first)}>{signed(last - first)}</dd>
          <dt>Drawdown</dt>
          <dd>{percent(now)}</dd>
          <dt>Worst</dt>
          <dd>{percent(worst)}</dd>
          <dt>High</dt>
          <dd>{number(peak)}</dd>
        </dl>
      )}
    </header>
  );
}

// The candle chart, outside React: bars, volume, our fills, entry price and open orders of one symbol.
import {
  CandlestickSeries,
  HistogramSeries,
  LineStyle,
  createChart,
  createSeriesMarkers,
} from "lightweight-charts";
import { C, chartOptions } from "./colors.js";
import { base, number, signed, size } from "./format.js";
import { ms } from "./store.js";

const candle = (bar) => ({
  time: ms(bar.ts_open) / 1000,
  open: bar.open,
  high: bar.high,
  low: bar.low,
  close: bar.close,
});
const volume = (bar) => ({
  time: ms(bar.ts_open) / 1000,
  value: bar.volume,
  color: bar.close >= bar.open ? C.upSoft : C.downSoft,
});

export class Candles {
  constructor(element, onHover) {
    this.chart = createChart(element, chartOptions);
    this.series = this.chart.addSeries(CandlestickSeries, {
      upColor: C.up,
      downColor: C.down,
      wickUpColor: C.up,
      wickDownColor: C.down,
      borderVisible: false,
      priceLineColor: "#56606e",
    });
    this.volumes = this.chart.addSeries(HistogramSeries, {
      priceFormat: { type: "volume" },
      priceScaleId: "volume",
      lastValueVisible: false,
      priceLineVisible: false,
    });
    this.volumes.priceScale().applyOptions({ scaleMargins: { top: 0.84, bottom: 0 } });
    this.series.priceScale().applyOptions({ scaleMargins: { top: 0.09, bottom: 0.2 } });
    this.markers = createSeriesMarkers(this.series, []);
    this.lines = new Map(); // key -> price line
    this.bars = new Map(); // time -> bar, for the legend
    this.fills = new Map(); // time -> fills in that bar
    this.last = 0;
    this.step = 0;
    this.chart.subscribeCrosshairMove((at) => onHover(at.time ? this.at(at.time) : null));
  }

  at(time) {
    const bar = this.bars.get(time);
    return bar ? { ...bar, time, fills: this.fills.get(time) ?? [] } : null;
  }

  load(bars, stepSeconds, digits) {
    this.step = stepSeconds;
    this.series.applyOptions({
      priceFormat: {
        type: "custom",
        minMove: 10 ** -digits,
        formatter: (price) => number(price, digits),
      },
    });
    const data = bars.map(candle);
    this.series.setData(data);
    this.volumes.setData(bars.map(volume));
    this.bars = new Map(bars.map((bar, n) => [data[n].time, bar]));
    this.last = data.length ? data[data.length - 1].time : 0;
    const width = this.chart.timeScale().width() || 900;
    const shown = Math.max(40, Math.round(width / 7));
    this.chart.timeScale().setVisibleLogicalRange({ from: bars.length - shown, to: bars.length + 5 });
  }

  // False if bars are missing between what is drawn and this one: the caller loads again.
  update(bar) {
    if (!bar) return true;
    const point = candle(bar);
    if (point.time < this.last) return true;
    if (this.last && point.time > this.last + this.step) return false;
    this.series.update(point);
    this.volumes.update(volume(bar));
    this.bars.set(point.time, bar);
    this.last = point.time;
    return true;
  }

  // `scale`: of the arrows; 0 draws none, what a bar says of its fills stays.
  mark(fills, scale = 1) {
    const first = this.bars.size ? this.bars.keys().next().value : 0;
    this.fills = new Map();
    for (const fill of fills) {
      const time = Math.floor(ms(fill.ts_event) / 1000 / this.step) * this.step;
      if (time < first || time > this.last) continue;
      if (!this.fills.has(time)) this.fills.set(time, []);
      this.fills.get(time).push(fill);
    }
    const markers = [];
    for (const [time, list] of [...this.fills].sort((a, b) => a[0] - b[0]))
      for (const side of ["buy", "sell"]) {
        if (scale === 0 || !list.some((fill) => fill.side === side)) continue;
        markers.push({
          time,
          position: side === "buy" ? "belowBar" : "aboveBar",
          shape: side === "buy" ? "arrowUp" : "arrowDown",
          color: side === "buy" ? C.buy : C.sell,
          size: scale,
        });
      }
    this.markers.setMarkers(markers);
    return markers.length;
  }

  // Horizontal lines at the position's entry and at open orders.
  line(position, orders, digits) {
    const wanted = new Map();
    if (position && Number(position.entry_price))
      wanted.set("entry", {
        price: Number(Number(position.entry_price).toFixed(digits)),
        color: C.dim,
        lineStyle: LineStyle.Dashed,
        title: `entry ${signed(position.size, Math.min(4, (String(position.size).split(".")[1] ?? "").length))}`,
      });
    for (const order of orders)
      if (order.price)
        wanted.set(order.client_order_id, {
          price: Number(order.price),
          color: order.side === "buy" ? C.buy : C.sell,
          lineStyle: LineStyle.Dotted,
          title: `${order.side} ${size(order.size)}`,
        });
    const drawn = JSON.stringify([...wanted]);
    if (drawn === this.drawn) return;
    this.drawn = drawn;
    for (const [key, line] of this.lines)
      if (!wanted.has(key)) {
        this.series.removePriceLine(line);
        this.lines.delete(key);
      }
    for (const [key, options] of wanted) {
      const full = { ...options, lineWidth: 1, axisLabelVisible: true };
      if (this.lines.has(key)) this.lines.get(key).applyOptions(full);
      else this.lines.set(key, this.series.createPriceLine(full));
    }
  }

  clear() {
    this.series.setData([]);
    this.volumes.setData([]);
    this.markers.setMarkers([]);
    this.bars.clear();
    this.fills.clear();
    this.last = 0;
  }

  remove() {
    this.chart.remove();
  }
}

export const describeFill = (fill, digits) =>
  `${fill.side === "buy" ? "Bought" : "Sold"} ${size(fill.size)} ${base(fill.symbol)} at ${number(fill.price, digits)}`;

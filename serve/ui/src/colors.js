// One meaning a colour: green and red are gain and loss (and a bar's direction), blue and orange are
// bought and sold, amber asks for attention. The style sheet holds the same values.
export const C = {
  panel: "#12161c",
  line: "#232a34",
  grid: "#1a2029",
  text: "#c3cad5",
  dim: "#8590a0",
  up: "#26a69a",
  down: "#ef5350",
  upSoft: "rgba(38,166,154,.32)",
  downSoft: "rgba(239,83,80,.32)",
  buy: "#4c9aff",
  sell: "#ffa94d",
  amber: "#f5c542",
};

export const FONT = 'Inter, "SF Pro Text", "Segoe UI", Roboto, "Helvetica Neue", "DejaVu Sans", sans-serif';

export const chartOptions = {
  autoSize: true,
  layout: {
    background: { color: C.panel },
    textColor: C.dim,
    fontSize: 11,
    fontFamily: FONT,
    attributionLogo: true,
    panes: { separatorColor: C.line, enableResize: false },
  },
  grid: { vertLines: { color: C.grid }, horzLines: { color: C.grid } },
  crosshair: {
    mode: 0,
    vertLine: { color: "#56606e", labelBackgroundColor: "#323b48" },
    horzLine: { color: "#56606e", labelBackgroundColor: "#323b48" },
  },
  rightPriceScale: { borderColor: C.line },
  timeScale: { borderColor: C.line, timeVisible: true, secondsVisible: false, rightOffset: 5 },
  localization: { locale: "en-US" },
};

// What the console knows. Messages go in, subscribers are told at most once a frame.
import { useSyncExternalStore } from "react";

const MAX_FILLS = 1000;
const MAX_DECISIONS = 200;
const MAX_EQUITY = 4000;

export const ms = (iso) => (iso ? Date.parse(iso) : 0);

const EMPTY = {
  link: { state: "connecting", detail: "", retryAt: 0, lastAt: 0 },
  state: "starting",
  session: null,
  desk: null,
  market: null,
  health: [],
  ages: {},
  fills: [],
  decisions: [],
  equity: [],
  drawdown: { peak: -Infinity, now: null, worst: null },
  missing: [],
  offset: 0, // server clock - our clock, ms
};

const fillId = (fill) => `${fill.symbol}:${fill.trade_id}`;

function append(known, added, id, max) {
  if (!added?.length) return known;
  const ids = new Set(known.map(id));
  const fresh = added.filter((row) => !ids.has(id(row)));
  return fresh.length ? [...known, ...fresh].slice(-max) : known;
}

function withEquity(points, added) {
  if (!added.length) return points;
  const next = points.slice();
  for (const point of added) {
    const last = next[next.length - 1];
    if (last && point.time < last.time) continue; // a report that came late
    if (last && point.time === last.time) next[next.length - 1] = point;
    else next.push(point);
  }
  return next.slice(-MAX_EQUITY);
}

const same = (one, other) => one === other || JSON.stringify(one) === JSON.stringify(other);

const toPoint = (row) => ({ time: ms(row.ts_event), value: Number(row.equity) });

// Of the points after `from`, on top of what is known: one pass over a curve, then one step a point.
function withDrawdown(known, points, from) {
  let { peak, now, worst } = known;
  for (let n = from; n < points.length; n += 1) {
    const { value } = points[n];
    peak = Math.max(peak, value);
    now = peak > 0 ? value / peak - 1 : 0;
    worst = Math.min(worst ?? 0, now);
  }
  return { peak, now, worst };
}

export function reduce(old, message, now) {
  const state = { ...old, link: { ...old.link, state: "live", detail: "", lastAt: now } };
  if (message.ts) state.offset = ms(message.ts) - now;
  if (message.type === "away") {
    state.link = { ...state.link, state: "away", detail: message.detail };
    return state;
  }
  if (message.type === "snapshot") {
    const another = old.session?.session !== message.session.session;
    Object.assign(state, {
      state: message.state,
      session: message.session,
      desk: message.desk ?? null,
      market: message.market,
      health: message.health,
      ages: message.ages,
      missing: message.missing,
      fills: append(another ? [] : old.fills, message.fills, fillId, MAX_FILLS),
      decisions: append(another ? [] : old.decisions, message.decisions, (d) => d.decision, MAX_DECISIONS),
      equity: message.equity.length || another ? withEquity([], message.equity.map(toPoint)) : old.equity,
    });
    state.fills.sort((a, b) => ms(a.ts_event) - ms(b.ts_event));
    state.decisions.sort((a, b) => a.decision - b.decision);
  } else {
    for (const key of ["state", "session", "desk", "market", "health", "ages"])
      if (message[key] !== undefined) state[key] = message[key];
    if (same(old.session, state.session)) state.session = old.session; // put again and again, seldom another
    state.fills = append(old.fills, message.fills, fillId, MAX_FILLS);
    state.decisions = append(old.decisions, message.decisions, (d) => d.decision, MAX_DECISIONS);
    state.equity = withEquity(old.equity, (message.equity ?? []).map(toPoint));
  }
  if (message.desk?.ts_event && message.desk.equity) state.equity = withEquity(state.equity, [toPoint(message.desk)]);
  if (state.equity !== old.equity) {
    const grown = message.type === "update";
    state.drawdown = grown
      ? withDrawdown(old.drawdown, state.equity, Math.max(0, Math.min(old.equity.length, state.equity.length) - 1))
      : withDrawdown(EMPTY.drawdown, state.equity, 0);
  }
  return state;
}

export function createStore() {
  let state = EMPTY;
  let due = false;
  const listeners = new Set();
  const tell = () => {
    due = false;
    for (const listener of listeners) listener();
  };
  const schedule = () => {
    if (due) return;
    due = true;
    requestAnimationFrame(tell);
  };
  return {
    get: () => state,
    subscribe: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    message: (message) => {
      state = reduce(state, message, Date.now());
      schedule();
    },
    link: (change) => {
      state = { ...state, link: { ...state.link, ...change } };
      schedule();
    },
  };
}

export const useStore = (store, pick) => useSyncExternalStore(store.subscribe, () => pick(store.get()));

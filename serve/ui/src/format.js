// Numbers and times as a trader reads them: grouped, fixed decimals, a true minus sign.
const cache = new Map();

function formatter(digits) {
  if (!cache.has(digits))
    cache.set(
      digits,
      new Intl.NumberFormat("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits }),
    );
  return cache.get(digits);
}

const known = (value) => value !== null && value !== undefined && value !== "" && Number.isFinite(Number(value));
const minus = (text) => text.replace("-", "\u2212");

export function number(value, digits = 2) {
  if (!known(value)) return "\u2013";
  const text = formatter(digits).format(Number(value));
  return minus(/^-[0.,]*$/.test(text) ? text.slice(1) : text); // no negative zero
}

export function signed(value, digits = 2) {
  const text = number(value, digits);
  return /[1-9]/.test(text) && Number(value) > 0 ? `+${text}` : text;
}

// A canary holds thousandths of an account: what would be told as nothing gets two figures that count.
const FINEST = 4;
function finer(value, digits) {
  const size = Math.abs(value);
  if (size === 0 || size >= Math.max(0.1, 10 ** -digits) || size < 0.5 * 10 ** -FINEST) return digits;
  return Math.min(FINEST, Math.max(digits, 1 - Math.floor(Math.log10(size))));
}

export const percent = (value, digits = 2) =>
  known(value) ? `${number(Number(value) * 100, finer(Number(value) * 100, digits))}%` : "\u2013";

export const signedPercent = (value, digits = 2) =>
  known(value) ? `${signed(Number(value) * 100, finer(Number(value) * 100, digits))}%` : "\u2013";

// A multiple, as leverage is.
export const times = (value, digits = 2) => (known(value) ? `${number(value, finer(Number(value), digits))}x` : "\u2013");

// Sizes keep the exchange's own decimals; 1.2300 stays 1.23
export function size(value) {
  if (!known(value)) return "\u2013";
  const digits = (String(value).split(".")[1] ?? "").replace(/0+$/, "").length;
  return number(value, Math.min(8, digits));
}

export function compact(value) {
  if (!known(value)) return "\u2013";
  return minus(new Intl.NumberFormat("en-US", { notation: "compact", maximumFractionDigits: 1 }).format(value));
}

// Four figures that count, whatever the size: for what has no unit of its own, as losses have.
export function figures(value) {
  if (!known(value)) return "\u2013";
  const n = Number(value);
  const size = Math.abs(n);
  if (size >= 1000) return number(n, 0);
  if (size && size < 0.0001) return minus(n.toExponential(2));
  return number(n, size === 0 ? 0 : Math.max(0, Math.min(6, 3 - Math.floor(Math.log10(size)))));
}

// The sum of amounts that came as text, exactly; as text.
const SCALE = 24;
const units = (amount) => {
  const text = /e/i.test(amount) ? Number(amount).toFixed(18) : String(amount);
  const [whole, part = ""] = text.replace("-", "").split(".");
  const found = BigInt(whole + part.slice(0, SCALE).padEnd(SCALE, "0"));
  return text.startsWith("-") ? -found : found;
};

export function total(amounts) {
  const sum = amounts.reduce((found, amount) => found + units(amount), 0n);
  const digits = (sum < 0n ? -sum : sum).toString().padStart(SCALE + 1, "0");
  const text = `${digits.slice(0, -SCALE)}.${digits.slice(-SCALE)}`.replace(/\.?0+$/, "");
  return sum < 0n ? `-${text}` : text;
}

export const equal = (one, other) => units(one) === units(other);

export const tone = (value) => (!known(value) || Math.abs(Number(value)) < 5e-9 ? "" : Number(value) > 0 ? "up" : "down");

export const digitsOf = (step) => {
  const text = String(step ?? "");
  if (!Number(text)) return null;
  return (text.split(".")[1] ?? "").replace(/0+$/, "").length;
};

export const guessDigits = (price) => (price >= 1000 ? 1 : price >= 100 ? 2 : price >= 1 ? 4 : 5);

const two = (n) => String(n).padStart(2, "0");

export function clock(at) {
  if (!at) return "\u2013";
  const d = new Date(at);
  return `${two(d.getUTCHours())}:${two(d.getUTCMinutes())}:${two(d.getUTCSeconds())}`;
}

export function day(at) {
  if (!at) return "\u2013";
  const d = new Date(at);
  return `${d.getUTCFullYear()}-${two(d.getUTCMonth() + 1)}-${two(d.getUTCDate())}`;
}

export const moment = (at) => (at ? `${day(at).slice(5)} ${clock(at).slice(0, 5)}` : "\u2013");

export const dated = (at) => (at ? `${day(at)} ${clock(at).slice(0, 5)}` : "\u2013"); // of any year

export function span(seconds) {
  if (!known(seconds)) return "\u2013";
  if (seconds < 1) return "<1s";
  if (seconds < 90) return `${Math.round(seconds)}s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)}m`;
  return `${(seconds / 3600).toFixed(1)}h`;
}

export const interval = (ns) => {
  const s = ns / 1e9;
  for (const [unit, length] of [["d", 86400], ["h", 3600], ["m", 60]]) if (s >= length && s % length === 0) return `${s / length}${unit}`;
  return `${s}s`;
};

export const base = (symbol) => symbol.split("-")[0];

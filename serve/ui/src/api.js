// Calls of the API. Errors carry what the server said about the field that was wrong.
async function get(root, path, asked, signal) {
  const query = new URLSearchParams(Object.entries(asked).filter(([, value]) => value !== undefined));
  const answer = await fetch(`${root}/v1/${path}?${query}`, { signal });
  if (!answer.ok) throw new Error(await explain(answer));
  return answer.json();
}

// The newest closed bars; `start` (ISO): none that open before.
export const bars = async (root, symbol, limit, signal, start) =>
  (await get(root, "market/bars", { symbol, limit, start }, signal)).bars;

// Completeness of what was collected: streams down, time across.
export const coverage = (root, asked, signal) => get(root, "data/coverage", asked, signal);

export const risk = (root, signal) => get(root, "risk", {}, signal);

export const clocks = async (root, signal) => (await get(root, "clocks", {}, signal)).clocks;

export const trainings = async (root, signal) => (await get(root, "training", {}, signal)).trainings;

export const curve = (root, run, points, signal) => get(root, `training/${encodeURIComponent(run)}`, { points }, signal);

export const episodes = async (root, signal) => (await get(root, "episodes", {}, signal)).episodes;

export const episode = (root, name, signal) => get(root, `episodes/${encodeURIComponent(name)}`, {}, signal);

export const models = (root, deleted, signal) => get(root, "models", { deleted }, signal);

export const model = (root, name, signal) => get(root, `models/${encodeURIComponent(name)}`, {}, signal);

export function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return [...bytes].map((b) => b.toString(16).padStart(2, "0")).join("");
}

export async function command(root, kind, token, reason, key) {
  const answer = await fetch(`${root}/v1/commands/${kind}`, {
    method: "POST",
    headers: { "Content-Type": "application/json", Authorization: `Bearer ${token}`, "Idempotency-Key": key },
    body: JSON.stringify({ reason, client: "console" }),
  });
  if (answer.ok) return;
  const error = new Error(await explain(answer));
  error.status = answer.status;
  throw error;
}

async function explain(answer) {
  try {
    const body = await answer.json();
    return body.detail || answer.statusText;
  } catch {
    return `the server answered ${answer.status}`;
  }
}

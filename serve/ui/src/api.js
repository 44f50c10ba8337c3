// Calls of the API. Errors carry what the server said about the field that was wrong.
export async function bars(root, symbol, limit, signal) {
  const query = new URLSearchParams({ symbol, limit });
  const answer = await fetch(`${root}/v1/market/bars?${query}`, { signal });
  if (!answer.ok) throw new Error(await explain(answer));
  return (await answer.json()).bars;
}

// Completeness of what was collected: streams down, time across.
export async function coverage(root, asked, signal) {
  const answer = await fetch(`${root}/v1/data/coverage?${new URLSearchParams(asked)}`, { signal });
  if (!answer.ok) throw new Error(await explain(answer));
  return answer.json();
}

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

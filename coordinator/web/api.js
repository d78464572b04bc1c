// The coordinator's REST API. Every failure is an ApiError whose message is a sentence for a person.

export class ApiError extends Error {
  constructor(status, problem) {
    super(problem?.message ?? problem?.detail ?? `The coordinator answered ${status}.`);
    this.status = status;
    this.reason = problem?.reason ?? "";
  }
}

let onLoggedOut = () => {};

export function whenLoggedOut(callback) {
  onLoggedOut = callback;
}

async function call(method, path, { body, headers, redirect = "error" } = {}) {
  let response;
  try {
    response = await fetch(path, {
      method,
      headers: {
        ...(method === "GET" ? {} : { "Beckon-Csrf": "1" }),
        ...(body ? { "Content-Type": "application/json" } : {}),
        ...headers,
      },
      body: body ? JSON.stringify(body) : undefined,
      credentials: "same-origin",
      redirect,
    });
  } catch {
    throw new ApiError(0, { detail: "The coordinator can't be reached. Is this device on the network?" });
  }
  const text = await response.text();
  let answer = null;
  try {
    answer = text ? JSON.parse(text) : null;
  } catch {
    answer = null;
  }
  if (response.ok || response.type === "opaqueredirect") return answer;
  if (response.status === 401 && path !== "/session") onLoggedOut();
  throw new ApiError(response.status, answer);
}

const query = (filter) => {
  const wanted = Object.entries(filter).filter(([, value]) => value);
  return wanted.length ? `?${new URLSearchParams(wanted)}` : "";
};

export const session = () => call("GET", "/session");
export const logIn = (token) => call("POST", "/session", { headers: { Authorization: `Bearer ${token}` } });
export const logOut = () => call("DELETE", "/session");

export const clients = async () => (await call("GET", "/clients")).clients;
export const client = (id) => call("GET", `/clients/${encodeURIComponent(id)}`);

export const requests = (filter) => call("GET", `/downloads${query(filter)}`);
export const request = (id) => call("GET", `/download/${encodeURIComponent(id)}`);
export const cancel = (id) => call("DELETE", `/download/${encodeURIComponent(id)}`);
export const contentUrl = (id) => `/download/${encodeURIComponent(id)}/content`;

// Whether the coordinator would send us to the file; throws its reason if not. HEAD stands in the audit log as what it
// is, but has no words: those of a refusal are asked for.
export async function mayFetch(id) {
  try {
    await call("HEAD", contentUrl(id), { redirect: "manual" });
  } catch (error) {
    if (error.status === 0 || error.status === 401) throw error;
    await call("GET", contentUrl(id), { redirect: "manual" });
  }
}

export const remove = (id) => call("DELETE", contentUrl(id));

// The key makes a repeated click, or a repeat after a lost answer, the same request.
export const ask = (wanted, key) =>
  call("POST", "/download", { body: wanted, headers: { "Idempotency-Key": key } });

export const batches = async () => (await call("GET", "/batches")).batches;
export const batch = (id) => call("GET", `/batches/${encodeURIComponent(id)}`);
export const cancelBatch = (id) => call("DELETE", `/batches/${encodeURIComponent(id)}`);

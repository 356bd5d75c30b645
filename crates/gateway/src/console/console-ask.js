// How the console asks: the admin listener alone, with the credential that the operator has typed.

/** The credential, in the memory of this page alone. */
let key = "";
/** The gateway's clock minus this machine's. */
let offset = 0;

/** Takes another credential; an empty one is none. */
export function take(typed) {
  key = typed;
}

export const holdsKey = () => key !== "";
/** The gateway's time. */
export const now = () => Date.now() + offset;

/** A response whose status is not 2xx. */
class Refused extends Error {
  constructor(status, problem) {
    super(problem.detail || problem.title || `the gateway answered ${status}`);
    this.status = status;
  }
}

/** One exchange; `any` takes every status. */
export async function ask(path, options = {}) {
  const headers = new Headers(options.headers);
  if (key) headers.set("authorization", `Bearer ${key}`);
  const answer = await fetch(path, { ...options, headers, cache: "no-store", redirect: "error" });
  const date = Date.parse(answer.headers.get("date") ?? "");
  // A second or two is the header's own coarseness.
  if (!Number.isNaN(date)) offset = Math.abs(date - Date.now()) > 2500 ? date - Date.now() : 0;
  if (answer.ok || options.any) return answer;
  throw new Refused(answer.status, await answer.json().catch(() => ({})));
}

export const read = async (path) => (await ask(path)).json();

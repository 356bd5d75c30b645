// The console: asks the admin listener, shows what it says, and sends one kind of thing: a person's decision.
//
// Everything that is shown is made of text nodes, because clouds and callers have written parts of it. What is known is
// kept in `known`; a stream of events keeps it new, and a list is asked for whenever a stream begins, so that nothing
// falls between the two.

import { ask, holdsKey, read, take } from "/console-ask.js";
import { age, ago, badge, link, make, progress, redraw, targetOf, tick } from "/console-parts.js";
import { STATES, evidence, moment, span, spaced, state, target, waits, describe } from "/console-words.js";

const $ = (id) => document.getElementById(id);
/** A stream says something every 15 s; one that is silent for so long is taken for dead. */
const SILENCE = 40_000;
/** Rows that are kept. */
const MOST = 500;
const RETRY = { first: 1000, most: 15_000 };

const known = new Map();
let shown = [];
let older = null;
let attention = new Set();
/** The restore in the drawer: its id, and its events by number. */
let open = null;

// ---- what needs a person -----------------------------------------------------------------------------------------

function drawAttention() {
  const all = [...attention].map((id) => known.get(id)).filter((restore) => restore && waits(restore));
  attention = new Set(all.map((restore) => restore.id));
  // Who must be decided on comes first, and of those who waits longest.
  all.sort((a, b) => b.needs_operator - a.needs_operator || a.created_at.localeCompare(b.created_at));
  redraw($("attention"), all, "id", card);
  $("calm").hidden = all.length > 0;
  $("attention-count").hidden = all.length === 0;
  $("attention-count").textContent = all.length;
  document.title = `${all.length > 0 ? `(${all.length}) ` : ""}restore-gateway console`;
}

function card(restore) {
  const decide = restore.needs_operator;
  const why = decide
    ? `${restore.awaiting_credential ? NO_TOKEN : "Polls cannot determine the outcome."} Until you decide, the target stays locked.`
    : "Overdue. The gateway continues to poll it; check whether the cloud still works on it.";
  return make("li", { class: "card", "data-tone": decide ? "bad" : "warn", "data-id": restore.id },
    make("div", {},
      make("p", { class: "what" }, badge(restore), " ", ...targetOf(restore)),
      make("p", {}, why),
      make("p", { class: "aside" }, "waiting ", ago(restore.created_at, "for ", ""), " · project ", make("code", {}, restore.project_id), " · upstream ", make("b", {}, restore.upstream.name))),
    make("a", { class: "button", href: `#/restores/${encodeURIComponent(restore.id)}` }, decide ? "Inspect and decide" : "Inspect"));
}

// ---- the list ----------------------------------------------------------------------------------------------------

function query(more) {
  const query = new URLSearchParams();
  for (const [name, field] of [["status", "status"], ["project_id", "project"], ["target", "target"]]) {
    const value = $(field).value.trim();
    if (value) query.set(name, value);
  }
  if (more) query.set("cursor", more);
  return query;
}

let lists = 0;
/** Whether one has been asked for that may be older than what happens now. */
let listing = false;
/** The timer of a list that is asked for soon; 0 is none. */
let asked = 0;

function listSoon(wait = 250) {
  clearTimeout(asked);
  asked = setTimeout(() => {
    asked = 0;
    list().catch(failed);
  }, wait);
}

async function list(more) {
  const mine = ++lists;
  listing = true;
  try {
    const page = await read(`/restores?${query(more)}`);
    if (mine !== lists) return;
    listing = false;
    page.restores.forEach((restore) => learn(restore));
    const ids = page.restores.map((restore) => restore.id);
    shown = more ? [...shown, ...ids.filter((id) => !shown.includes(id))] : ids;
    older = page.next_cursor;
    $("list-fault").textContent = "";
  } catch (error) {
    if (mine !== lists) return;
    listing = false;
    if (error.status === 401) throw error;
    $("list-fault").textContent = `The list cannot be shown: ${error.message}`;
    if (!error.status) listSoon(RETRY.first);
    if (error.status === 400) { shown = []; older = null; }
  }
  drawList();
}

function drawList() {
  redraw($("rows"), shown.map((id) => known.get(id)), "id", row);
  $("empty").hidden = shown.length > 0;
  $("more").hidden = !older;
}

function row(restore) {
  const { upstream } = restore;
  const going = !state(restore).final;
  const mark = restore.needs_operator ? "needs a person" : restore.overdue && going ? "overdue" : null;
  const unread = going && restore.last_poll_failed_since && make("span", { class: "aside" }, " ", ago(restore.last_poll_failed_since, "polls fail for ", ""));
  const [kind, id] = targetOf(restore);
  const cells = [
    [badge(restore), mark && make("span", { class: "aside" }, ` ${mark}`), unread, progress(restore)],
    [link(restore, id), make("small", {}, kind)],
    [make("code", { class: "short", title: restore.project_id }, restore.project_id)],
    [upstream.name, make("small", {}, upstream.generation)],
    [restore.error?.upstream?.code ?? upstream.status ?? "–", make("small", {}, evidence(restore.evidence))],
    [age(restore)],
  ];
  const row = make("tr", { "data-id": restore.id, "data-status": restore.status }, ...cells.map((cell) => make("td", {}, ...cell.filter(Boolean))));
  row.addEventListener("click", (event) => {
    if (!event.target.closest("a") && !getSelection().toString()) location.hash = `#/restores/${restore.id}`;
  });
  return row;
}

// ---- what becomes known ------------------------------------------------------------------------------------------

function learn(restore, certain = false) {
  // A read that was asked for before an event may be answered after it.
  const old = known.get(restore.id);
  const newer = certain || !old || old.updated_at <= restore.updated_at;
  if (newer && JSON.stringify(old) !== JSON.stringify(restore)) known.set(restore.id, restore);
  if (waits(known.get(restore.id))) attention.add(restore.id);
}

function happened({ restore, event }) {
  const before = known.get(restore.id);
  learn(restore, true);
  drawAttention();
  if (listing || [...query()].length > 0) {
    // Which restores fit is the gateway's to say; many events at once ask once, and never put it off.
    if (!asked) listSoon();
  } else {
    if (!shown.includes(restore.id)) shown.unshift(restore.id);
    trim();
    drawList();
  }
  if (open?.id === restore.id) {
    open.events.set(event.seq, event);
    drawOne();
  }
  const { kind, id } = target(restore);
  if (restore.needs_operator && !before?.needs_operator) say(`The restore of ${kind} ${id} needs an operator.`);
  else if (before?.status !== restore.status && state(restore).final) say(`The restore of ${kind} ${id}: ${state(restore).label}.`);
}

/** A page that is open for weeks keeps what it shows and no more. */
function trim() {
  if (shown.length > MOST) {
    shown.length = MOST;
    older = shown.at(-1);
  }
  if (known.size <= 2 * MOST) return;
  for (const id of known.keys()) if (!shown.includes(id) && !attention.has(id) && open?.id !== id) known.delete(id);
}

function say(words) {
  $("news").textContent = words;
}

// ---- one restore -------------------------------------------------------------------------------------------------

async function route() {
  const id = /^#\/restores\/([0-9a-f-]{36})$/.exec(location.hash)?.[1];
  if (!id || $("shown").hidden) {
    open = null;
    if ($("one").open) $("one").close();
    return;
  }
  if (open?.id === id) return;
  open = { id, events: new Map() };
  $("decide").reset();
  $("decide-fault").textContent = "";
  drawOne();
  if (!$("one").open) $("one").showModal();
  $("one-title").focus();
  await refreshOne();
}

async function refreshOne() {
  const mine = open;
  if (!mine) return;
  try {
    const [restore, history] = await Promise.all([read(`/restores/${mine.id}`), read(`/restores/${mine.id}/events`)]);
    if (open !== mine) return;
    learn(restore);
    for (const event of history.events) if (!mine.events.has(event.seq)) mine.events.set(event.seq, event);
    $("one-fault").textContent = "";
  } catch (error) {
    if (error.status === 401) throw error;
    $("one-fault").textContent = `The restore cannot be shown: ${error.message}`;
  }
  if (open === mine) drawOne();
}

function drawOne() {
  const restore = known.get(open.id);
  $("one-title").textContent = restore ? `Restore of a ${target(restore).kind}` : "Restore";
  $("decide").hidden = !(restore?.needs_operator && !state(restore).final);
  const events = [...open.events.values()].sort((a, b) => a.seq - b.seq);
  redraw($("history"), events, "seq", (event, index) => happening(event, events[index - 1]));
  if (!restore) {
    $("one-head").replaceChildren();
    $("one-facts").replaceChildren();
    return;
  }
  const asked = events.findLast((event) => event.event === "needs_operator")?.reason;
  $("decide-why").textContent = restore?.awaiting_credential ? NO_TOKEN : asked ?? "";
  const line = make("p", { class: "what" }, badge(restore), " ", progress(restore), " ", age(restore));
  $("one-head").replaceChildren(line, restore.error ? problem(restore.error) : "");
  const { upstream } = restore;
  const facts = [
    ["Target", targetOf(restore)],
    ["Backup", [make("code", {}, restore.source.backup_id)]],
    ["Project", [make("code", {}, restore.project_id)]],
    ["Upstream", [`${upstream.name}, ${upstream.generation}`]],
    ["Status in the cloud", upstream.status && [make("q", {}, upstream.status)]],
    ["Task", upstream.task && [`${spaced(upstream.task.kind)} `, make("code", {}, upstream.task.id)]],
    ["Request ID in the cloud", upstream.request_id && [make("code", {}, upstream.request_id)]],
    ["Evidence", [evidence(restore.evidence), ", seen ", ago(restore.evidence.observed_at), restore.evidence.detail ? make("q", {}, restore.evidence.detail) : ""]],
    ["Sent", [restore.attempts === 1 ? "once" : restore.attempts === 0 ? "never" : `${restore.attempts} times, each but the first on proof`]],
    ["Source API", restore.source_api && [restore.source_api]],
    ["Polls fail", restore.last_poll_failed_since && [ago(restore.last_poll_failed_since, "for ", ""), restore.awaiting_credential ? " – needs a caller's token" : ""]],
    ["Rerouted", restore.rerouted && [`from ${restore.rerouted.from}, ${restore.rerouted.generation}: `, make("q", {}, restore.rerouted.error.detail)]],
    ["Disks", restore.steps && [make("ol", {}, ...restore.steps.map((step) => make("li", {}, make("code", {}, step.volume_id), ` ${spaced(step.status)}`, step.error ? make("q", {}, step.error.detail) : "")))]],
    ["Accepted", [moment(restore.created_at)]],
    ["Finished", restore.finished_at && [moment(restore.finished_at)]],
    ["ID", [make("code", {}, restore.id)]],
  ].filter(([, value]) => value);
  $("one-facts").replaceChildren(make("dl", {}, ...facts.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, ...value.filter(Boolean))))));
}

/** Before a decision: reads may settle it once somebody brings a token. */
const NO_TOKEN = "The gateway has no token to read this restore with. First ask for it with a token of the project (restore-gateway restore status); a read may settle it.";

const EFFECTS = { none: "Nothing was changed in the cloud.", possible: "Something may have been changed in the cloud.", done: "Disks were overwritten, at least in part." };

/** What went wrong, with the cloud's own words as words. */
function problem(found) {
  const said = found.upstream ?? {};
  const parts = [said.status && `HTTP ${said.status}`, said.code, said.request_id && `request ${said.request_id}`].filter(Boolean).join(" · ");
  return make("div", { class: "problem" },
    make("p", {}, make("code", {}, found.code), " ", found.detail),
    said.message || parts ? make("blockquote", {}, make("span", { class: "aside" }, "The cloud's own words", parts && ` (${parts})`), make("p", {}, said.message ?? "")) : null,
    make("p", { class: "aside" }, EFFECTS[found.effect] ?? ""));
}

function happening(event, before) {
  const [title, more, tone] = describe(event);
  const since = before ? `+${span(Date.parse(event.at) - Date.parse(before.at))}` : "";
  const found = event.evidence ?? {};
  return make("li", { "data-tone": tone, "data-id": event.seq },
    make("p", { class: "what" }, make("b", {}, title), make("time", { datetime: event.at, title: event.at }, moment(event.at)), make("span", { class: "aside" }, since)),
    more ? make("p", { class: "words" }, more) : null,
    make("p", { class: "aside" }, `by ${event.cause === "operator" ? "an operator" : `the ${event.cause}`}, evidence: ${evidence(found)}`, found.detail && event.event !== "resolved" ? ` – ${found.detail}` : ""));
}

async function decide(event) {
  event.preventDefault();
  const form = new FormData($("decide"));
  const button = $("decide").querySelector("button");
  const { id, events } = open;
  // The decision is about the history that is shown: an event that came later makes the gateway refuse it.
  const headers = { "content-type": "application/json" };
  if (events.size > 0) headers["if-match"] = `"${Math.max(...events.keys())}"`;
  const body = JSON.stringify({ as: form.get("as"), by: form.get("by"), reason: form.get("reason") });
  button.disabled = true;
  $("decide-fault").textContent = "";
  try {
    const answer = await ask(`/restores/${id}/resolution`, { method: "POST", headers, body });
    learn(await answer.json());
    drawAttention();
    drawList();
    await refreshOne();
    $("one-title").focus();
  } catch (error) {
    $("decide-fault").textContent = `Nothing was recorded: ${error.message}`;
    // A broken connection proves nothing; the history does.
    if (!error.status || error.status >= 500) $("decide-fault").textContent = "No answer. Check the history below before you decide again.";
    await refreshOne().catch(failed);
  } finally {
    button.disabled = false;
  }
}

// ---- being alive -------------------------------------------------------------------------------------------------

let heard = 0;
let cut = new AbortController();

function lamp(id, tone, words) {
  $(id).dataset.tone = tone;
  if ($(id).textContent !== words) $(id).textContent = words;
}

/** What the reason of /readyz begins with that a person ends, perhaps elsewhere. */
const RECOVERY = "recovery: ";

async function readiness() {
  try {
    const ready = await (await ask("/readyz", { any: true })).json();
    const away = ready.upstreams.filter((upstream) => upstream.breaker !== "closed").map((upstream) => upstream.name);
    const refused = ready.config.rejected;
    if (!ready.ready) lamp("ready", "bad", "not ready");
    else if (away.length > 0) lamp("ready", "warn", `circuit breaker open: ${away.join(", ")}`);
    else if (refused) lamp("ready", "warn", "ready, with the previous configuration");
    else lamp("ready", "good", "ready");
    const recovery = ready.reasons.find((reason) => reason.startsWith(RECOVERY))?.slice(RECOVERY.length);
    note("recovery", recovery && `Recovery mode: the gateway sends nothing because the ledger may come from an older backup (${recovery}). See restore-gateway recovery status.`);
    const others = ready.reasons.filter((reason) => !reason.startsWith(RECOVERY));
    note("unready", others.length > 0 && `No restore can be accepted: ${others.join("; ")}.`);
    note("refused", refused && `The configuration of ${moment(refused.at)} was rejected; the previous one stays active. ${refused.why} shows the errors.`);
  } catch {
    lamp("ready", "bad", "no answer");
  }
}

/** A note at the top, for as long as there are words for it. */
function note(id, words) {
  $(id).hidden = !words;
  if ($(id).textContent !== (words || "")) $(id).textContent = words || "";
}

async function begin() {
  const waiting = await read("/triage");
  // What was waiting when the last stream ended may have been decided since.
  attention = new Set();
  [...waiting.needs_operator, ...waiting.overdue].forEach((restore) => learn(restore));
  readiness();
  await list();
  await refreshOne();
  drawAttention();
}

/** One stream, from its beginning to its end. */
async function follow() {
  cut = new AbortController();
  heard = Date.now();
  const answer = await ask("/restores", { headers: { accept: "text/event-stream" }, signal: cut.signal });
  enter(true);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  // Its place in the ledger is fixed; what is listed now is at least as new.
  await begin();
  await route();
  lamp("live", "good", "live");
  for (let rest = ""; ;) {
    const { value, done } = await reader.read();
    if (done) return;
    heard = Date.now();
    const parts = (rest + value).split("\n\n");
    rest = parts.pop();
    for (const part of parts) {
      const data = part.split("\n").find((line) => line.startsWith("data: "));
      if (data) happened(JSON.parse(data.slice(6)));
    }
  }
}

function enter(admitted) {
  $("shown").hidden = !admitted;
  $("login").hidden = admitted;
  $("leave").hidden = !admitted || !holdsKey();
}

function failed(error) {
  if (error.status !== 401 && error.status !== 403) {
    return lamp("live", "warn", error.status ? `not live: ${error.message}` : "reconnecting …");
  }
  cut.abort();
  enter(false);
  if ($("one").open) $("one").close();
  lamp("live", "quiet", "not connected");
  $("login-fault").textContent = error.status === 403 ? `This key is not allowed to read this: ${error.message}` : holdsKey() ? "The gateway does not know this key." : "";
  take("");
  $("key").focus();
}

let admit = () => {};

async function live() {
  let pause = RETRY.first;
  for (;;) {
    const started = Date.now();
    try {
      await follow();
      lamp("live", "warn", "reconnecting …");
    } catch (error) {
      failed(error);
      if (error.status === 401 || error.status === 403) {
        await new Promise((resolve) => { admit = resolve; });
        continue;
      }
    }
    pause = Date.now() - started > RETRY.most ? RETRY.first : Math.min(pause * 2, RETRY.most);
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
}

// ---- the page ----------------------------------------------------------------------------------------------------

for (const [word, { label }] of Object.entries(STATES)) $("status").append(make("option", { value: word }, label));

$("login").addEventListener("submit", (event) => {
  event.preventDefault();
  const typed = $("key").value.trim();
  $("key").value = "";
  $("login-fault").textContent = /^[!-~]+$/.test(typed) ? "" : "A key has letters, digits and signs alone, and no spaces.";
  if ($("login-fault").textContent) return;
  take(typed);
  admit();
});
$("leave").addEventListener("click", () => location.reload());
$("filters").addEventListener("submit", (event) => event.preventDefault());
$("filters").addEventListener("reset", () => listSoon(0));
$("filters").addEventListener("input", () => listSoon());
$("more").addEventListener("click", () => list(older).catch(failed));
$("decide").addEventListener("submit", (event) => decide(event).catch(failed));
$("close").addEventListener("click", () => $("one").close());
$("one").addEventListener("click", (event) => { if (event.target === $("one")) $("one").close(); });
$("one").addEventListener("close", () => {
  const id = open?.id;
  open = null;
  if (location.hash.startsWith("#/")) history.replaceState(null, "", location.pathname);
  document.querySelector(`tr[data-id="${CSS.escape(id ?? "")}"] a`)?.focus();
});
addEventListener("hashchange", () => route().catch(failed));
setInterval(() => {
  document.querySelectorAll("time[data-since]").forEach(tick);
  if (!$("shown").hidden && Date.now() - heard > SILENCE) cut.abort();
}, 1000);
setInterval(readiness, 10_000);
readiness();
live();

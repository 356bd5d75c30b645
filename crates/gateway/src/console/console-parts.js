// Building blocks of the console page. Text is inserted as text, never as HTML.

import { now } from "/console-ask.js";
import { moment, span, state, target } from "/console-words.js";

export function make(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [attribute, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) node.setAttribute(attribute, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return node;
}

export function badge(restore) {
  const { label, tone } = state(restore);
  return make("span", { class: "badge", "data-tone": tone }, label);
}

export function progress(restore) {
  if (state(restore).final || !Number.isInteger(restore.progress)) return null;
  const bar = make("progress", { max: 100, value: restore.progress, "aria-label": "progress" });
  return make("span", { class: "progress" }, bar, `${restore.progress} %`);
}

/** How long ago, kept up to date by the clock below. */
export function ago(text, before = "", after = " ago") {
  const node = make("time", { datetime: text, title: moment(text) });
  node.dataset.since = Date.parse(text);
  node.dataset.before = before;
  node.dataset.after = after;
  tick(node);
  return node;
}

export function tick(node) {
  const { since, before, after } = node.dataset;
  const text = `${before}${span(now() - Number(since))}${after}`;
  if (node.textContent !== text) node.textContent = text;
}

export function age(restore) {
  if (!restore.finished_at) return ago(restore.created_at, "for ", "");
  const took = span(Date.parse(restore.finished_at) - Date.parse(restore.created_at));
  return make("span", {}, ago(restore.finished_at), make("small", {}, `took ${took}`));
}

/** Rebuilds only the elements that changed, so that focus, selection and pointer stay. */
export function redraw(parent, things, name, draw) {
  const held = parent.contains(document.activeElement) ? document.activeElement.closest("[data-id]")?.dataset.id : null;
  const old = new Map([...parent.children].map((node) => [node.dataset.id, node]));
  const nodes = things.map((thing, index) => {
    const node = old.get(String(thing[name]));
    return node?.thing === thing ? node : Object.assign(draw(thing, index), { thing });
  });
  for (const node of old.values()) if (!nodes.includes(node)) node.remove();
  nodes.forEach((node, index) => {
    if (parent.children[index] !== node) parent.insertBefore(node, parent.children[index] ?? null);
  });
  if (held && !parent.contains(document.activeElement)) {
    nodes.find((node) => node.dataset.id === held)?.querySelector("a")?.focus({ preventScroll: true });
  }
}

export function link(restore, ...words) {
  return make("a", { href: `#/restores/${encodeURIComponent(restore.id)}` }, ...words);
}

export function targetOf(restore) {
  const { kind, id, disks } = target(restore);
  const more = disks > 0 ? ` with ${disks} ${disks === 1 ? "disk" : "disks"}` : "";
  return [`${kind}${more} `, make("code", {}, id)];
}

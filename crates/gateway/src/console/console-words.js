// What the console says: the words and the look of every state and event, and of times. Pure; nothing here touches the
// page or asks anything.

/** Per status: what it is called, its tone, and whether it is over. */
export const STATES = {
  accepted: { label: "accepted", tone: "quiet", final: false },
  checking: { label: "checking", tone: "busy", final: false },
  submitting: { label: "submitting", tone: "busy", final: false },
  running: { label: "running", tone: "busy", final: false },
  unknown: { label: "unknown", tone: "warn", final: false },
  succeeded: { label: "succeeded", tone: "good", final: true },
  failed: { label: "failed", tone: "bad", final: true },
  rejected: { label: "rejected", tone: "bad", final: true },
  not_applied: { label: "not applied", tone: "quiet", final: true },
  cancelled: { label: "cancelled", tone: "quiet", final: true },
  expired: { label: "expired", tone: "quiet", final: true },
};

/** The look of a state; one that a later gateway has is shown by its own word. */
export function state(restore) {
  const known = STATES[restore.status] ?? { label: String(restore.status), tone: "quiet", final: false };
  if (restore.needs_operator) return { ...known, tone: "bad" };
  if ((restore.overdue || restore.last_poll_failed_since) && !known.final) return { ...known, tone: "warn" };
  return known;
}

/** Whether a person should look at it now. */
export function waits(restore) {
  return !state(restore).final && (restore.needs_operator || restore.overdue);
}

/** What is overwritten: the kind and the id. */
export function target(restore) {
  const { type, server_id, volume_id, resource_id } = restore.target;
  const kind = type === "volume" ? "disk" : type;
  return { kind, id: server_id ?? volume_id ?? resource_id ?? "", disks: restore.target.volumes?.length ?? 0 };
}

/** What a status or an event rests on. */
export function evidence(found) {
  if (!found) return "";
  return `${spaced(found.kind)}, ${spaced(found.strength)}`;
}

/** Words that programs use, for people. */
export function spaced(word) {
  return String(word ?? "").replaceAll("_", " ");
}

const UNITS = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];

/** A span of milliseconds in at most two units. */
export function span(milliseconds) {
  let seconds = Math.max(0, Math.round(milliseconds / 1000));
  const parts = [];
  for (const [unit, size] of UNITS) {
    const count = Math.floor(seconds / size);
    if (count > 0) parts.push(`${count} ${unit}`);
    else if (parts.length > 0) break;
    seconds -= count * size;
    if (parts.length === 2) break;
  }
  return parts.join(" ") || "0 s";
}

/** A moment in the operator's own time zone. */
export function moment(text) {
  const date = new Date(text);
  if (Number.isNaN(date.valueOf())) return String(text);
  const day = date.toDateString() === new Date().toDateString() ? "" : `${date.toLocaleDateString()} `;
  return day + date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
}

/** What an event is called, the rest of what it says, and its tone. */
export function told(event) {
  const list = (...parts) => parts.filter(Boolean).join(" · ");
  const percent = Number.isInteger(event.progress) ? `${event.progress} %` : "";
  const word = event.upstream_status && `the cloud says ${event.upstream_status}`;
  const handle = event.task && `${spaced(event.task.kind)} ${event.task.id}`;
  const call = event.request_id && `request ${event.request_id}`;
  switch (event.event) {
    case "accepted": return ["Accepted and written down", "", "quiet"];
    case "checking": return ["Reading before anything is sent", "", "quiet"];
    case "checked": return ["The reads before the send are done", event.sent_as ? "the backup has another name there" : "", "quiet"];
    case "submitting": return [event.step ? `Sending disk ${event.step + 1}, attempt ${event.attempt}` : `Sending, attempt ${event.attempt}`, "", "busy"];
    case "not_sent": return ["Proven not to have been applied", spaced(event.proof), "warn"];
    case "started": return ["The cloud has accepted it", list(word, percent, handle, call), "busy"];
    case "outcome_unclear": return ["It is not known whether it began", event.reason, "warn"];
    case "progress": return ["Seen in the cloud", list(percent, word, handle), "busy"];
    case "not_found": return ["Not in the cloud's own list", "", "warn"];
    case "stale": return ["It could not be read", event.awaiting_credential ? "the next caller's token would help" : "", "warn"];
    case "overdue": return ["It takes longer than it should", "", "warn"];
    case "halted": return ["No further disk is sent", "The ledger may have been an older copy, which does not know what was sent later", "warn"];
    case "needs_operator": return ["A person must decide", event.reason, "bad"];
    case "anomaly": return ["Something does not fit", event.what, "warn"];
    case "succeeded": return ["Succeeded", "", "good"];
    case "failed": return ["Failed", event.problem?.detail, "bad"];
    case "rejected": return ["Refused before anything was changed", event.problem?.detail, "bad"];
    case "not_applied": return ["Proven that nothing happened", "", "quiet"];
    case "rerouted": return [`Sent on to ${event.to?.upstream}: the first upstream is closed to this project`, event.problem?.detail, "warn"];
    case "step_ended": return [`Disk ${event.step + 1}: ${spaced(event.outcome)}`, event.problem?.detail, event.outcome === "succeeded" ? "good" : "bad"];
    case "resolved": return [{ applied: "Decided: it took place", failed: "Decided: it began and failed" }[event.outcome] ?? "Decided: nothing was changed", list(`${event.by}: ${event.reason}`, event.early && "before the gateway asked"), "good"];
    case "cancelled": return ["Called off before it was sent", "", "quiet"];
    case "expired": return ["Its time ran out before it was sent", "", "quiet"];
    default: return [spaced(event.event), "", "quiet"];
  }
}

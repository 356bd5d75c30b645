// Texts and tones of the console for each status, event and time. Pure functions: nothing here touches the page or the
// network.

/** Label and tone of each status, and whether it is final. */
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

/** Label and tone of a restore. An unknown status of a later gateway is shown as it is. */
export function state(restore) {
  const known = STATES[restore.status] ?? { label: String(restore.status), tone: "quiet", final: false };
  if (restore.needs_operator) return { ...known, tone: "bad" };
  if ((restore.overdue || restore.last_poll_failed_since) && !known.final) return { ...known, tone: "warn" };
  return known;
}

/** Whether an operator should look at the restore now. */
export function waits(restore) {
  return !state(restore).final && (restore.needs_operator || restore.overdue);
}

/** Type and ID of the target. */
export function target(restore) {
  const { type, server_id, volume_id, resource_id } = restore.target;
  const kind = type === "volume" ? "disk" : type;
  return { kind, id: server_id ?? volume_id ?? resource_id ?? "", disks: restore.target.volumes?.length ?? 0 };
}

/** Evidence of a status or an event. */
export function evidence(found) {
  if (!found) return "";
  return `${spaced(found.kind)}, ${spaced(found.strength)}`;
}

/** An identifier with blanks in place of underscores. */
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

/** Title, detail and tone of an event. */
export function describe(event) {
  const list = (...parts) => parts.filter(Boolean).join(" · ");
  const percent = Number.isInteger(event.progress) ? `${event.progress} %` : "";
  const word = event.upstream_status && `the cloud says ${event.upstream_status}`;
  const task = event.task && `${spaced(event.task.kind)} ${event.task.id}`;
  const call = event.request_id && `request ${event.request_id}`;
  switch (event.event) {
    case "accepted": return ["Accepted and recorded", "", "quiet"];
    case "checking": return ["Reading backup and target before the send", "", "quiet"];
    case "checked": return ["Reads before the send completed", event.sent_as ? "the upstream has another ID for the backup" : "", "quiet"];
    case "submitting": return [event.step ? `Sending disk ${event.step + 1}, attempt ${event.attempt}` : `Sending, attempt ${event.attempt}`, "", "busy"];
    case "not_sent": return ["Proven not to have been applied", spaced(event.proof), "warn"];
    case "started": return ["The cloud accepted it", list(word, percent, task, call), "busy"];
    case "outcome_unclear": return ["The outcome of the send is unclear", event.reason, "warn"];
    case "progress": return ["Progress in the cloud", list(percent, word, task), "busy"];
    case "not_found": return ["Not in the task list of the cloud", "", "warn"];
    case "stale": return ["Poll failed", event.awaiting_credential ? "needs a token of a caller" : "", "warn"];
    case "overdue": return ["Overdue", "", "warn"];
    case "halted": return ["No further disk is sent", "The ledger may come from an older backup, which does not contain later sends", "warn"];
    case "needs_operator": return ["An operator must decide", event.reason, "bad"];
    case "anomaly": return ["Anomaly", event.what, "warn"];
    case "succeeded": return ["Succeeded", "", "good"];
    case "failed": return ["Failed", event.problem?.detail, "bad"];
    case "rejected": return ["Rejected before anything was changed", event.problem?.detail, "bad"];
    case "not_applied": return ["Proven not to have been applied", "", "quiet"];
    case "rerouted": return [`Rerouted to ${event.to?.upstream}: the first upstream is closed for this project`, event.problem?.detail, "warn"];
    case "step_ended": return [`Disk ${event.step + 1}: ${spaced(event.outcome)}`, event.problem?.detail, event.outcome === "succeeded" ? "good" : "bad"];
    case "resolved": return [{ applied: "Resolved: applied", failed: "Resolved: started and failed" }[event.outcome] ?? "Resolved: not applied", list(`${event.by}: ${event.reason}`, event.early && "before the gateway asked for a decision"), "good"];
    case "cancelled": return ["Cancelled before it was sent", "", "quiet"];
    case "expired": return ["Expired before it was sent", "", "quiet"];
    default: return [spaced(event.event), "", "quiet"];
  }
}

// What a person may do here. The plant asks again who it is: a hidden button is no lock.

import { say, state } from "./words.js";
import { write } from "./dom.js";

const at = (id) => document.getElementById(id);
const DAGS = document.body.dataset.dags.split(" ");
/** Of `start` (batches), `fence` (servers). */
export const MAY = new Set(document.body.dataset.may.split(" "));
export const ENDED = new Set(["success", "failed", "cancelled"]);
const LOOKS = 5;

async function send(method, path, body) {
  const answer = await fetch(path, {
    method,
    headers: { "Content-Type": "application/json", Accept: "application/json" },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const told = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(typeof told.detail === "string" ? told.detail : String(answer.status));
  return told;
}

/** Whether somebody really means it; Airflow's frame allows no `confirm()`. */
function sure(question, more, yes) {
  const dialog = at("ask");
  write(at("asked"), question);
  write(at("asked-more"), more);
  write(at("yes"), yes);
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}
at("yes").addEventListener("click", () => at("ask").close("yes"));
at("no").addEventListener("click", () => at("ask").close("no"));

/** A button that does something to a named thing, and then has the plant looked at again. */
export function button(what, name, act, again) {
  const made = document.createElement("button");
  made.type = "button";
  label(made, what, name);
  made.addEventListener("click", async () => {
    made.disabled = true;
    complain("refused", "");
    try {
      if (await act() !== false) await again();
    } catch (error) {
      complain("refused", say("refused", { what: made.ariaLabel, why: error.message }));
    } finally {
      made.disabled = false;
      made.focus();
    }
  });
  return made;
}

/** What a button says, and to who does not see where it stands. */
export function label(node, what, name) {
  write(node, say(what));
  node.ariaLabel = say("action_on", { what: say(what), name });
}

/** Say what is wrong, `trouble` of the plant's or something `refused`; no text: nothing is. */
export function complain(what, text) {
  write(at(what), text);
  at(what).hidden = !text;
}

const wish = (batch, wanted) => send("PUT", `api/batches/${encodeURIComponent(batch)}/wish`, { state: wanted });
export const pause = (batch) => wish(batch, "paused");
export const resume = (batch) => wish(batch, "running");

/** Cancel a batch as `darkroom cancel` does: first the wish, so that a chunk that goes on a little knows. */
export async function cancel(batch, runId, runState) {
  if (!await sure(say("sure_cancel", { name: batch }), say("sure_cancel_more"), say("yes_cancel"))) return false;
  await wish(batch, "cancelled");
  const ended = new Set(ENDED.has(runState) || !runId ? [] : [await end(DAGS[0], runId)]);
  // The parent first, else it takes its children's end for their work done; one may start another meanwhile.
  for (let look = 0; look < LOOKS; look += 1) {
    const before = ended.size;
    for (const dag of DAGS) {
      for (const run of await active(dag, batch)) {
        if (!ended.has(`${dag} ${run}`)) ended.add(await end(dag, run));
      }
    }
    if (ended.size === before) break;
  }
  return true;
}

async function active(dag, batch) {
  const query = new URLSearchParams([
    ["state", "queued"], ["state", "running"], ["conf_contains", batch], ["limit", "100"],
  ]);
  const told = await send("GET", `../api/v2/dags/${dag}/dagRuns?${query}`);
  return told.dag_runs.filter((run) => run.conf?.batch_id === batch).map((run) => run.dag_run_id);
}

async function end(dag, run) {
  await send("PATCH", `../api/v2/dags/${dag}/dagRuns/${encodeURIComponent(run)}`, { state: "failed" });
  return `${dag} ${run}`;
}

/** Fence a server, or take it back. */
export async function fence(server, fenced) {
  if (fenced && !await sure(say("sure_fence", { name: server }), say("sure_fence_more"), say("yes_fence"))) return false;
  await send("PUT", `api/servers/${encodeURIComponent(server)}/fence`, { fenced });
  return true;
}

/** A state as a badge. */
export function badge(node, name) {
  write(node, state(name));
  node.dataset.state = name;
}

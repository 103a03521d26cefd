// The parts of the board, each drawn from its part of what the plant tells.

import { badge, button, cancel, ENDED, fence, label, MAY, pause, resume } from "./actions.js";
import { chart, plot } from "./chart.js";
import { cells, el, figures, list, put, write } from "./dom.js";
import * as words from "./words.js";
import { say } from "./words.js";

const at = (id) => document.getElementById(id);
const PICTURE = /^images\/[a-z][a-z0-9_]*\/[0-9a-f]{2}\/[0-9a-f]{40}\.png$/;
const SERVERS_SHOWN = 40;
const SAY_AGAIN_S = 60;
const said = { what: "", at: 0 };
let allServers = false;

/** The sentence, its evidence, and what another number of servers would change. */
export function bottleneck(plant) {
  const told = plant.bottleneck, sentence = words.sentence(told, plant.stages);
  write(at("sentence"), sentence);
  put(at("sentence"), "data-kind", told.kind);
  // Its numbers move all the time: who listens hears it when another stage is named, or once a minute.
  const what = `${told.kind} ${told.stage}`;
  if (what !== said.what || plant.seen - said.at > SAY_AGAIN_S) {
    Object.assign(said, { what, at: plant.seen });
    write(at("said"), sentence);
  }
  figures(at("evidence"), [
    [say("chunks_wait"), words.number(told.chunks_waiting)], [say("servers_ready"), words.number(told.servers)],
    [say("utilisation"), words.percent(told.utilisation)], [say("time_left"), words.seconds(told.time_left_s)],
  ]);
  list(at("what-if").tBodies[0], plant.stages, (one) => one.stage, () => el("tr"), (row, one) => {
    cells(row, [
      one.stage, words.number(one.servers.ready), words.seconds(one.time_left_s), ...whatIf(one.fewer), ...whatIf(one.more),
    ]);
    row.classList.toggle("named", one.stage === told.stage);
  });
}

function whatIf(told) {
  if (told === null) return ["–", "–", "–"];
  const never = say("for_ever");
  return [words.seconds(told.time_left_s, never), words.change(told.change), words.seconds(told.wait_s, never)];
}

/** A card per stage, with a cell per lane. */
export function stages(plant) {
  const servers = Map.groupBy(plant.servers, (one) => one.stage);
  const rows = plant.stages.map((one) => ({
    ...one, named: one.stage === plant.bottleneck.stage,
    cells: (servers.get(one.stage) ?? []).map((s) => [s.server, s.state, s.lanes, Math.min(s.lanes, s.chunks.length)]),
  }));
  list(at("stages"), rows, (one) => one.stage, makeStage, drawStage);
}

function makeStage(one) {
  return el("article", { "aria-label": one.stage }, el("h3", {}, one.stage), el("p.soft", {}, `${one.summary} · ${one.model}`),
    el("div.lanes", { "aria-hidden": "true" }), el("p.why", { lang: "en" }), el("dl.figures"));
}

function drawStage(card, one) {
  const [, , lanes, why, numbers] = card.children, { servers, waiting, wait } = one;
  card.classList.toggle("named", one.named);
  list(lanes, one.cells, ([server]) => server, () => el("span"), drawLanes);
  write(why, one.why_none);
  const three = (...values) => values.map(words.number).join(" / ");
  const quantiles = (told) => told === null ? say("not_measured") : `${words.seconds(told.p50)} / ${words.seconds(told.p95)}`;
  figures(numbers, [
    [say("servers_are"), three(servers.ready, servers.fenced, servers.other)],
    [say("lanes"), three(one.lanes.busy, one.lanes.idle, one.lanes.fenced)],
    [say("waiting"), three(waiting.scheduler, waiting.broker, one.running)],
    [say("resting"), three(waiting.put_back, waiting.paused)],
    [say("items_s"), `${words.rate(one.items_per_s_in)} / ${words.rate(one.items_per_s_out)}`],
    [say("items"), three(one.items_waiting, one.items_in_flight, one.items_remaining)],
    [say("utilisation"), words.percent(one.utilisation)],
    [say("waits"), `${words.seconds(wait.expected_s)} / ${words.seconds(wait.measured_s)}`],
    [say("longest"), words.seconds(wait.longest_s)],
    [say("item_s"), quantiles(one.item_s)], [say("chunk_s"), quantiles(one.chunk_s)],
    [say("alone"), words.seconds(one.time_left_s)],
  ]);
}

function drawLanes(group, [server, state, lanes, busy]) {
  group.title = say("lane_title", { server, state: words.state(state), lanes, busy });
  const kind = (n) => state === "fenced" ? "fenced" : state !== "ready" ? "other" : n < busy ? "busy" : "idle";
  while (group.children.length > lanes) group.lastElementChild.remove();
  while (group.children.length < lanes) group.append(el("i"));
  [...group.children].forEach((cell, n) => put(cell, "class", `lane ${kind(n)}`));
}

/** A card per batch. */
export function batches(plant, again) {
  list(at("batches"), plant.batches, (one) => one.outlook.batch_id, (one) => makeBatch(one, again), drawBatch);
  const more = plant.batches_left_out;
  write(at("no-batches"), more ? say("more_batches", { n: words.number(more) }) : plant.batches.length ? "" : say("no_batches"));
}

function makeBatch(one, again) {
  const id = one.outlook.batch_id, card = el("article.batch", { "aria-label": id });
  const hosts = el("details", {}, el("summary", {}, say("shares")), el("ul"));
  hosts.addEventListener("toggle", () => drawHosts(card));
  card.append(
    el("h3", {}, el("a", { href: `batches/${encodeURIComponent(id)}` }, id)),
    el("p.soft", {}, el("span.badge"), " ", el("span")), el("progress", { "aria-label": id }), el("p.counts"), el("p.left"),
    el("p.why", { lang: "en" }), chart(), el("p.soft.legend"), hosts, el("p.actions"),
  );
  if (MAY.has("start")) {
    const now = () => card.told.outlook.state === "paused";
    card.lastElementChild.append(
      button("pause", id, () => now() ? resume(id) : pause(id), again),
      button("cancel", id, () => cancel(id, card.told.run_id, card.told.run_state), again),
    );
  }
  return card;
}

function drawBatch(card, one) {
  const look = one.outlook, last = look.stages.at(-1), left = look.time_left_s;
  const [, about, bar, counts, time, why, drawing, legend, , actions] = card.children;
  card.told = one;
  badge(about.firstElementChild, look.state);
  const rounds = look.round ? ` · ${say("round", { round: look.round })}` : "";
  write(about.lastElementChild, `${look.flow}${rounds}${one.ended ? ` · ${say("ended_at", { time: words.time(one.ended) })}` : ""}`);
  const failed = look.stages.reduce((sum, stage) => sum + stage.failed, 0);
  bar.max = look.items || 1;
  bar.value = Math.min(bar.max, last.done + last.rejected + failed);
  const done = look.items === null ? say("planning") : say("done_of", { done: words.number(last.done), items: words.number(look.items) });
  const bad = say("failed_rejected", { failed: words.number(failed), rejected: words.number(last.rejected) });
  write(counts, `${done} · ${bad}`);
  write(time, left === null ? "" : say("left", {
    left: words.seconds(left.seconds), low: words.seconds(left.low), high: words.seconds(left.high),
  }));
  write(why, one.waits.join(" "));
  const whole = Object.fromEntries(Object.entries(one.items_per_s).map(([stage, values]) => [stage, values.slice(0, -1)]));
  const most = Math.max(0, ...Object.values(whole).flat());
  plot(drawing, whole, say("rate", { most: words.rate(most) }));
  list(legend, look.stages, (stage) => stage.stage, () => el("span"), (node, stage) => {
    write(node, say("rate_now", { stage: stage.stage, rate: words.rate(stage.items_per_s) }));
    put(node, "class", `line-${look.stages.findIndex((one) => one.stage === stage.stage) % 4}`);
  });
  drawHosts(card);
  const [steer, stop] = actions.children;
  if (steer) {
    label(steer, look.state === "paused" ? "resume" : "pause", look.batch_id);
    steer.hidden = stop.hidden = ENDED.has(look.state);
  }
}

function drawHosts(card) {
  const details = card.querySelector("details"), look = card.told?.outlook;
  if (!details.open || !look) return;
  const rows = look.stages.map((stage) => [stage.stage, say("stage_part", {
    stage: stage.stage, done: words.number(stage.done), rejected: words.number(stage.rejected),
    failed: words.number(stage.failed), flight: words.number(stage.in_flight),
  })]);
  rows.push(...look.hosts.map((host) => [`${host.host} ${host.stage}`, say("share", {
    host: host.host, share: words.percent(host.share), rate: words.rate(host.items_per_s),
  })]));
  if (card.told.hosts_left_out) rows.push(["", say("more_hosts", { n: words.number(card.told.hosts_left_out) })]);
  list(details.lastElementChild, rows, ([key]) => key, () => el("li"), (item, [, text]) => write(item, text));
}

/** A row per server; those in trouble first, and of many not all unless asked for. */
export function servers(plant, again) {
  const order = (one) => one.state !== "ready" ? 0 : slow(one) ? 1 : 2;
  const sorted = plant.servers.toSorted((a, b) => order(a) - order(b));
  const shown = allServers ? sorted : sorted.slice(0, SERVERS_SHOWN);
  list(at("servers").tBodies[0], shown, (one) => one.server, (one) => makeServer(one, again), drawServer);
  const more = at("all-servers");
  more.hidden = plant.servers.length <= SERVERS_SHOWN;
  write(more, allServers ? say("show_less") : say("show_all", { n: words.number(plant.servers.length) }));
  more.onclick = () => {
    allServers = !allServers;
    servers(plant, again);
  };
}

const slow = (one) => one.chunks.length > 0 && one.usual_items_per_s !== null && one.items_per_s < one.usual_items_per_s / 2;

function makeServer(one, again) {
  const row = el("tr", {}, el("th", { scope: "row" }, one.server), ...Array.from({ length: 6 }, () => el("td")));
  row.cells[1].append(el("span.badge"));
  if (MAY.has("fence")) {
    row.cells[1].append(" ", button("fence", one.server, () => fence(one.server, row.told.state !== "fenced"), again));
  }
  row.cells[6].lang = "en";
  return row;
}

function drawServer(row, one) {
  row.told = one;
  const [, status, doing, pace, device, memory, trouble] = row.cells, gpu = one.gpu;
  badge(status.firstElementChild, one.state);
  if (status.children[1]) label(status.children[1], one.state === "fenced" ? "unfence" : "fence", one.server);
  write(doing, one.chunks.map((chunk) => `${chunk.batch_id} ${chunk.chunk_id}`).join(", "));
  write(pace, `${words.rate(one.items_per_s)}, ${one.usual_items_per_s === null ? "–" : words.rate(one.usual_items_per_s)}`);
  pace.classList.toggle("slow", slow(one));
  write(device, gpu ? [
    `${gpu.name} (${gpu.index})`, words.celsius(gpu.temperature_c),
    `${words.megabytes(gpu.memory_used_mb)} / ${words.megabytes(gpu.memory_total_mb)}`,
  ].join(", ") : one.device);
  write(memory, `${words.megabytes(one.memory_mb)} / ${words.megabytes(one.memory_limit_mb)}`);
  const again = one.last_end ? [say("restarted", { why: one.last_end })] : [];
  const xid = gpu?.xid_errors.length ? [`Xid ${gpu.xid_errors.join(", ")}`] : [];
  write(trouble, [one.reason, ...one.errors, ...xid, ...again].filter(Boolean).join("; "));
}

/** The last pictures, each with a way to its batch. */
export function pictures(plant) {
  const rows = plant.pictures.filter((one) => PICTURE.test(one.path));
  list(at("pictures"), rows, (one) => `${one.batch_id} ${one.custom_id} ${one.stage} ${one.at}`, (one) => {
    const alt = say("picture", { item: one.custom_id, stage: one.stage, status: words.state(one.status) });
    return el("li", { "data-state": one.status }, el("a", { href: `batches/${encodeURIComponent(one.batch_id)}`, title: alt },
      el("img", { src: one.path, alt, loading: "lazy", width: "96", height: "96" })));
  }, () => {});
}

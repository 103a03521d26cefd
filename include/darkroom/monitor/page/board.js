// The board: asks the plant every two seconds and draws what has changed.

import { complain } from "./actions.js";
import { write } from "./dom.js";
import * as sections from "./sections.js";
import { language, say, seconds, switchLanguage, time } from "./words.js";

const EVERY_S = 2, HIDDEN_EVERY_S = 60, LONGEST_S = 30, PATIENCE_MS = 15_000;
const at = (id) => document.getElementById(id);
let next = 0, seen = Date.now() / 1000, failures = 0;

async function look() {
  clearTimeout(next);
  let everyS = document.hidden ? HIDDEN_EVERY_S : EVERY_S;
  try {
    const answer = await fetch("api/plant", { headers: { Accept: "application/json" }, signal: AbortSignal.timeout(PATIENCE_MS) });
    if (answer.status === 401) return complain("trouble", say("logged_out"));
    if (!answer.ok) throw new Error(String(answer.status));
    draw(await answer.json());
    failures = 0;
  } catch (error) {
    failures += 1;
    everyS = Math.max(everyS, Math.min(LONGEST_S, EVERY_S * 2 ** failures));
    document.body.classList.add("old");
    complain("trouble", say("no_answer", { time: time(seen), seconds: seconds(everyS) }));
    console.warn(error);
  }
  clearTimeout(next);
  next = setTimeout(look, everyS * 1000);
}

function draw(plant) {
  const begun = performance.now();
  seen = plant.seen;
  write(at("as-of"), say("as_of", { time: time(seen) }));
  document.body.classList.remove("old");
  complain("trouble", plant.unknown.map((who) => say("unknown", { who })).join(" "));
  sections.bottleneck(plant);
  sections.stages(plant);
  sections.batches(plant, look);
  sections.servers(plant, look);
  sections.pictures(plant);
  document.body.dataset.drawn = plant.seen;
  performance.measure("draw", { start: begun });
}

/** As Airflow around it, whose theme is a class of its page; else as it was chosen there last, or as the system. */
function theme() {
  const around = window.parent === window ? null : window.parent.document.documentElement;
  const kept = localStorage.getItem("theme");
  const follow = () => {
    const chosen = ["dark", "light"].find((one) => around ? around.classList.contains(one) : kept === one);
    document.documentElement.dataset.theme = chosen ?? "";
  };
  follow();
  if (around) new MutationObserver(follow).observe(around, { attributeFilter: ["class"] });
}

document.documentElement.lang = language;
for (const node of document.querySelectorAll("[data-text]")) write(node, say(node.dataset.text));
write(at("language"), say("language"));
at("language").lang = language === "zh" ? "en" : "zh";
at("language").addEventListener("click", switchLanguage);
document.addEventListener("visibilitychange", () => document.hidden || look());
theme();
look();

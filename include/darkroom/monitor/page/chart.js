// Items a second over time, a line per stage, as SVG.

import { list, put, svg, write } from "./dom.js";

const WIDTH = 300, HEIGHT = 48;

/** An empty chart. */
export function chart() {
  return svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "chart", role: "img", preserveAspectRatio: "none" },
    svg("title"), svg("g"));
}

/** Draw rates by stage; `about` says what they are to who does not see them. */
export function plot(node, perStage, about) {
  write(node.firstElementChild, about);
  const stages = Object.entries(perStage);
  const most = Math.max(1e-9, ...stages.flatMap(([, values]) => values));
  list(node.lastElementChild, stages, ([stage]) => stage, () => svg("path"), (path, [, values]) => {
    const step = WIDTH / Math.max(1, values.length - 1);
    const points = values.map((value, n) => `${(n * step).toFixed(1)} ${(HEIGHT - 2 - (value / most) * (HEIGHT - 4)).toFixed(1)}`);
    path.setAttribute("d", `M${points.join("L")}`);
  });
  [...node.lastElementChild.children].forEach((path, n) => put(path, "class", `line-${n % 4}`));
}

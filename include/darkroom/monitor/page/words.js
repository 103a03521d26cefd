// All words of the board in English and Chinese, and its numbers as each language writes them.

const EN = {
  language: "中文", bottleneck: "Bottleneck", what_if: "With one server less or more, if nothing else changes",
  stage: "Stage", servers: "Servers", alone: "Alone needs", one_less: "One less", one_more: "One more",
  ends_in: "Ends in", change: "Change", wait: "Wait", stages: "Stages", busy: "busy", idle: "idle", fenced: "fenced",
  not_ready: "not ready", batches: "Batches", servers_and_hosts: "Servers and hosts", server: "Server", state: "State",
  doing: "Runs", rate_own: "Items/s now, usually", device: "Device", memory: "Memory", trouble: "Last trouble",
  pictures: "Last pictures", keep: "No, leave it", as_of: "as of {time}",
  no_answer: "No answer since {time}. What is shown is old; the next try is in {seconds}.",
  logged_out: "You are logged out. Load this page again to log in.",
  refused: "{what}: refused. {why}", unknown: "{who} does not answer: what it knows is missing here.",
  chunks_wait: "Chunks that wait", servers_ready: "Servers ready", utilisation: "Busy", time_left: "All ends in",
  lanes: "Lanes: busy / idle / fenced", servers_are: "Servers: ready / fenced / not ready",
  waiting: "Chunks: scheduler / broker / running", resting: "Put back / paused", items_s: "Items/s in / out",
  items: "Items: waiting / in flight / left", item_s: "An item, p50 / p95", chunk_s: "A chunk, p50 / p95",
  waits: "Wait, expected / measured", longest: "Waits longest", not_measured: "not measured", for_ever: "for ever",
  done_of: "{done} of {items} done", planning: "being planned", left: "left {left} ({low} to {high})",
  failed_rejected: "{failed} failed, {rejected} rejected", round: "round {round}", open: "results",
  rate: "Items a second over the last half hour, highest {most}", rate_now: "{stage} {rate}/s", shares: "Stages and hosts", share: "{host}: {share}, {rate}/s",
  more_hosts: "and {n} more", ended_at: "ended {time}", no_batches: "No batch is running, and none ended lately.",
  more_batches: "And {n} more running batches, which count in all numbers above.",
  pause: "Pause", resume: "Resume", cancel: "Cancel", fence: "Fence", unfence: "Unfence", action_on: "{what} {name}",
  sure_cancel: "End batch {name} for good?", sure_cancel_more: "What was computed is kept; darkroom retry does the rest.",
  sure_fence: "Fence {name}?", sure_fence_more: "It takes no more chunks until somebody takes it back; what it runs goes on elsewhere.",
  yes_cancel: "Yes, end it", yes_fence: "Yes, fence it", show_all: "Show all {n} servers", show_less: "Show fewer",
  lane_title: "{server}: {state}, {busy} of {lanes} lanes busy", picture: "{item}, {stage}: {status}", restarted: "restarted: {why}",
  stage_part: "{stage}: {done} done, {rejected} rejected, {failed} failed, {flight} in flight",
  states: {},
};

const ZH = {
  language: "English", bottleneck: "瓶颈", what_if: "其他不变，增减一台服务器的效果",
  stage: "阶段", servers: "服务器", alone: "单独所需", one_less: "减少一台", one_more: "增加一台",
  ends_in: "剩余时间", change: "变化", wait: "等待", stages: "阶段", busy: "忙碌", idle: "空闲", fenced: "已隔离",
  not_ready: "未就绪", batches: "批次", servers_and_hosts: "服务器与主机", server: "服务器", state: "状态",
  doing: "正在运行", rate_own: "当前速率，平时（项/秒）", device: "设备", memory: "内存", trouble: "最近的问题",
  pictures: "最新图片", keep: "不，保持原样", as_of: "截至 {time}",
  no_answer: "自 {time} 起没有响应。所示内容已过时；{seconds}后重试。",
  logged_out: "您已退出登录。请重新加载此页面以登录。",
  refused: "{what}：被拒绝。{why}", unknown: "{who} 没有响应：此处缺少它所知的内容。",
  chunks_wait: "等待的分块", servers_ready: "就绪服务器", utilisation: "繁忙程度", time_left: "全部结束还需",
  lanes: "通道：忙碌 / 空闲 / 隔离", servers_are: "服务器：就绪 / 隔离 / 未就绪",
  waiting: "分块：调度器 / 队列 / 运行", resting: "退回 / 暂停", items_s: "项/秒：进 / 出",
  items: "项：等待 / 处理中 / 剩余", item_s: "每项耗时 p50 / p95", chunk_s: "每块耗时 p50 / p95",
  waits: "等待：预期 / 实测", longest: "最长等待", not_measured: "未测得", for_ever: "无限",
  done_of: "已完成 {done} / {items}", planning: "正在规划", left: "剩余 {left}（{low} 至 {high}）",
  failed_rejected: "失败 {failed}，拒收 {rejected}", round: "第 {round} 轮", open: "结果",
  rate: "最近半小时每秒项数，最高 {most}", rate_now: "{stage} {rate}/秒", shares: "阶段与主机", share: "{host}：{share}，{rate}/秒",
  more_hosts: "另有 {n} 台", ended_at: "结束于 {time}", no_batches: "没有正在运行的批次，最近也没有结束的批次。",
  more_batches: "另有 {n} 个运行中的批次，已计入以上所有数字。",
  pause: "暂停", resume: "继续", cancel: "取消", fence: "隔离", unfence: "解除隔离", action_on: "{what} {name}",
  sure_cancel: "永久结束批次 {name}？", sure_cancel_more: "已计算的内容会保留；darkroom retry 可完成其余部分。",
  sure_fence: "隔离 {name}？", sure_fence_more: "在有人解除之前它不再接收分块；正在运行的内容会在别处继续。",
  yes_cancel: "是，结束", yes_fence: "是，隔离", show_all: "显示全部 {n} 台服务器", show_less: "收起",
  lane_title: "{server}：{state}，{lanes} 条通道中 {busy} 条忙碌", picture: "{item}，{stage}：{status}", restarted: "已重启：{why}",
  stage_part: "{stage}：完成 {done}，拒收 {rejected}，失败 {failed}，处理中 {flight}",
  states: {
    planning: "规划中", queued: "排队中", running: "运行中", paused: "已暂停", cancelled: "已取消", success: "成功",
    failed: "失败", loading: "加载中", ready: "就绪", draining: "排空中", fenced: "已隔离", waiting: "等待重启", stopped: "已停止",
    completed: "完成", rejected: "拒收",
  },
};

const kept = localStorage.getItem("darkroom-language") ?? localStorage.getItem("i18nextLng") ?? navigator.language;
/** `en` or `zh`: as chosen here, else as in Airflow, else as the browser. */
export const language = kept.toLowerCase().startsWith("zh") ? "zh" : "en";
const words = language === "zh" ? ZH : EN, locale = language === "zh" ? "zh-CN" : "en";

/** The next page is in the other language. */
export function switchLanguage() {
  localStorage.setItem("darkroom-language", language === "zh" ? "en" : "zh");
  location.reload();
}

/** A text, with values for what stands in braces. */
export function say(name, values = {}) {
  return words[name].replace(/\{(\w+)\}/g, (_, key) => values[key] ?? "");
}

/** A state, in words. */
export const state = (name) => words.states[name] ?? name;

const made = new Map();
function format(options) {
  const key = JSON.stringify(options);
  if (!made.has(key)) made.set(key, new Intl.NumberFormat(locale, options));
  return made.get(key);
}

export const number = (value) => format({ maximumFractionDigits: 0 }).format(value);
export const rate = (value) => format({ minimumFractionDigits: 2, maximumFractionDigits: 2 }).format(value);
export const percent = (value) => value === null ? "–" : format({ style: "percent", maximumFractionDigits: 0 }).format(value);
export const change = (value) => value === null ? "–"
  : format({ style: "percent", maximumFractionDigits: 0, signDisplay: "exceptZero" }).format(value);
export const megabytes = (value) => format({ style: "unit", unit: "megabyte" }).format(value);
export const celsius = (value) => format({ style: "unit", unit: "celsius" }).format(value);

const unit = (value, name, digits = 0) =>
  format({ style: "unit", unit: name, unitDisplay: "short", maximumFractionDigits: digits }).format(value);

/** A length of time, in one unit or two; `nothing` where it is null. */
export function seconds(value, nothing = "–") {
  if (value === null || value === undefined) return nothing;
  if (value < 10) return unit(value, "second", value < 1 ? 2 : 1);
  if (value < 100) return unit(value, "second");
  const minutes = Math.round(value / 60);
  if (minutes < 60) return unit(minutes, "minute");
  if (minutes < 48 * 60) return `${unit(Math.floor(minutes / 60), "hour")} ${unit(minutes % 60, "minute")}`;
  return unit(minutes / 1440, "day", 1);
}

const clock = new Intl.DateTimeFormat(locale, { timeStyle: "medium" });
export const time = (epochSeconds) => clock.format(new Date(epochSeconds * 1000));

/** What all wait for: in English as the plant says it, in Chinese from its evidence. */
export function sentence(bottleneck, stages) {
  if (language === "en") return bottleneck.sentence;
  const stage = stages.find((one) => one.stage === bottleneck.stage), name = bottleneck.stage;
  const waiting = number(bottleneck.chunks_waiting);
  if (bottleneck.kind === "unknown") return "Redis 没有响应，无法得知在等待什么。";
  if (bottleneck.kind === "none" || !stage) return "没有任务在等待服务器。";
  if (bottleneck.kind === "no_server")
    return `${name} 没有可用的服务器，${number(stage.items_remaining)} 项在等待：${stage.why_none}`;
  if (bottleneck.kind === "plant")
    return `工厂本身是限制：${name} 有 ${waiting} 个分块在等待，却有 ${number(stage.lanes.idle)} 条通道空闲；请检查调度器和工作进程。`;
  const busy = bottleneck.utilisation === null ? "" : `，${number(bottleneck.servers)} 台服务器的繁忙程度为 ${percent(bottleneck.utilisation)}`;
  const gain = -(stage.more.change ?? 0);
  const effect = gain < 0.01 ? "再加一台也不会更早结束" : `再加一台，运行中的批次将提前 ${percent(gain)} 结束`;
  return `瓶颈是 ${name}：${waiting} 个分块在等待${busy}；${effect}。`;
}

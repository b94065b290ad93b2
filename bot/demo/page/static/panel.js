// The panel "Behind the scenes": the place of every prompt and every vote right now.

import { h, replace } from "./dom.js";

const PHASES = { loading: "loading the model", denoising: "denoising", encoding: "encoding", uploading: "uploading" };
const STATUS = { queued: "waiting in the queue", rendering: "being rendered", uploading: "uploading to the video host", hosting: "being prepared by the video host", posting: "being posted" };
const PROCESSES = { discord: "Discord", host: "video host", chain: "chain", bot: "bot", worker: "worker" };
const KINDS = { round: "round opened", video: "videos recorded", voters: "voters registered", votes: "votes", close: "round closed", finalize: "result recorded" };

export function showPanel(element, data) {
  const active = new Set(Object.entries(marks(data)).filter(([, value]) => value).map(([key]) => key));
  replace(element,
    h("h2", {}, "Behind the scenes"),
    h("ol", { class: "loop", "aria-label": "The loop" }, ["prompt", "worker", "host", "thread", "votes", "chain"].map((name) =>
      h("li", { class: active.has(name) ? "moves" : "" }, name))),
    h("section", {}, h("h3", {}, "Processes"), h("p", { class: "chips" }, Object.entries(data.processes ?? {}).map(([name, p]) =>
      h("span", { class: p.running ? "chip up" : "chip down", title: p.restarts ? `restarted ${p.restarts}×` : "running" },
        p.running ? "● " : "○ ", PROCESSES[name] ?? name, p.restarts ? ` ↻${p.restarts}` : "")))),
    queue(data.queue), host(data.assets), tallies(data.round), chain(data.chain),
    h("p", { class: "subtext" }, "Everything here runs on this machine; the chain is a dev chain. The tiny model knows only shapes, colours and motions: try “a purple heart jumps at night”."));
}

function marks({ queue, assets, chain }) {
  return {
    prompt: queue?.some((v) => v.status === "queued"),
    worker: queue?.some((v) => v.status === "rendering" || v.phase),
    host: queue?.some((v) => ["uploading", "hosting"].includes(v.status)) || assets?.some((a) => !["ready", "failed", "deleted"].includes(a.phase)),
    thread: queue?.some((v) => v.status === "posting"),
    votes: chain?.waiting > 0,
    chain: chain?.transactions.some((t) => ["signed", "sent"].includes(t.state)),
  };
}

function section(title, data, build, none) {
  return h("section", {}, h("h3", {}, title), data === null || data === undefined ? h("p", { class: "subtext" }, "no answer yet")
    : data.length === 0 ? h("p", { class: "subtext" }, none) : build(data));
}

function queue(data) {
  return section("Queue and worker", data, (videos) => h("ul", {}, videos.map((v) => {
    const progress = ["queued", "rendering"].includes(v.status) && v.phase;
    return h("li", {}, h("p", { class: "cut" }, `${v.member}: ${v.prompt}`),
      h("progress", { max: progress ? Math.max(v.steps, 1) : 1, value: progress ? v.step : v.status === "queued" ? 0 : 1, "aria-label": v.prompt }),
      h("p", { class: "subtext" }, progress ? `${PHASES[v.phase] ?? v.phase} · step ${v.step} of ${v.steps}` : STATUS[v.status] ?? v.status));
  })), "No video is on its way. Type /prompt.");
}

function host(data) {
  return section("Video host", data, (assets) => h("ul", {}, assets.map((a) => h("li", { class: "pair" },
    h("span", { class: "cut mono" }, a.playback_id ?? a.id),
    h("span", { class: `chip ${a.phase === "ready" ? "up" : a.phase === "failed" ? "down" : "busy"}` }, a.phase,
      a.progress && a.phase !== "ready" ? ` ${Math.round(a.progress * 100)} %` : "")))), "No video is hosted yet.");
}

function tallies(round) {
  const title = round ? `Tallies of round ${round.number} (${round.status})` : "Tallies";
  return section(title, round ? round.tallies : [], (entries) => h("table", {},
    h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "video"), h("th", { scope: "col" }, "here"), h("th", { scope: "col" }, "on the ledger"))),
    h("tbody", {}, entries.map((e) => {
      const same = e.chain && e.chain.up === e.up && e.chain.down === e.down;
      return h("tr", {}, h("td", { class: "cut" }, e.prompt), h("td", {}, `👍${e.up} 👎${e.down}`),
        h("td", { class: same ? "same" : "differs" }, e.chain ? `👍${e.chain.up} 👎${e.chain.down} ${same ? "✓" : "…"}` : "not yet"));
    }))), "No video is up for votes yet.");
}

function chain(data) {
  const state = { final: "up", reverted: "down" };
  return h("section", {}, h("h3", {}, "Chain"), !data ? h("p", { class: "subtext" }, "no answer yet") : [
    h("p", {}, "block ", h("strong", { class: "mono" }, `#${data.block}`), data.waiting ? ` · ${data.waiting} entries are waiting for the relayer` : " · all entries are recorded"),
    h("ul", {}, data.transactions.map((t) => h("li", { class: "pair", title: t.tx ?? "" },
      h("span", { class: "cut" }, KINDS[t.kind] ?? t.kind, t.kind === "votes" && t.seq !== null ? ` · batch ${t.seq}` : "",
        t.entries ? ` · ${t.entries}` : "", h("br"), h("span", { class: "subtext mono" }, t.tx ? `${t.tx.slice(0, 12)}…` : "", t.gas ? ` · ${t.gas.toLocaleString("en")} gas` : "")),
      h("span", { class: `chip ${state[t.state] ?? "busy"}` }, t.state))))]);
}

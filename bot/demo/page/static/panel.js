// The panel "Behind the scenes": the place of every prompt and every vote right now, in a member's words.

import { h, replace } from "./dom.js";

const PHASES = { loading: "loading the model", denoising: "painting the frames", encoding: "making the file", uploading: "sending the file" };
const PROCESSES = {
  discord: ["Discord", "a small Discord on this machine"], host: ["video host", "keeps and streams the videos"], chain: ["ledger", "a test network on this machine"],
  bot: ["bot", "the FLock app in the chat"], worker: ["worker", "the machine that makes the videos"],
};
const KINDS = { round: "round opened", video: "videos recorded", voters: "voters registered", votes: "votes", close: "round closed", finalize: "result recorded" };
const STATES = { final: ["up", "done"], reverted: ["down", "refused"], signed: ["busy", "on its way"], sent: ["busy", "on its way"] };
const LIT_MS = 4000; // a step stays lit for so long, else nobody could read it

const lit = new Map(); // steps, and until when they are lit
const open = new Set(); // details that the reader has opened
let votesBefore = null;
let timer;

export function showPanel(element, data) {
  const now = Date.now();
  for (const [step, moves] of Object.entries(marks(data))) if (moves) lit.set(step, now + LIT_MS);
  clearTimeout(timer);
  if ([...lit.values()].some((until) => until > now)) timer = setTimeout(() => showPanel(element, data), LIT_MS + 100);
  const focused = element.contains(document.activeElement) ? document.activeElement.dataset?.key : null;
  replace(element,
    h("h2", {}, "Behind the scenes"),
    h("p", { class: "subtext" }, "What happens to each prompt and each vote. A step lights up while something moves there."),
    h("ol", { class: "loop", "aria-label": "The loop" }, steps(data).map(([name, title, words, ...more]) =>
      h("li", { class: lit.get(name) > now ? "moves" : "", "data-step": name }, h("p", { class: "pair" }, h("strong", {}, title), more[0] ?? null), h("p", { class: "subtext" }, words), more[1] ?? null))),
    tallies(data.round),
    fold("details", "Details for the curious", [processes(data.processes), host(data.assets), chain(data.chain)]));
  if (focused) element.querySelector(`[data-key="${focused}"]`)?.focus({ preventScroll: true });
}

function steps({ queue, assets, chain, round }) {
  const waiting = queue?.filter((v) => v.status === "queued").length ?? 0;
  const ready = assets?.filter((a) => a.phase === "ready").length ?? 0;
  const votes = countVotes(round);
  const chip = (text, kind = "") => h("span", { class: `chip ${kind}` }, text);
  return [
    ["prompt", "1 · Prompt", "Somebody types /prompt, and it waits its turn.", waiting ? chip(`${waiting} waiting`, "busy") : null],
    ["render", "2 · Render", "A worker with the model makes the video.", null, rendering(queue)],
    ["host", "3 · Host", "The video goes to a video host, for everyone to watch.", ready ? chip(`${ready} hosted`, "up") : null],
    ["post", "4 · Post", "The bot posts it in the round’s thread."],
    ["vote", "5 · Vote", "You press 👍 or 👎. Your last press counts.", votes ? chip(`${votes} ${votes === 1 ? "vote" : "votes"}`, "up") : null],
    ["ledger", "6 · Ledger", "Votes are written to a public ledger, so nobody can change the count.",
      chain ? (chain.waiting ? chip(`${chain.waiting} on the way`, "busy") : chip("all written ✓", "up")) : null],
    ["result", "7 · Result", "When the round closes, the bot posts the winner.", round ? chip(`round ${round.number} ${round.status === "closed" ? "is closed" : `is ${round.status}`}`) : null],
  ];
}

const countVotes = (round) => (round?.tallies ?? []).reduce((sum, e) => sum + e.up + e.down, 0);

function marks({ queue, assets, chain, round }) {
  const votes = round ? `${round.number}:${JSON.stringify(round.tallies.map((e) => [e.up, e.down]))}` : null;
  const voted = votesBefore !== null && votes !== null && votes !== votesBefore && countVotes(round) > 0;
  if (votes !== null) votesBefore = votes;
  return {
    prompt: queue?.some((v) => v.status === "queued"),
    render: queue?.some((v) => v.status === "rendering"),
    host: queue?.some((v) => ["uploading", "hosting"].includes(v.status)) || assets?.some((a) => !["ready", "failed", "deleted"].includes(a.phase)),
    post: queue?.some((v) => v.status === "posting"),
    vote: voted,
    ledger: chain?.waiting > 0 || chain?.transactions.some((t) => ["signed", "sent"].includes(t.state)),
    result: round && round.status !== "open" && !round.finalized_tx,
  };
}

function rendering(queue) {
  const shown = (queue ?? []).filter((v) => v.status !== "posting");
  return shown.length ? h("ul", {}, shown.map((v) => {
    const progress = ["queued", "rendering"].includes(v.status) && v.phase;
    const counted = progress && v.steps > 1;
    const words = progress ? (counted ? `${PHASES[v.phase] ?? v.phase}, step ${v.step} of ${v.steps}` : PHASES[v.phase] ?? v.phase)
      : { queued: "waiting for its turn", rendering: "starting", uploading: "on its way to the host", hosting: "being prepared by the host" }[v.status] ?? v.status;
    return h("li", {}, h("p", { class: "cut" }, `${v.member}: ${v.prompt}`),
      h("progress", { max: counted ? v.steps : 1, value: counted ? v.step : v.status === "queued" || progress ? 0 : 1, "aria-label": v.prompt }),
      h("p", { class: "subtext" }, words));
  })) : null;
}

// Hashes and numbers of machines, for who wants them. What the reader has opened stays open.
function fold(key, title, content) {
  const details = h("details", { open: open.has(key) }, h("summary", { "data-key": key }, title), content);
  details.addEventListener("toggle", () => (details.open ? open.add(key) : open.delete(key)));
  return details;
}

function tallies(round) {
  if (!round) return null;
  return h("section", {}, h("h3", {}, `Votes in round ${round.number}`), round.tallies.length === 0 ? h("p", { class: "subtext" }, "No video is up for votes yet.") : h("table", {},
    h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "video"), h("th", { scope: "col" }, "counted here"), h("th", { scope: "col" }, "on the ledger"))),
    h("tbody", {}, round.tallies.map((e) => {
      const same = e.chain && e.chain.up === e.up && e.chain.down === e.down;
      return h("tr", {}, h("td", { class: "cut", title: e.prompt }, e.prompt), h("td", {}, `👍${e.up} 👎${e.down}`),
        h("td", { class: same ? "same" : "differs" }, e.chain ? `👍${e.chain.up} 👎${e.chain.down} ${same ? "✓" : "…"}` : "not yet"));
    }))));
}

function processes(running) {
  return h("section", {}, h("h3", {}, "Programs"), h("ul", {}, Object.entries(running ?? {}).map(([name, p]) => h("li", { class: "pair" },
    h("span", {}, PROCESSES[name]?.[0] ?? name, h("br"), h("span", { class: "subtext" }, PROCESSES[name]?.[1] ?? "")),
    h("span", { class: p.running ? "chip up" : "chip down" }, p.running ? "running" : "stopped", p.restarts ? ` · restarted ${p.restarts}×` : "")))));
}

function host(assets) {
  return h("section", {}, h("h3", {}, "Files at the video host"), assets?.length ? h("ul", {}, assets.map((a) => h("li", { class: "pair" },
    h("span", { class: "cut mono" }, a.playback_id ?? a.id),
    h("span", { class: `chip ${a.phase === "ready" ? "up" : a.phase === "failed" ? "down" : "busy"}` }, a.phase,
      a.progress && a.phase !== "ready" ? ` ${Math.round(a.progress * 100)} %` : "")))) : h("p", { class: "subtext" }, assets ? "No video is hosted yet." : "no answer yet"));
}

function chain(data) {
  return h("section", {}, h("h3", {}, "Written to the ledger"), !data ? h("p", { class: "subtext" }, "no answer yet") : [
    h("p", { class: "subtext" }, `The ledger is a test network on this machine, at block ${data.block}. Each line is one entry in it, with its cost in gas.`),
    h("ul", {}, data.transactions.map((t) => h("li", { class: "pair", title: t.tx ?? "" },
      h("span", { class: "cut" }, KINDS[t.kind] ?? t.kind, t.entries ? ` · ${t.entries}` : "", h("br"),
        h("span", { class: "subtext mono" }, t.tx ? `${t.tx.slice(0, 12)}…` : "", t.gas ? ` · ${t.gas.toLocaleString("en")} gas` : "")),
      h("span", { class: `chip ${STATES[t.state]?.[0] ?? "busy"}` }, STATES[t.state]?.[1] ?? t.state))))]);
}

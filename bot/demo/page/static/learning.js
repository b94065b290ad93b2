// The panel's part about the learning loop: what is trained and compared now, and the release with before and after.

import { h } from "./dom.js";
import { watch } from "./playback.js";

const PHASES = {
  rendering: "voted videos are rendered again", prompts: "prompts are read", videos: "voted videos are read", training: "it learns from the votes",
  fresh: "new videos are made and judged", guards: "videos from before and after are checked",
};
const STATES = {
  training: "training", checking: "being checked", ready: "trained", battling: "compared by members", won: "won its battle", released: "released",
  lost: "not released", rejected: "rejected", withdrawn: "withdrawn",
};
const BUSY = ["training", "checking", "battling"];

const percent = (share) => `${Math.round(100 * share)}\u00a0%`;

// A step of the loop, where anything was ever trained: its name, its title, its words, and what it is doing.
export function learningStep(learning, chip) {
  const candidate = learning?.candidate;
  if (!candidate) return [];
  const state = STATES[candidate.state] ?? candidate.state;
  const kind = BUSY.includes(candidate.state) ? "busy" : ["won", "released"].includes(candidate.state) ? "up" : ["lost", "rejected"].includes(candidate.state) ? "down" : "";
  return [["learn", "8 · Learn", "The votes train a candidate. Members compare it blind with the live model, and only a winner is released.", chip(state, kind), progress(candidate)]];
}

export const learns = (learning) => BUSY.includes(learning?.candidate?.state);

function progress(candidate) {
  const [words, done, total] = candidate.state === "training" && candidate.phase ? [PHASES[candidate.phase] ?? candidate.phase, candidate.step, candidate.steps]
    : candidate.state === "battling" && candidate.pairs_made < candidate.pairs ? ["pairs of videos are made", candidate.pairs_made, candidate.pairs] : [null, 0, 0];
  if (words) return [h("progress", { max: Math.max(total, 1), value: done, "aria-label": words }), h("p", { class: "subtext" }, `${words}, ${done} of ${total}`)];
  return ["lost", "rejected"].includes(candidate.state) && candidate.reason ? h("p", { class: "subtext" }, candidate.reason) : null;
}

const shown = { key: null, element: null }; // videos go on playing while the panel is drawn anew

// The live release: before and after, what shaped it, and the verdict's sentence; null where no release is live.
export function releaseSection(learning) {
  const release = learning?.release ?? null;
  if (!release) return (shown.key = shown.element = null);
  const key = JSON.stringify(release);
  if (key !== shown.key) Object.assign(shown, { key, element: section(release) });
  return shown.element;
}

function section(release) {
  const votes = release.votes === null ? "the votes" : `${release.votes.toLocaleString("en")} votes`;
  const rounds = release.rounds ? ` of ${release.rounds === 1 ? "one round" : `${release.rounds} rounds`}` : "";
  return h("section", { class: "release", "aria-label": `Release ${release.number}` },
    h("h3", {}, `🧬 Release ${release.number}: your votes moved this`),
    release.comparisons.map(comparison),
    !release.comparisons.length && release.filmstrip ? h("img", { class: "strip", src: release.filmstrip, alt: "Frames of one prompt and seed, a row for each release" }) : null,
    release.comparisons.length ? h("p", { class: "subtext" }, "The first pairs of the battle, not chosen: one prompt and one seed each.") : null,
    h("p", {}, `Learned from ${votes}${rounds}.`, margin(release)),
    release.sentence ? h("p", { class: "verdict" }, release.sentence) : null,
    h("p", { class: "subtext mono cut", title: release.adapter }, `adapter ${release.adapter.slice(0, 24)}…`));
}

function margin({ win_rate: rate, low, high, voters }) {
  if (rate === null) return null;
  const between = low !== null && high !== null ? ` (${percent(low)} to ${percent(high)})` : "";
  return [" Won ", h("strong", {}, percent(rate)), ` of its battles${between} before ${voters} members.`];
}

function comparison({ prompt, before, after }) {
  return h("figure", { class: "comparison" }, h("div", {}, video(before, "before", prompt), video(after, "after", prompt)), h("figcaption", { class: "cut", title: prompt }, prompt));
}

function video(src, side, prompt) {
  return h("div", { class: side }, watch(h("video", { src, loop: true, muted: true, playsinline: true, controls: true, preload: "auto", "aria-label": `${side}: ${prompt}` })), h("span", { class: "chip" }, side));
}

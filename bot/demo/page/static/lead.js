// The first steps: one sentence what to do here, and examples that the tiny model can do.

import { h, replace } from "./dom.js";

// Shapes that stand out against what is behind them.
export const EXAMPLES = [
  ["🔴", "a red ball rolls to the left"],
  ["⭐", "a yellow star spins at night"],
  ["💚", "a green heart jumps over a blue field"],
];

// `place`: { locked, thread, videos, round: the thread of the open round or null, prompt: whether /prompt is offered }
export function showLead(element, place, act) {
  const known = place.prompt || place.round;
  element.hidden = !known || localStorage.getItem("lead") === "hidden";
  if (element.hidden) return replace(element);
  const goTo = place.round && !place.inRound
    ? h("button", { type: "button", class: "button primary small", onclick: () => act.open(place.round.id) }, `Go to ${place.round.name}`) : null;
  const examples = place.prompt && !place.locked
    ? h("div", { class: "examples", role: "group", "aria-label": "Examples" }, EXAMPLES.map(([sign, text]) => h("button", {
      type: "button", class: "example", "data-example": text, title: `Sends /prompt ${text}`, onclick: () => act.send(text),
    }, h("span", { "aria-hidden": "true" }, `${sign} `), text))) : null;
  replace(element,
    h("p", {}, sentence(place), " ", goTo),
    examples,
    h("button", { type: "button", class: "icon close", "aria-label": "Hide these hints", onclick: () => { localStorage.setItem("lead", "hidden"); element.hidden = true; } }, "✕"));
}

function sentence({ locked, inRound, videos, round, prompt }) {
  const command = h("code", {}, "/prompt");
  if (locked) return h("strong", {}, round ? "This round is closed. The next one is open." : "This round is closed. A new one opens soon.");
  if (inRound && videos) return [h("strong", {}, "Press 👍 on the video you like"), ", or type ", command, " to make your own."];
  if (prompt && round) return [h("strong", {}, inRound ? "Make the first video here" : "Make a video"), ": type ", command, ", or press an example."];
  return round ? h("strong", {}, "A round is open.") : h("strong", {}, "No round is open right now.");
}

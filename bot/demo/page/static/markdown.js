// Discord's markdown as DOM nodes, never as HTML text: https://support.discord.com/hc/en-us/articles/210298617

import { h, safeUrl } from "./dom.js";

const INLINE = [
  ["escape", /^\\([^\p{L}\p{N}\s])/u],
  ["code", /^(`+)([^]*?[^`])\1(?!`)/],
  ["member", /^<@!?(\d{1,20})>/],
  ["role", /^<@&(\d{1,20})>/],
  ["channel", /^<#(\d{1,20})>/],
  ["command", /^<\/([\w -]{1,100}):\d{1,20}>/],
  ["emoji", /^<a?:(\w{2,32}):\d{1,20}>/],
  ["time", /^<t:(-?\d{1,13})(?::([tTdDfFR]))?>/],
  ["masked", /^\[((?:\\.|[^\]\\\n])+)\]\(<?(https?:\/\/[^\s<>)]+)>?(?:\s+"[^"\n]*")?\)/],
  ["autolink", /^<(https?:\/\/[^\s<>]+)>/],
  ["link", /^https?:\/\/[^\s<]+[^\s<.,:;"'\])*_~|]/],
  ["bolditalic", /^\*\*\*([^]+?)\*\*\*(?!\*)/],
  ["bold", /^\*\*([^]+?)\*\*(?!\*)/],
  ["underline", /^__([^]+?)__(?!_)/],
  ["strike", /^~~([^]+?)~~/],
  ["spoiler", /^\|\|([^]+?)\|\|/],
  ["italic", /^\*([^\s*](?:[^]*?[^\s*])?)\*(?!\*)/],
  ["italic", /^_([^\s_](?:[^]*?[^\s_])?)_(?![\p{L}\p{N}_])/u],
];
const WORDS = /^[\p{L}\p{N}\s]+/u; // no markup begins within these, except an address
const MOST_DEPTH = 12;

export function markdown(text, ctx) {
  const nodes = [];
  const lines = text.split("\n");
  let paragraph = [];
  const flush = () => {
    if (paragraph.length) nodes.push(h("p", {}, inline(paragraph.join("\n"), ctx)));
    paragraph = [];
  };
  for (let i = 0; i < lines.length; i++) {
    const line = lines[i];
    let found;
    if (line.startsWith("```")) {
      const end = lines.findIndex((other, j) => j > i && other.trimEnd().endsWith("```"));
      const single = line.length > 5 && line.endsWith("```");
      if (single || end !== -1) {
        flush();
        const body = single ? line.slice(3, -3) : [...lines.slice(i + 1, end), lines[end].trimEnd().slice(0, -3)].join("\n");
        nodes.push(h("pre", {}, h("code", {}, body.replace(/\n$/, ""))));
        if (!single) i = end;
        continue;
      }
    }
    if ((found = /^(#{1,3}) +(\S.*)$/.exec(line))) {
      flush();
      nodes.push(h("p", { class: `heading h${found[1].length}`, role: "heading", "aria-level": 3 }, inline(found[2], ctx)));
    } else if ((found = /^-# +(\S.*)$/.exec(line))) {
      flush();
      nodes.push(h("p", { class: "subtext" }, inline(found[1], ctx)));
    } else if (/^> ?/.test(line)) {
      flush();
      const quoted = [];
      while (i < lines.length && /^> ?/.test(lines[i])) quoted.push(lines[i++].replace(/^> ?/, ""));
      i--;
      nodes.push(h("blockquote", {}, inline(quoted.join("\n"), ctx)));
    } else if (/^ *(?:[-*]|\d{1,4}\.) +\S/.test(line)) {
      flush();
      const ordered = /^ *\d/.test(line);
      const pattern = ordered ? /^ *(\d{1,4})\. +(\S.*)$/ : /^ *([-*]) +(\S.*)$/;
      const items = [];
      const start = pattern.exec(line)[1];
      while (i < lines.length && (found = pattern.exec(lines[i]))) {
        items.push(h("li", {}, inline(found[2], ctx)));
        i++;
      }
      i--;
      nodes.push(h(ordered ? "ol" : "ul", ordered ? { start } : {}, items));
    } else {
      paragraph.push(line);
    }
  }
  flush();
  return nodes;
}

export function inline(text, ctx, depth = 0) {
  const nodes = [];
  let words = "";
  const flush = () => {
    if (!words) return;
    words.split("\n").forEach((line, number) => {
      if (number) nodes.push(h("br"));
      if (line) nodes.push(line);
    });
    words = "";
  };
  let rest = text;
  while (rest) {
    const plain = WORDS.exec(rest)?.[0] ?? "";
    const address = plain.search(/https?$/);
    const skip = address === -1 ? plain.length : address;
    if (skip) {
      words += rest.slice(0, skip);
      rest = rest.slice(skip);
      continue;
    }
    const hit = depth < MOST_DEPTH ? find(rest) : null;
    if (hit) {
      flush();
      nodes.push(build(hit.kind, hit.match, ctx, depth));
      rest = rest.slice(hit.match[0].length);
    } else {
      const next = String.fromCodePoint(rest.codePointAt(0));
      words += next;
      rest = rest.slice(next.length);
    }
  }
  flush();
  return nodes;
}

function find(rest) {
  for (const [kind, pattern] of INLINE) {
    const match = pattern.exec(rest);
    if (match) return { kind, match };
  }
  return null;
}

function build(kind, match, ctx, depth) {
  const within = () => inline(match[1], ctx, depth + 1);
  switch (kind) {
    case "escape": return match[1];
    case "code": return h("code", {}, match[2].trim() || match[2]);
    case "member": return h("span", { class: "mention" }, `@${ctx.memberName(match[1]) ?? "unknown-user"}`);
    case "role": return h("span", { class: "mention" }, "@role");
    case "channel": return channelLink(match[1], null, ctx);
    case "command": return h("span", { class: "mention" }, `/${match[1]}`);
    case "emoji": return `:${match[1]}:`;
    case "time": return time(Number(match[1]), match[2] ?? "f");
    case "masked": return link(match[2], inline(match[1], ctx, depth + 1), ctx);
    case "autolink": return link(match[1], null, ctx);
    case "link": return link(match[0], null, ctx);
    case "bold": return h("strong", {}, within());
    case "bolditalic": return h("strong", {}, h("em", {}, within()));
    case "italic": return h("em", {}, within());
    case "underline": return h("u", {}, within());
    case "strike": return h("s", {}, within());
    case "spoiler": return spoiler(within());
    default: return match[0];
  }
}

function spoiler(children) {
  const show = (event) => event.currentTarget.classList.add("shown");
  return h("span", { class: "spoiler", role: "button", tabindex: "0", title: "Spoiler: click to reveal", onclick: show,
    onkeydown: (event) => event.key === "Enter" && show(event) }, children);
}

function link(address, label, ctx) {
  const place = /^https:\/\/discord\.com\/channels\/\d+\/(\d+)(?:\/(\d+))?\/?$/.exec(address);
  if (place) return channelLink(place[1], place[2] ?? null, ctx, label);
  const href = safeUrl(address);
  if (!href) return h("span", {}, label ?? address);
  return h("a", { href, target: "_blank", rel: "noopener noreferrer nofollow" }, label ?? address);
}

// Returns a mention of a channel, or a link to a message, that stays within the page.
function channelLink(channelId, messageId, ctx, label) {
  const name = ctx.channelName(channelId);
  if (!name) return h("span", { class: "mention" }, label ?? "#unknown");
  return h("button", { type: "button", class: "mention", onclick: () => ctx.open(channelId, messageId) },
    label ?? (messageId ? `#${name} › 💬` : `#${name}`));
}

const STYLES = {
  t: { timeStyle: "short" }, T: { timeStyle: "medium" }, d: { dateStyle: "short" }, D: { dateStyle: "long" },
  f: { dateStyle: "long", timeStyle: "short" }, F: { dateStyle: "full", timeStyle: "short" },
};

function time(seconds, style) {
  const date = new Date(seconds * 1000);
  if (Number.isNaN(date.valueOf())) return "(a time)";
  const title = date.toLocaleString();
  return h("time", { datetime: date.toISOString(), title, "data-relative": style === "R" ? seconds : null },
    style === "R" ? relative(seconds) : date.toLocaleString(undefined, STYLES[style]));
}

const UNITS = [["year", 31_536_000], ["month", 2_592_000], ["day", 86_400], ["hour", 3600], ["minute", 60], ["second", 1]];

function relative(seconds) {
  const left = seconds - Date.now() / 1000;
  const [unit, size] = UNITS.find(([, size]) => Math.abs(left) >= size) ?? UNITS.at(-1);
  return new Intl.RelativeTimeFormat("en", { numeric: "auto" }).format(Math.round(left / size), unit);
}

// Relative times are kept current.
setInterval(() => {
  for (const element of document.querySelectorAll("time[data-relative]")) {
    element.textContent = relative(Number(element.dataset.relative));
  }
}, 5000);

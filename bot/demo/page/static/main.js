// The page: a small Discord on the demo's guild. It begins here; the other modules know, show and do.

import { copyLink, dismiss, press, react, remove, run, settle, suggest } from "./acts.js";
import { addressOf, here, keepScroll, write } from "./address.js";
import { CannotError, Events } from "./api.js";
import { learnReaction } from "./choices.js";
import { Composer, flatten } from "./composer.js";
import { avatar, h, replace } from "./dom.js";
import { showLead } from "./lead.js";
import { changeReactions, forget, hasVideo, load, showEarlier, showMessage, stayAtEnd, toEnd, upsert } from "./log.js";
import { showPanel } from "./panel.js";
import {
  $, FORUM, api, attempt, channel, ctx, isThread, members, newestThread, notice, openRound, people, state, token, where,
} from "./world.js";

let events = null;
let led = false; // a visitor who has done nothing yet is shown the open round, whichever it is

// ---------------------------------------------------------------- beginning

async function begin() {
  if (!token) return notice("The link that `flock demo` printed holds a token after the #. Open that link.");
  for (;;) {
    try {
      state.world = await api.look("world");
      if (people().length) break;
    } catch (error) {
      notice(error instanceof CannotError ? error.message : "The demo is starting…");
    }
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
  notice(null);
  localStorage.setItem("token", token); // it is the right one; a wrong one replaces none
  const name = new URLSearchParams(location.search).get("as") ?? sessionStorage.getItem("member");
  const member = people().find((m) => m.name === name) ?? people().find((m) => !m.moderator) ?? people()[0];
  const place = here();
  led = !channel(place?.channelId);
  const first = channel(place?.channelId) ?? openRound() ?? newestThread() ?? state.world.channels.find((c) => !isThread(c));
  state.channelId = first?.id ?? null;
  await become(member.name, led ? null : place.messageId);
}

async function become(name, messageId = null) {
  state.member = name;
  sessionStorage.setItem("member", name);
  events?.end();
  document.title = `${name} · FLock demo`;
  replace($("member"), people().map((m) => h("option", { value: m.name, selected: m.name === name }, m.moderator ? `${m.name} (moderator)` : m.name)));
  $("me-avatar").replaceWith(Object.assign(avatar(name), { id: "me-avatar" }));
  state.pending.clear();
  state.dismissed.clear();
  events = new Events(token, name, onEvent, onConnection);
  await open(state.channelId, messageId, "replace");
}

async function onConnection(what) {
  if (what === "closed") return notice("The connection was lost. Reconnecting…");
  notice(null);
  await refreshWorld();
  await load();
}

async function refreshWorld() {
  try {
    state.world = await api.look("world");
    showChannels();
    showTop();
    await loadCommands();
    showHints();
    const round = openRound();
    if (led && round && round.id !== state.channelId) await open(round.id, null, "replace");
  } catch {
    // the next event tries again
  }
}

// ---------------------------------------------------------------- channels

function showChannels() {
  const { channels, guild } = state.world;
  $("guild").textContent = guild.name;
  const roots = channels.filter((c) => !isThread(c) && c.type !== 4).sort((a, b) => (a.position ?? 0) - (b.position ?? 0));
  const threads = (parent) => channels.filter((c) => isThread(c) && c.parent_id === parent.id)
    .sort((a, b) => Number(Boolean(a.thread_metadata?.archived)) - Number(Boolean(b.thread_metadata?.archived)) || (BigInt(b.id) > BigInt(a.id) ? 1 : -1));
  replace($("channels"), h("ul", {}, roots.map((root) => h("li", {}, entry(root, root.type === FORUM ? "❏" : "#"),
    h("ul", {}, threads(root).slice(0, 8).map((thread) => h("li", {}, entry(thread, "🧵"))))))));
}

function entry(c, sign) {
  const unread = state.unread.has(c.id);
  const locked = c.thread_metadata?.locked;
  return h("button", {
    type: "button", class: `channel${unread ? " unread" : ""}${c.thread_metadata?.archived ? " archived" : ""}`, title: c.name,
    "aria-current": c.id === state.channelId ? "page" : null, onclick: () => open(c.id, null),
  }, h("span", { class: "sign", "aria-hidden": "true" }, locked ? "🔒" : sign), h("span", { class: "cut" }, c.name), unread ? h("span", { class: "sr" }, " (new)") : null);
}

function showTop() {
  const c = channel(state.channelId);
  const parent = isThread(c) ? channel(c.parent_id) : null;
  replace($("where"), parent ? [h("button", { type: "button", class: "plain", onclick: () => open(parent.id, null) }, `#${parent.name}`), " › "] : "#", c?.name ?? "…");
}

// `how` says what becomes of the address: "push", "replace", or null where the history has moved already.
async function open(channelId, messageId, how = "push", top = null) {
  if (!channel(channelId)) return;
  if (how === "push") keepScroll($("log").scrollTop);
  if (how) write(how, addressOf(state.world.guild.id, channelId, messageId));
  if (how === "push") led = false;
  state.channelId = channelId;
  state.unread.delete(channelId);
  document.body.classList.remove("sidebar-open");
  $("open-sidebar").setAttribute("aria-expanded", "false");
  showChannels();
  showTop();
  composer.plain();
  stayAtEnd(!messageId && top === null);
  await Promise.all([load(), loadCommands()]);
  if (state.channelId !== channelId) return;
  showHints();
  showEarlier(channelId);
  const target = messageId && $(`message-${messageId}`);
  if (target) {
    target.scrollIntoView({ block: "center" });
    target.classList.add("found");
    target.focus({ preventScroll: true });
    setTimeout(() => target.classList.remove("found"), 2500);
  } else {
    if (top === null) toEnd();
    else $("log").scrollTop = top;
    if (!document.body.classList.contains("phone")) composer.focus();
  }
}

async function loadCommands() {
  try {
    state.commands = flatten(await api.look("commands", { member: state.member, channel_id: state.channelId }));
  } catch {
    state.commands = [];
  }
}

function showHints() {
  const c = channel(state.channelId);
  const round = openRound() ?? null;
  const videos = [...state.messages.values()].some(hasVideo);
  const prompt = state.commands.some((command) => command.name === "prompt");
  showLead($("lead"), { locked: where().locked, inRound: Boolean(round) && c?.id === round.id, videos, round, prompt }, {
    open: (id) => open(id, null),
    send: (text) => attempt(() => run("prompt", { text })).then(toEnd, () => {}),
  });
}

// ---------------------------------------------------------------- events

const HANDLERS = {
  BEHIND: (data) => Object.keys(data).length && showPanel($("behind"), data),
  MESSAGE_CREATE(message) {
    if (message.channel_id === state.channelId) upsert(message);
    else if (!message.ephemeral) { state.unread.add(message.channel_id); showChannels(); }
  },
  MESSAGE_UPDATE: upsert,
  MESSAGE_DELETE: ({ id }) => forget(id),
  MESSAGE_DELETE_BULK: ({ ids }) => ids.forEach(forget),
  MESSAGE_REACTION_ADD: (data) => reacted(data, true),
  MESSAGE_REACTION_REMOVE: (data) => reacted(data, false),
  MESSAGE_REACTION_REMOVE_ALL: ({ message_id: id }) => changeReactions(id, () => ({})),
  MESSAGE_REACTION_REMOVE_EMOJI: ({ message_id: id, emoji }) => changeReactions(id, (all) => ({ ...all, [emoji.name]: [] })),
  INTERACTION_UPDATE(status) {
    status.messages.forEach(upsert);
    const pending = state.pending.get(status.id);
    if (settle(status) && pending && status.kind !== null) composer.answered(pending.name, pending.options, status.messages);
  },
};
for (const name of ["CHANNEL_CREATE", "CHANNEL_UPDATE", "CHANNEL_DELETE", "THREAD_CREATE", "THREAD_UPDATE", "THREAD_DELETE", "GUILD_UPDATE", "GUILD_MEMBER_ADD", "GUILD_MEMBER_REMOVE", "GUILD_MEMBER_UPDATE", "GUILD_CREATE"]) {
  HANDLERS[name] = async (data) => {
    await refreshWorld();
    // A mention of something unknown may have a name now.
    for (const message of state.messages.values()) if (JSON.stringify(message.components).includes(data.id) || message.content?.includes(data.id)) showMessage(message);
    const starter = state.messages.get(data.id);
    if (name.startsWith("THREAD") && starter) upsert({ ...starter, thread: channel(data.id) });
    if (data.id === state.channelId && !composer.command && !composer.input.value) composer.plain();
  };
}

function onEvent(event, data) {
  HANDLERS[event]?.(data);
}

function reacted({ message_id: id, user_id: userId, emoji }, on) {
  const name = ctx.memberName(userId) ?? "somebody";
  const message = state.messages.get(id);
  if (name === state.member && message && !channel(message.channel_id)?.thread_metadata?.locked) learnReaction(name, message, emoji.name, on);
  changeReactions(id, (all) => {
    const others = (all[emoji.name] ?? []).filter((other) => other !== name);
    return { ...all, [emoji.name]: on ? [...others, name] : others };
  });
}

// ---------------------------------------------------------------- the frame

const composer = new Composer($("composer"), {
  commands: () => state.commands,
  channels: () => state.world.channels.filter((c) => !isThread(c)),
  members,
  where: () => (state.world ? where() : { name: "…", locked: true }),
  say: (text) => attempt(() => api.act("say", { member: state.member, channel_id: state.channelId, content: text })),
  run, suggest,
});
Object.assign(ctx, {
  again: (message) => {
    const sent = state.sent.get(message.interaction_metadata?.id);
    return sent && Object.keys(sent.options).length ? () => composer.again(sent.name, sent.options) : null;
  },
  answered: (...answer) => composer.answered(...answer),
  pressOn: press, open, react, remove, dismiss, copyLink, showHints,
});

addEventListener("popstate", (event) => {
  const place = here();
  if (state.world && place) open(place.channelId, place.messageId, null, event.state?.top ?? null);
});
// Whoever acts is not led on to another place any more.
for (const act of ["pointerdown", "keydown"]) addEventListener(act, () => { led = false; }, { capture: true });
$("open-lead").addEventListener("click", () => {
  localStorage.setItem("lead", $("lead").hidden ? "shown" : "hidden");
  showHints();
});
$("member").addEventListener("change", (event) => become(event.target.value));
for (const [button, name] of [["open-sidebar", "sidebar-open"], ["open-behind", "behind-open"]]) {
  $(button).addEventListener("click", () => {
    const shown = document.body.classList.toggle(name);
    $(button).setAttribute("aria-expanded", String(shown));
  });
}
const phone = matchMedia("(max-width: 760px)");
const fit = () => {
  document.body.classList.toggle("phone", phone.matches);
  document.body.classList.toggle("behind-open", !phone.matches && innerWidth > 1000);
  $("open-behind").setAttribute("aria-expanded", String(document.body.classList.contains("behind-open")));
};
phone.addEventListener("change", fit);
fit();
window.addEventListener("unhandledrejection", (event) => { if (event.reason instanceof CannotError) event.preventDefault(); });
showPanel($("behind"), { processes: {}, queue: null, assets: null, chain: null, round: null });
begin();

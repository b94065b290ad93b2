// The page: a small Discord on the demo's guild. It keeps the state; the other modules build what is shown of it.

import { addressOf, here, keepScroll, write } from "./address.js";
import { Api, CannotError, Events } from "./api.js";
import { attachment } from "./components.js";
import { isChosen, learn, learnReaction } from "./choices.js";
import { Composer, flatten } from "./composer.js";
import { avatar, h, replace } from "./dom.js";
import { showLead } from "./lead.js";
import { messageElement, pendingElement } from "./message.js";
import { openModal } from "./modal.js";
import { showPanel } from "./panel.js";

const THREADS = [10, 11, 12];
const FORUM = 15;
const WAIT_S = 20;
const $ = (id) => document.getElementById(id);

// The token comes with the link, and is kept for links to messages; it leaves the address with the first channel.
const given = location.hash === "#log" ? "" : location.hash.slice(1); // that is where the skip link leads
const token = given || localStorage.getItem("token") || "";
addEventListener("hashchange", () => location.hash.length > 1 && !location.hash.startsWith("#log") && location.reload());
const api = new Api(token);

const state = {
  world: null, member: null, channelId: null,
  messages: new Map(), // of the channel that is shown, by id
  pending: new Map(), // commands under way, by interaction id
  sent: new Map(), // commands that this window has sent, by interaction id: a refused one can be sent again
  unread: new Set(), commands: [], dismissed: new Set(),
};
let events = null;
let following = true; // of the end of the messages
let led = false; // a visitor who has done nothing yet is shown the open round, whichever it is
let generation = 0; // of the messages that are shown: late answers for another channel are dropped

// ---------------------------------------------------------------- looking things up

const members = () => state.world.members;
const me = () => members().find((m) => m.name === state.member);
const channel = (id) => state.world.channels.find((c) => c.id === id);
const isThread = (c) => THREADS.includes(c?.type);

const ctx = {
  get member() { return state.member; },
  get memberId() { return me()?.id; },
  get moderator() { return Boolean(me()?.moderator); },
  memberName: (id) => members().find((m) => m.id === id)?.name,
  channelName: (id) => channel(id)?.name,
  threadOf: (id) => state.world.channels.find((c) => c.id === id && isThread(c)),
  isChosen: (customId) => isChosen(state.member, customId),
  sizeOf: () => null,
  again: (message) => {
    const sent = state.sent.get(message.interaction_metadata?.id);
    return sent && Object.keys(sent.options).length ? () => composer.again(sent.name, sent.options) : null;
  },
  open, press: null, react, remove, dismiss, copyLink,
};

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

const newest = (a, b) => (BigInt(b.id) > BigInt(a.id) ? 1 : -1);
const threads = () => state.world.channels.filter((c) => isThread(c) && channel(c.parent_id)?.type !== FORUM).sort(newest);
const newestThread = () => threads()[0];
const openRound = () => threads().find((c) => !c.thread_metadata?.archived && !c.thread_metadata?.locked);

const people = () => members().filter((m) => !m.bot && !m.owner);

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

const where = () => {
  const c = channel(state.channelId);
  const locked = Boolean(c?.thread_metadata?.locked) && !ctx.moderator;
  return { name: c ? `${isThread(c) ? "" : "#"}${c.name}` : "…", locked };
};

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
  following = !messageId && top === null;
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

async function load() {
  const mine = ++generation;
  let list;
  try {
    list = await api.look("messages", { member: state.member, channel_id: state.channelId });
  } catch (error) {
    if (mine === generation) { state.messages.clear(); showLog(); notice(error.message); }
    return;
  }
  if (mine !== generation) return;
  state.messages = new Map(list.filter((m) => !state.dismissed.has(m.id)).map((m) => [m.id, m]));
  showLog();
}

const isVideo = (a) => a.content_type?.startsWith("video/");
const hasVideo = (message) => Boolean(message.attachments?.some(isVideo));

// An open round without a video yet shows one of the round before, so that there is something to see.
async function showEarlier(channelId) {
  const before = threads().find((c) => c.id !== channelId && BigInt(c.id) < BigInt(channelId));
  if (openRound()?.id !== channelId || !before || [...state.messages.values()].some(hasVideo)) return;
  const list = await api.look("messages", { member: state.member, channel_id: before.id }).catch(() => []);
  const likes = (m) => (m.reacted?.["👍"]?.length ?? 0) - (m.reacted?.["👎"]?.length ?? 0);
  const best = list.filter(hasVideo).sort((a, b) => likes(b) - likes(a))[0];
  if (!best || state.channelId !== channelId || [...state.messages.values()].some(hasVideo)) return;
  entries.querySelector(".earlier")?.remove();
  entries.querySelector(".beginning").after(h("section", { class: "earlier", "aria-label": "From the round before" },
    h("p", {}, "Nobody has made a video here yet. This one is from ",
      h("button", { type: "button", class: "plain", onclick: () => open(before.id, best.id) }, before.name), "."),
    attachment(best.attachments.find(isVideo), ctx)));
}

async function loadCommands() {
  try {
    state.commands = flatten(await api.look("commands", { member: state.member, channel_id: state.channelId }));
  } catch {
    state.commands = [];
  }
}

// ---------------------------------------------------------------- messages

const atEnd = () => $("log").scrollHeight - $("log").scrollTop - $("log").clientHeight < 120;
const toEnd = () => { $("log").scrollTop = $("log").scrollHeight; };
const entries = h("div", { id: "entries" });
$("log").append(entries);
$("log").addEventListener("scroll", () => { following = atEnd(); });
// Whoever is at the end stays there, whatever grows: a picture that comes, hints that go, a keyboard that opens.
const sizes = new ResizeObserver(() => following && toEnd());
sizes.observe(entries);
sizes.observe($("log"));

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

function showLog() {
  const c = channel(state.channelId);
  ctx.press = press(null);
  const ordered = [...state.messages.values()].sort((a, b) => (BigInt(a.id) < BigInt(b.id) ? -1 : 1));
  const posts = c?.type === FORUM ? state.world.channels.filter((t) => t.parent_id === c.id) : [];
  // Messages that come anew after a lost connection stay where the reader was.
  const reader = { top: $("log").scrollTop, at: document.activeElement?.closest?.(".message")?.id };
  replace(entries,
    h("div", { class: "beginning" }, h("h2", {}, isThread(c) ? c.name : `#${c?.name}`), h("p", {}, isThread(c) ? "The beginning of this thread." : "The beginning of this channel.")),
    posts.map((post) => h("button", { type: "button", class: "post", onclick: () => open(post.id, null) }, h("strong", {}, post.name), h("span", {}, ` ${post.message_count ?? 0} messages`))),
    ordered.map(element), [...state.pending.values()].filter((p) => p.channelId === state.channelId).map((p) => pendingElement(p, ctx)));
  if (following) toEnd();
  else $("log").scrollTop = reader.top;
  if (reader.at) $(reader.at)?.focus({ preventScroll: true });
}

const element = (message) => messageElement(message, contextOf(message));

function contextOf(message) {
  const sizeOf = (url) => message.attachments?.find((a) => a.url === url || a.proxy_url === url);
  return Object.defineProperties(Object.create(ctx), { press: { value: press(message) }, sizeOf: { value: sizeOf } });
}

// Puts one message in its place. The element that had the focus keeps it.
function showMessage(message, before = null) {
  const old = $(`message-${message.id}`);
  const fresh = element(message);
  if (old) {
    const focused = old.contains(document.activeElement) ? document.activeElement : null;
    const key = focused && ["data-custom-id", "data-reaction", "data-quick"].find((name) => focused.hasAttribute(name));
    keepMedia(old, fresh);
    if (before) markChanges(before, message, fresh);
    old.replaceWith(fresh);
    if (key) fresh.querySelector(`[${key}="${CSS.escape(focused.getAttribute(key))}"]`)?.focus();
    else if (focused) fresh.focus({ preventScroll: true });
  } else {
    const later = [...$("log").querySelectorAll(".message[data-id]")].find((other) => BigInt(other.dataset.id) > BigInt(message.id));
    const place = later ?? entries.querySelector(".pending");
    if (place) place.before(fresh);
    else entries.append(fresh);
  }
  if (following) toEnd();
}

// Shows which texts of a card an edit has changed. A message without media is progress: it changes all the time.
function markChanges(before, message, fresh) {
  if (!fresh.querySelector(".container video, .container img")) return;
  const old = texts(before.components);
  texts(message.components).forEach((text, i) => text !== old[i] && fresh.querySelectorAll(".container .text")[i]?.classList.add("changed"));
}

const texts = (components) => (components ?? []).flatMap((c) => (c.type === 10 ? [c.content] : texts(c.components)));

// Shows anew the messages whose buttons are about something.
function refreshButtons(part) {
  for (const message of state.messages.values()) if (JSON.stringify(message.components ?? []).includes(part)) showMessage(message);
}

// Lets a video go on playing when its card is edited.
function keepMedia(old, fresh) {
  for (const media of fresh.querySelectorAll("video")) {
    const playing = [...old.querySelectorAll("video")].find((other) => other.src === media.src);
    if (playing) media.replaceWith(playing);
  }
}

function upsert(message) {
  if (message.channel_id !== state.channelId || state.dismissed.has(message.id)) return;
  const before = state.messages.get(message.id);
  const merged = { ...before, ...message };
  if (!message.reacted) merged.reacted = before?.reacted ?? {};
  state.messages.set(message.id, merged);
  showMessage(merged, before);
  if (hasVideo(merged)) entries.querySelector(".earlier")?.remove();
  if (!before) showHints();
}

function forget(id) {
  state.messages.delete(id);
  $(`message-${id}`)?.remove();
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

function changeReactions(id, change) {
  const message = state.messages.get(id);
  if (message) upsert({ ...message, reacted: change(message.reacted ?? {}) });
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

// ---------------------------------------------------------------- acts

async function run(name, options) {
  const channelId = state.channelId;
  // An error here is the client's own, such as a missing option: the composer shows it beside the typed text.
  const start = await api.act("command", { member: state.member, channel_id: channelId, name, options, wait: 0 });
  const pending = { id: start.interaction_id, name, channelId, options, state: "thinking" };
  state.pending.set(pending.id, pending);
  state.sent.set(pending.id, { name, options });
  showPending(pending);
  follow(pending.id);
}

async function suggest(name, options, focused, value) {
  const { status } = await api.act("autocomplete", { member: state.member, channel_id: state.channelId, name, options, focused, value, wait: 3 });
  return status?.choices ?? [];
}

// Waits for the answer. Events usually come first; this is for what has no event, such as silence.
async function follow(id, onModal = null) {
  for (;;) {
    let status;
    try {
      status = await api.look(`interactions/${id}`, { wait: WAIT_S });
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 1000));
      if (!state.pending.has(id)) return null;
      continue;
    }
    status.messages.forEach(upsert);
    const pending = state.pending.get(id);
    if (settle(status)) {
      if (pending && status.kind !== null) composer.answered(pending.name, pending.options, status.messages);
      if (status.modal) await showModal(status);
      return status;
    }
  }
}

function settle(status) {
  const over = status.failed || status.expired || (status.kind !== null && !status.loading);
  const pending = state.pending.get(status.id);
  if (over && pending) {
    if (status.failed || (status.expired && status.loading)) {
      pending.state = "failed";
      showPending(pending);
    } else {
      state.pending.delete(status.id);
      document.querySelector(`[data-pending="${status.id}"]`)?.remove();
    }
  }
  return over;
}

function showPending(pending) {
  const old = document.querySelector(`[data-pending="${pending.id}"]`);
  if (pending.channelId !== state.channelId) return old?.remove();
  const fresh = pendingElement(pending, ctx);
  if (old) old.replaceWith(fresh);
  else entries.append(fresh);
  if (following) toEnd();
}

function press(message) {
  return async (customId, values, control) => {
    if (!message || control.getAttribute("aria-busy") === "true") return;
    control.setAttribute("aria-busy", "true");
    const shown = control.closest(".message");
    shown.querySelector(".trouble")?.remove();
    try {
      const body = { member: state.member, channel_id: message.channel_id, message_id: message.id, custom_id: customId, wait: WAIT_S };
      const { status } = await api.act("press", values.length ? { ...body, values } : body);
      if (!status || status.failed) throw new CannotError("This interaction failed: the application did not respond.");
      const subject = learn(body.member, customId, [...status.messages, ...(status.changed ?? [])]);
      status.messages.forEach(upsert);
      if (subject) refreshButtons(`:${subject}"`);
      if (status.modal) await showModal(status);
    } catch (error) {
      ($(`message-${message.id}`) ?? shown).append(h("p", { class: "trouble", role: "alert" }, error.message));
    } finally {
      control.removeAttribute("aria-busy");
    }
  };
}

async function showModal(status) {
  const channelId = status.channel_id;
  await openModal(status.modal, async (values) => {
    const { status: answer } = await api.act("modal", { member: state.member, channel_id: channelId, interaction_id: status.id, values, wait: WAIT_S });
    if (!answer || answer.failed) throw new CannotError("The application did not respond. What you typed is still here.");
    answer.messages.forEach(upsert);
  });
}

async function react(message, emoji, on) {
  await attempt(() => api.act("react", { member: state.member, channel_id: message.channel_id, message_id: message.id, emoji, on }));
}

async function remove(message) {
  await attempt(() => api.act("delete", { member: state.member, channel_id: message.channel_id, message_id: message.id }));
}

function dismiss(id) {
  state.dismissed.add(id);
  state.pending.delete(id);
  forget(id);
  document.querySelector(`[data-pending="${id}"]`)?.remove();
}

async function copyLink(message) {
  const link = `${location.origin}${addressOf(state.world.guild.id, message.channel_id, message.id)}`;
  await attempt(async () => {
    await navigator.clipboard.writeText(link);
    notice("Link copied.", 3000);
  });
}

async function attempt(act) {
  try {
    await act();
  } catch (error) {
    notice(error.message, 6000);
    throw error;
  }
}

let noticeTimer;
function notice(text, ms) {
  clearTimeout(noticeTimer);
  $("notice").hidden = !text;
  $("notice").textContent = text ?? "";
  if (ms) noticeTimer = setTimeout(() => notice(null), ms);
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

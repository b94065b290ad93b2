// The messages of the channel that is shown: read, put in their places, and kept up to date.

import { attachment } from "./components.js";
import { h, replace } from "./dom.js";
import { messageElement, pendingElement } from "./message.js";
import { $, FORUM, api, channel, ctx, isThread, notice, openRound, state, threads } from "./world.js";

let following = true; // of the end of the messages
let generation = 0; // of the messages that are shown: late answers for another channel are dropped

const atEnd = () => $("log").scrollHeight - $("log").scrollTop - $("log").clientHeight < 120;
export const toEnd = () => { $("log").scrollTop = $("log").scrollHeight; };
const entries = h("div", { id: "entries" });
$("log").append(entries);
$("log").addEventListener("scroll", () => { following = atEnd(); });
// Whoever is at the end stays there, whatever grows: a picture that comes, hints that go, a keyboard that opens.
const sizes = new ResizeObserver(() => following && toEnd());
sizes.observe(entries);
sizes.observe($("log"));

// Says whether the reader is to stay at the end.
export function stayAtEnd(on) {
  following = on;
}

export async function load() {
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
export const hasVideo = (message) => Boolean(message.attachments?.some(isVideo));

// An open round without a video yet shows one of the round before, so that there is something to see.
export async function showEarlier(channelId) {
  const before = threads().find((c) => c.id !== channelId && BigInt(c.id) < BigInt(channelId));
  if (openRound()?.id !== channelId || !before || [...state.messages.values()].some(hasVideo)) return;
  const list = await api.look("messages", { member: state.member, channel_id: before.id }).catch(() => []);
  const likes = (m) => (m.reacted?.["👍"]?.length ?? 0) - (m.reacted?.["👎"]?.length ?? 0);
  const best = list.filter(hasVideo).sort((a, b) => likes(b) - likes(a))[0];
  if (!best || state.channelId !== channelId || [...state.messages.values()].some(hasVideo)) return;
  entries.querySelector(".earlier")?.remove();
  entries.querySelector(".beginning").after(h("section", { class: "earlier", "aria-label": "From the round before" },
    h("p", {}, "Nobody has made a video here yet. This one is from ",
      h("button", { type: "button", class: "plain", onclick: () => ctx.open(before.id, best.id) }, before.name), "."),
    attachment(best.attachments.find(isVideo), ctx)));
}

function showLog() {
  const c = channel(state.channelId);
  ctx.press = ctx.pressOn(null);
  const ordered = [...state.messages.values()].sort((a, b) => (BigInt(a.id) < BigInt(b.id) ? -1 : 1));
  const posts = c?.type === FORUM ? state.world.channels.filter((t) => t.parent_id === c.id) : [];
  // Messages that come anew after a lost connection stay where the reader was.
  const reader = { top: $("log").scrollTop, at: document.activeElement?.closest?.(".message")?.id };
  replace(entries,
    h("div", { class: "beginning" }, h("h2", {}, isThread(c) ? c.name : `#${c?.name}`), h("p", {}, isThread(c) ? "The beginning of this thread." : "The beginning of this channel.")),
    posts.map((post) => h("button", { type: "button", class: "post", onclick: () => ctx.open(post.id, null) }, h("strong", {}, post.name), h("span", {}, ` ${post.message_count ?? 0} messages`))),
    ordered.map(element), [...state.pending.values()].filter((p) => p.channelId === state.channelId).map((p) => pendingElement(p, ctx)));
  if (following) toEnd();
  else $("log").scrollTop = reader.top;
  if (reader.at) $(reader.at)?.focus({ preventScroll: true });
}

const element = (message) => messageElement(message, contextOf(message));

function contextOf(message) {
  const sizeOf = (url) => message.attachments?.find((a) => a.url === url || a.proxy_url === url);
  return Object.defineProperties(Object.create(ctx), { press: { value: ctx.pressOn(message) }, sizeOf: { value: sizeOf } });
}

// Puts one message in its place. The element that had the focus keeps it.
export function showMessage(message, before = null) {
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
export function refreshButtons(part) {
  for (const message of state.messages.values()) if (JSON.stringify(message.components ?? []).includes(part)) showMessage(message);
}

// Lets a video go on playing when its card is edited.
function keepMedia(old, fresh) {
  for (const media of fresh.querySelectorAll("video")) {
    const playing = [...old.querySelectorAll("video")].find((other) => other.src === media.src);
    if (playing) media.replaceWith(playing);
  }
}

export function upsert(message) {
  if (message.channel_id !== state.channelId || state.dismissed.has(message.id)) return;
  const before = state.messages.get(message.id);
  const merged = { ...before, ...message };
  if (!message.reacted) merged.reacted = before?.reacted ?? {};
  state.messages.set(message.id, merged);
  showMessage(merged, before);
  if (hasVideo(merged)) entries.querySelector(".earlier")?.remove();
  if (!before) ctx.showHints();
}

export function forget(id) {
  state.messages.delete(id);
  $(`message-${id}`)?.remove();
}

export function changeReactions(id, change) {
  const message = state.messages.get(id);
  if (message) upsert({ ...message, reacted: change(message.reacted ?? {}) });
}

export function showPending(pending) {
  const old = document.querySelector(`[data-pending="${pending.id}"]`);
  if (pending.channelId !== state.channelId) return old?.remove();
  const fresh = pendingElement(pending, ctx);
  if (old) old.replaceWith(fresh);
  else entries.append(fresh);
  if (following) toEnd();
}

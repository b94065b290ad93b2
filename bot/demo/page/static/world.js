// What the page knows: the guild, who looks at it and where, the way to the server, and the notice above the messages.

import { Api } from "./api.js";
import { isChosen } from "./choices.js";

const THREADS = [10, 11, 12];
export const FORUM = 15;
export const $ = (id) => document.getElementById(id);

// The token comes with the link, and is kept for links to messages; it leaves the address with the first channel.
const given = location.hash === "#log" ? "" : location.hash.slice(1); // that is where the skip link leads
export const token = given || localStorage.getItem("token") || "";
addEventListener("hashchange", () => location.hash.length > 1 && !location.hash.startsWith("#log") && location.reload());
export const api = new Api(token);

export const state = {
  world: null, member: null, channelId: null,
  messages: new Map(), // of the channel that is shown, by id
  pending: new Map(), // commands under way, by interaction id
  sent: new Map(), // commands that this window has sent, by interaction id: a refused one can be sent again
  unread: new Set(), commands: [], dismissed: new Set(),
};

// ---------------------------------------------------------------- looking things up

export const members = () => state.world.members;
const me = () => members().find((m) => m.name === state.member);
export const channel = (id) => state.world.channels.find((c) => c.id === id);
export const isThread = (c) => THREADS.includes(c?.type);

const newest = (a, b) => (BigInt(b.id) > BigInt(a.id) ? 1 : -1);
export const threads = () => state.world.channels.filter((c) => isThread(c) && channel(c.parent_id)?.type !== FORUM).sort(newest);
export const newestThread = () => threads()[0];
export const openRound = () => threads().find((c) => !c.thread_metadata?.archived && !c.thread_metadata?.locked);

export const people = () => members().filter((m) => !m.bot && !m.owner);

export const where = () => {
  const c = channel(state.channelId);
  const locked = Boolean(c?.thread_metadata?.locked) && !ctx.moderator;
  return { name: c ? `${isThread(c) ? "" : "#"}${c.name}` : "…", locked };
};

// What elements need to know; whoever does more for them, such as the acts of members, adds it.
export const ctx = {
  get member() { return state.member; },
  get memberId() { return me()?.id; },
  get moderator() { return Boolean(me()?.moderator); },
  memberName: (id) => members().find((m) => m.id === id)?.name,
  channelName: (id) => channel(id)?.name,
  threadOf: (id) => state.world.channels.find((c) => c.id === id && isThread(c)),
  isChosen: (customId) => isChosen(state.member, customId),
  sizeOf: () => null,
  press: null,
};

// ---------------------------------------------------------------- notices

export async function attempt(act) {
  try {
    await act();
  } catch (error) {
    notice(error.message, 6000);
    throw error;
  }
}

let noticeTimer;
export function notice(text, ms) {
  clearTimeout(noticeTimer);
  $("notice").hidden = !text;
  $("notice").textContent = text ?? "";
  if (ms) noticeTimer = setTimeout(() => notice(null), ms);
}

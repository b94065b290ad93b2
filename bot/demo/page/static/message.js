// One message, as Discord shows it: author, time, card or text, reactions, and buttons to act on it.

import { avatar, h } from "./dom.js";
import { all, attachment, embed } from "./components.js";
import { inline, markdown } from "./markdown.js";

const QUICK = ["👍", "👎", "❤️", "😂", "🎉"];
const THREAD_BEGAN = 18;

export function messageElement(message, ctx) {
  const author = message.author ?? {};
  const name = author.global_name || author.username || "somebody";
  const element = h("article", {
    class: `message${message.ephemeral ? " ephemeral" : ""}`, id: `message-${message.id}`, "data-id": message.id,
    tabindex: "-1", "aria-label": `${name}, ${clock(message.timestamp)}`,
  });
  if (message.type === THREAD_BEGAN) {
    element.classList.add("system");
    const thread = ctx.threadOf(message.message_reference?.message_id ?? message.id) ?? ctx.threadOf(message.message_reference?.channel_id);
    element.append(h("p", {}, "🧵 ", h("strong", {}, name), " started a thread: ", threadButton(thread, message.content, ctx)));
    return element;
  }
  const used = message.interaction_metadata;
  element.append(
    used?.name && message.type === 20 ? h("p", { class: "used" }, "↱ ", h("strong", {}, used.user?.username ?? "somebody"), " used ",
      h("span", { class: "mention" }, `/${used.name}`)) : "",
    avatar(name, { bot: author.bot }),
    h("header", {}, h("span", { class: "author" }, name), author.bot ? h("span", { class: "tag" }, "APP") : null,
      h("time", { datetime: message.timestamp, title: new Date(message.timestamp).toLocaleString() }, clock(message.timestamp)),
    ),
    h("div", { class: "content" }, content(message, ctx)),
  );
  if (message.ephemeral) {
    const again = ctx.again(message);
    element.append(h("footer", { class: "subtext" }, "👁 Only you can see this · ",
      again ? [h("button", { type: "button", class: "plain", onclick: again }, "Edit and send again"), " · "] : null,
      h("button", { type: "button", class: "plain", onclick: () => ctx.dismiss(message.id) }, "Dismiss message")));
  } else {
    element.append(reactions(message, ctx), tools(message, ctx, author.id));
  }
  return element;
}

function content(message, ctx) {
  const cards = all(message.components, ctx);
  // A card's own attachments are shown by the card.
  const shown = JSON.stringify(message.components ?? []);
  const loose = (message.attachments ?? []).filter((a) => !shown.includes(a.url));
  return [
    message.content ? h("div", { class: "text" }, markdown(message.content, ctx)) : null,
    (message.embeds ?? []).map((e) => embed(e, ctx)),
    cards,
    loose.map((a) => attachment(a, ctx)),
    message.edited_timestamp && message.content ? h("span", { class: "subtext" }, " (edited)") : null,
    message.thread ? h("p", { class: "thread-link" }, "🧵 ", threadButton(message.thread, message.thread.name, ctx)) : null,
  ];
}

function threadButton(thread, name, ctx) {
  if (!thread) return h("strong", {}, name);
  return h("button", { type: "button", class: "plain strong", onclick: () => ctx.open(thread.id, null) }, `${thread.name} ›`);
}

function reactions(message, ctx) {
  const entries = Object.entries(message.reacted ?? {}).filter(([, names]) => names.length);
  if (!entries.length) return "";
  return h("div", { class: "reactions" }, entries.map(([emoji, names]) => {
    const mine = names.includes(ctx.member);
    return h("button", {
      type: "button", class: mine ? "reaction mine" : "reaction", "aria-pressed": String(mine), title: names.join(", "),
      "data-reaction": emoji, "aria-label": `${emoji}, ${names.length}`, onclick: () => ctx.react(message, emoji, !mine),
    }, emoji, " ", h("span", { class: "count" }, names.length));
  }));
}

function tools(message, ctx, authorId) {
  const mine = authorId === ctx.memberId;
  // On a phone the emojis are behind one button.
  const more = (event) => {
    const shown = event.currentTarget.parentElement.classList.toggle("all");
    event.currentTarget.setAttribute("aria-expanded", String(shown));
  };
  return h("div", { class: "tools", role: "group", "aria-label": "Actions for this message" },
    h("button", { type: "button", class: "icon more-emoji", "aria-label": "Add a reaction", "aria-expanded": "false", onclick: more }, "☺︎+"),
    QUICK.map((emoji) => h("button", {
      type: "button", class: "icon quick", "aria-label": `React with ${emoji}`, "data-quick": emoji,
      onclick: () => ctx.react(message, emoji, !(message.reacted?.[emoji] ?? []).includes(ctx.member)),
    }, emoji)),
    h("button", { type: "button", class: "icon", "aria-label": "Copy the link to this message", title: "Copy link", onclick: () => ctx.copyLink(message) }, "🔗"),
    mine || ctx.moderator ? h("button", { type: "button", class: "icon", "aria-label": "Delete this message", title: "Delete", onclick: () => ctx.remove(message) }, "🗑") : null);
}

// A command that waits for its answer: Discord shows it as "thinking", and later as "did not respond".
export function pendingElement(pending, ctx) {
  const failed = pending.state === "failed";
  return h("article", { class: `message pending${failed ? " failed" : ""}`, "data-pending": pending.id },
    h("p", { class: "used" }, "↱ ", h("strong", {}, ctx.member), " used ", h("span", { class: "mention" }, `/${pending.name}`)),
    avatar("FLock", { bot: true }),
    h("header", {}, h("span", { class: "author" }, "FLock"), h("span", { class: "tag" }, "APP")),
    h("div", { class: "content" }, failed
      ? h("p", {}, "⚠️ ", inline(pending.reason ?? "The application did not respond.", ctx), " ",
        h("button", { type: "button", class: "plain", onclick: () => ctx.dismiss(pending.id) }, "Dismiss"))
      : h("p", { class: "thinking" }, h("span", { class: "dots", "aria-hidden": "true" }, "•••"), " FLock is thinking…")));
}

function clock(timestamp) {
  const date = new Date(timestamp);
  const today = new Date().toDateString() === date.toDateString();
  return today ? date.toLocaleTimeString(undefined, { timeStyle: "short" }) : date.toLocaleString(undefined, { dateStyle: "short", timeStyle: "short" });
}

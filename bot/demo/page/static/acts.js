// The acts of a member: commands, presses, forms and reactions, and what becomes of them.

import { addressOf } from "./address.js";
import { CannotError } from "./api.js";
import { learn } from "./choices.js";
import { h } from "./dom.js";
import { forget, refreshButtons, showPending, upsert } from "./log.js";
import { openModal } from "./modal.js";
import { $, api, attempt, ctx, notice, state } from "./world.js";

const WAIT_S = 20;

export async function run(name, options) {
  const channelId = state.channelId;
  // An error here is the client's own, such as a missing option: the composer shows it beside the typed text.
  const start = await api.act("command", { member: state.member, channel_id: channelId, name, options, wait: 0 });
  const pending = { id: start.interaction_id, name, channelId, options, state: "thinking" };
  state.pending.set(pending.id, pending);
  state.sent.set(pending.id, { name, options });
  showPending(pending);
  follow(pending.id);
}

export async function suggest(name, options, focused, value) {
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
      if (pending && status.kind !== null) ctx.answered(pending.name, pending.options, status.messages);
      if (status.modal) await showModal(status);
      return status;
    }
  }
}

export function settle(status) {
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

export function press(message) {
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

export async function react(message, emoji, on) {
  await attempt(() => api.act("react", { member: state.member, channel_id: message.channel_id, message_id: message.id, emoji, on }));
}

export async function remove(message) {
  await attempt(() => api.act("delete", { member: state.member, channel_id: message.channel_id, message_id: message.id }));
}

export function dismiss(id) {
  state.dismissed.add(id);
  state.pending.delete(id);
  forget(id);
  document.querySelector(`[data-pending="${id}"]`)?.remove();
}

export async function copyLink(message) {
  const link = `${location.origin}${addressOf(state.world.guild.id, message.channel_id, message.id)}`;
  await attempt(async () => {
    await navigator.clipboard.writeText(link);
    notice("Link copied.", 3000);
  });
}

// The visitor's own choice on each card. Discord shows no such thing; a browser can remember what was pressed.
//
// It knows the bot's buttons by their ids alone, "v1:<action>:<subject>": whoever presses "up" on a subject and is then
// offered to "withdraw" on it has that choice. An answer without that offer is a refusal, and changes nothing.

const KEY = "choices";
const ID = /^(v\d+):([a-z]+):(.+)$/;

const parse = (customId) => {
  const parts = ID.exec(customId ?? "");
  return parts ? { action: parts[2], subject: parts[3] } : null;
};

function all() {
  try {
    return JSON.parse(localStorage.getItem(KEY)) ?? {};
  } catch {
    return {};
  }
}

function keep(member, subject, customId) {
  const choices = all();
  choices[member] = { ...choices[member] };
  if (customId) choices[member][subject] = customId;
  else delete choices[member][subject];
  localStorage.setItem(KEY, JSON.stringify(choices));
}

export function isChosen(member, customId) {
  const subject = parse(customId)?.subject;
  return subject !== undefined && all()[member]?.[subject] === customId;
}

function* buttons(components) {
  for (const component of components ?? []) {
    if (component?.type === 2) yield component;
    yield* buttons(component?.components);
    if (component?.accessory) yield* buttons([component.accessory]);
  }
}

// Learns from the answer to a press. Returns the subject whose choice changed, or null.
export function learn(member, customId, messages) {
  const pressed = parse(customId);
  if (!pressed || !messages.length) return null;
  const offered = messages.flatMap((m) => [...buttons(m.components)]).map((b) => parse(b.custom_id));
  const stands = offered.some((b) => b?.action === "withdraw" && b.subject === pressed.subject);
  if (pressed.action === "withdraw") {
    if (!stands) keep(member, pressed.subject, null);
  } else if (stands) {
    keep(member, pressed.subject, customId);
  } else {
    return null;
  }
  return pressed.subject;
}

// Learns from a reaction: one with the emoji of a button that can be pressed does the same as the button.
export function learnReaction(member, message, emoji, on) {
  const twin = [...buttons(message.components)].find((b) => b.emoji?.name === emoji && !b.disabled && parse(b.custom_id));
  if (!twin) return false;
  if (on) keep(member, parse(twin.custom_id).subject, twin.custom_id);
  else if (isChosen(member, twin.custom_id)) keep(member, parse(twin.custom_id).subject, null);
  return true;
}

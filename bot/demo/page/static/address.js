// Each channel, thread and message has an address of Discord's form: /channels/<guild>/<channel>[/<message>].

export function here() {
  const place = /^\/channels\/\d+\/(\d+)(?:\/(\d+))?\/?$/.exec(location.pathname);
  return place ? { channelId: place[1], messageId: place[2] ?? null } : null;
}

export function addressOf(guildId, channelId, messageId = null) {
  return `/channels/${guildId}/${channelId}${messageId ? `/${messageId}` : ""}${location.search}`;
}

// Writes the address of what is shown: "push" for a new step of the history, "replace" for the same step.
export function write(how, address) {
  if (how === "push" && address !== `${location.pathname}${location.search}`) history.pushState({}, "", address);
  else history.replaceState(history.state ?? {}, "", address);
}

// Keeps with the current step how far its messages were scrolled, for the way back.
export function keepScroll(top) {
  history.replaceState({ ...history.state, top }, "");
}

// The field at the bottom: plain messages, and slash commands with their options, suggestions and keys.

import { h, newId, replace } from "./dom.js";

const TYPES = { STRING: 3, INTEGER: 4, BOOLEAN: 5, USER: 6, CHANNEL: 7, ROLE: 8, NUMBER: 10 };
const SUBCOMMANDS = [1, 2];
const SUGGEST_MS = 250;
const LONG = 100; // characters that nobody types twice

const letters = (text) => [...text].length;

// Says how much of an option's space is used. Like Discord it does not cut what is typed, but says how much is too much.
function counter(option, input) {
  if (!option.max_length) return null;
  const shown = h("span", { class: "count" });
  const show = () => {
    shown.textContent = `${letters(input.value)}/${option.max_length}`;
    shown.classList.toggle("over", letters(input.value) > option.max_length);
  };
  input.addEventListener("input", show);
  show();
  return shown;
}

// Returns commands as people type them: "round open" is a command of its own.
export function flatten(commands) {
  const flat = [];
  const walk = (node, path) => {
    const below = (node.options ?? []).filter((option) => SUBCOMMANDS.includes(option.type));
    if (below.length) below.forEach((option) => walk(option, [...path, option.name]));
    else flat.push({ name: path.join(" "), description: node.description, options: node.options ?? [] });
  };
  commands.filter((command) => (command.type ?? 1) === 1).forEach((command) => walk(command, [command.name]));
  return flat.sort((a, b) => a.name.localeCompare(b.name));
}

export class Composer {
  // `ctx`: commands(), channels(), members(), say(text), run(name, options), suggest(name, options, focused, value), where()
  constructor(form, ctx) {
    Object.assign(this, { form, ctx, command: null, chosen: 0, offered: [] });
    this.list = h("ul", { id: "offers", role: "listbox", "aria-label": "Commands", tabindex: "0", hidden: true });
    this.count = h("p", { class: "sr", "aria-live": "polite" });
    // A field of several lines may not be a combobox: it has a popup, and says how much is in it.
    this.input = h("textarea", {
      rows: 1, maxlength: 2000, "aria-label": "Message", "aria-haspopup": "listbox", "aria-controls": "offers", "aria-autocomplete": "list", oninput: () => this.#typed(), onkeydown: (event) => this.#key(event),
    });
    form.addEventListener("submit", (event) => { event.preventDefault(); this.#send(); });
    this.plain();
  }

  focus() {
    (this.form.querySelector("[data-option]") ?? this.input).focus();
  }

  // Returns to an ordinary message.
  plain(text = "") {
    this.command = null;
    this.input.value = text;
    const { name, locked } = this.ctx.where();
    this.input.disabled = locked;
    this.input.placeholder = locked ? "This thread is closed" : `Message ${name} · type / for commands`;
    replace(this.form, this.list, this.count, h("div", { class: "line" }, this.input,
      h("button", { class: "icon send", type: "submit", "aria-label": "Send", disabled: locked }, "➤")));
    this.#offer([]);
  }

  #typed() {
    const text = this.input.value;
    if (!text.startsWith("/")) return this.#offer([]);
    const typed = text.slice(1).toLowerCase();
    const commands = this.ctx.commands();
    // "/prompt a red…": the name is complete, and the rest belongs to its first option
    const whole = commands.filter((c) => typed.startsWith(`${c.name} `)).sort((a, b) => b.name.length - a.name.length)[0];
    if (whole && !commands.some((c) => c !== whole && c.name.startsWith(typed))) return this.#choose(whole, text.slice(whole.name.length + 2));
    this.#offer(commands.filter((c) => c.name.includes(typed.trim())).sort((a, b) => a.name.indexOf(typed) - b.name.indexOf(typed)));
  }

  #offer(commands) {
    this.offered = commands;
    this.chosen = 0;
    this.list.hidden = !commands.length;
    this.count.textContent = commands.length ? `${commands.length} commands` : "";
    replace(this.list, commands.map((command, number) => h("li", {
      id: `offer-${number}`, role: "option", "aria-selected": String(number === 0),
      onmousedown: (event) => { event.preventDefault(); this.#choose(command); },
    }, h("span", { class: "name" }, `/${command.name}`), h("span", { class: "hint" }, ` ${command.options.map((o) => o.name).join(" ")}`),
    h("span", { class: "what" }, command.description))));
    this.#mark(0);
  }

  #mark(number) {
    this.chosen = number;
    [...this.list.children].forEach((item, i) => item.setAttribute("aria-selected", String(i === number)));
    if (this.offered.length) this.input.setAttribute("aria-activedescendant", `offer-${number}`);
    else this.input.removeAttribute("aria-activedescendant");
    this.list.children[number]?.scrollIntoView({ block: "nearest" });
  }

  #key(event) {
    if (event.isComposing) return;
    const count = this.offered.length;
    if (count && (event.key === "ArrowDown" || event.key === "ArrowUp")) {
      event.preventDefault();
      this.#mark((this.chosen + (event.key === "ArrowDown" ? 1 : count - 1)) % count);
    } else if (count && (event.key === "Enter" || event.key === "Tab")) {
      event.preventDefault();
      this.#choose(this.offered[this.chosen]);
    } else if (count && event.key === "Escape") {
      this.#offer([]);
    } else if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      this.#send();
    }
  }

  // Shows the command's options as fields in the line; the rest of the typed text goes into the first one.
  #choose(command, rest = "") {
    this.command = command;
    this.#offer([]);
    this.fields = [];
    const optional = command.options.filter((option) => !option.required);
    this.trouble = h("p", { class: "trouble", role: "alert" });
    this.line = h("div", { class: "line options" }, h("span", { class: "command" }, `/${command.name}`));
    command.options.filter((option) => option.required).forEach((option) => this.#addField(option));
    const more = h("span", { class: "more" }, optional.map((option) => h("button", {
      type: "button", class: "button secondary small", title: option.description,
      onclick: (event) => { event.currentTarget.remove(); this.#addField(option, more).focus(); },
    }, `+ ${option.name}`)));
    this.line.append(more, h("button", { class: "icon", type: "button", "aria-label": "Cancel the command", onclick: () => { this.plain(); this.focus(); } }, "✕"),
      h("button", { class: "icon send", type: "submit", "aria-label": `Send /${command.name}` }, "➤"));
    replace(this.form, this.list, this.trouble, this.line, h("p", { class: "hint" }, command.options[0]?.description ?? command.description));
    const first = this.fields[0];
    if (first && rest) {
      first.input.value = rest;
      first.input.dispatchEvent(new Event("input"));
    }
    (first?.input ?? this.line.querySelector(".send")).focus();
  }

  #addField(option, before = null) {
    const id = newId("option");
    const input = this.#input(option, id);
    input.setAttribute("data-option", option.name);
    input.setAttribute("aria-label", option.name);
    input.addEventListener("keydown", (event) => {
      if (event.isComposing) return;
      if (event.key === "Enter" && !event.defaultPrevented) { event.preventDefault(); this.#send(); }
      else if (event.key === "Escape") { event.preventDefault(); this.plain(); this.input.focus(); }
      else if (event.key === "Backspace" && input.value === "" && this.fields[0]?.input === input && input.tagName !== "SELECT") {
        event.preventDefault();
        this.plain(`/${this.command.name}`);
        this.input.focus();
        this.#typed();
      }
    });
    const label = h("label", { class: "option", for: id }, h("span", { class: "name" }, option.name), input, counter(option, input));
    if (before) this.line.insertBefore(label, before);
    else this.line.append(label);
    this.fields.push({ option, input });
    return input;
  }

  #input(option, id) {
    const choose = (entries) => h("select", { id, title: option.description }, option.required ? null : h("option", { value: "" }, "–"),
      entries.map(([value, label]) => h("option", { value }, label)));
    if (option.choices?.length) return choose(option.choices.map((c) => [c.value, c.name]));
    if (option.type === TYPES.BOOLEAN) return choose([["true", "True"], ["false", "False"]]);
    if (option.type === TYPES.CHANNEL) {
      return choose(this.ctx.channels().filter((c) => !option.channel_types?.length || option.channel_types.includes(c.type)).map((c) => [c.id, `#${c.name}`]));
    }
    if (option.type === TYPES.USER) return choose(this.ctx.members().map((m) => [m.id, `@${m.name}`]));
    const number = option.type === TYPES.INTEGER || option.type === TYPES.NUMBER;
    const single = number || option.autocomplete;
    const input = h(single ? "input" : "textarea", {
      id, rows: single ? null : 1, type: number ? "number" : single ? "text" : null, step: option.type === TYPES.NUMBER ? "any" : null,
      min: option.min_value, max: option.max_value, placeholder: option.description,
    });
    if (option.autocomplete) this.#suggest(option, input);
    return input;
  }

  // Offers the bot's suggestions while a member types.
  #suggest(option, input) {
    const list = this.list;
    let timer;
    let latest = 0;
    let choices = [];
    let marked = 0;
    input.setAttribute("role", "combobox");
    input.setAttribute("aria-controls", "offers");
    input.setAttribute("aria-expanded", "false");
    input.setAttribute("aria-autocomplete", "list");
    const hide = () => {
      choices = [];
      list.hidden = true;
      input.setAttribute("aria-expanded", "false");
      input.removeAttribute("aria-activedescendant");
    };
    const take = (choice) => { input.value = choice.name; input.dataset.value = choice.value; hide(); };
    const mark = (number) => {
      marked = number;
      [...list.children].forEach((item, i) => item.setAttribute("aria-selected", String(i === number)));
      if (choices.length) input.setAttribute("aria-activedescendant", `offer-${number}`);
      list.children[number]?.scrollIntoView({ block: "nearest" });
    };
    const ask = async () => {
      const number = ++latest;
      const offered = await this.ctx.suggest(this.command.name, this.#values(), option.name, input.value).catch(() => []);
      if (number !== latest || !input.isConnected) return;
      choices = offered;
      replace(list, choices.map((choice, i) => h("li", { id: `offer-${i}`, role: "option", onmousedown: (event) => { event.preventDefault(); take(choice); } }, choice.name)));
      list.hidden = !choices.length;
      input.setAttribute("aria-expanded", String(choices.length > 0));
      mark(0);
    };
    // Handled before the field's own keys: Enter takes a suggestion first, and sends only when there is none.
    input.addEventListener("keydown", (event) => {
      if (!choices.length || event.isComposing) return;
      if (event.key === "ArrowDown" || event.key === "ArrowUp") {
        event.preventDefault();
        mark((marked + (event.key === "ArrowDown" ? 1 : choices.length - 1)) % choices.length);
      } else if (event.key === "Enter" || event.key === "Tab") {
        event.preventDefault();
        take(choices[marked]);
      }
    });
    input.addEventListener("input", () => { delete input.dataset.value; clearTimeout(timer); timer = setTimeout(ask, SUGGEST_MS); });
    input.addEventListener("focus", ask);
    input.addEventListener("blur", hide);
  }

  #values() {
    const values = {};
    for (const { option, input } of this.fields) {
      const text = input.dataset.value ?? input.value;
      if (text === "") continue;
      if (option.type === TYPES.BOOLEAN) values[option.name] = text === "true";
      else if (option.type === TYPES.INTEGER || option.type === TYPES.NUMBER) values[option.name] = Number(text);
      else values[option.name] = text;
    }
    return values;
  }

  async #send() {
    if (!this.command) {
      const text = this.input.value.trim();
      if (!text) return;
      if (text.startsWith("/")) {
        const command = this.ctx.commands().find((c) => `/${c.name}` === text);
        if (command) return this.#choose(command);
      }
      try {
        await this.ctx.say(text);
        this.plain();
        this.input.focus();
      } catch {
        // the typed text stays, and the reason is shown above
      }
      return;
    }
    const missing = this.fields.find(({ option, input }) => option.required && !input.value);
    if (missing) {
      this.trouble.textContent = `/${this.command.name} needs “${missing.option.name}”.`;
      missing.input.focus();
      return;
    }
    const long = this.fields.find(({ option, input }) => option.max_length && letters(input.value) > option.max_length);
    if (long) {
      this.trouble.textContent = `“${long.option.name}” has ${letters(long.input.value)} characters; ${long.option.max_length} are allowed.`;
      long.input.focus();
      return;
    }
    const { name } = this.command;
    const values = this.#values();
    const fields = [...this.fields];
    const before = this.command;
    try {
      const running = this.ctx.run(name, values);
      this.plain();
      this.input.focus();
      await running;
    } catch (error) {
      // Nothing that was typed is lost: the command is shown again, with the reason.
      if (!this.command && !this.input.value) {
        this.#fill(before, Object.fromEntries(fields.map(({ option, input }) => [option.name, input.value])));
        this.trouble.textContent = error.message;
      }
    }
  }

  // Shows a command again as it was sent.
  again(name, values) {
    const command = this.ctx.commands().find((c) => c.name === name);
    if (command) this.#fill(command, values);
  }

  // An answer came. A long text that the bot has answered for its author's eyes only, as it does to refuse, is not lost.
  answered(name, values, messages) {
    const refused = messages.length > 0 && messages.every((m) => m.ephemeral);
    const idle = !this.command && !this.input.value;
    if (refused && idle && Object.values(values).some((v) => typeof v === "string" && v.length > LONG)) this.again(name, values);
  }

  #fill(command, values) {
    this.#choose(command);
    for (const [name, value] of Object.entries(values)) {
      if (value === "") continue;
      const option = command.options.find((o) => o.name === name);
      const field = this.fields.find((f) => f.option.name === name);
      const input = field?.input ?? (option && this.#addField(option, this.line.querySelector(".more")));
      if (!input) continue;
      input.value = String(value);
      input.dispatchEvent(new Event("input"));
    }
  }
}

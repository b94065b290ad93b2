// Components V2 as DOM: https://discord.com/developers/docs/components/reference

import { h, safeUrl, newId } from "./dom.js";
import { markdown } from "./markdown.js";
import { watch } from "./playback.js";

const BUTTON_STYLES = { 1: "primary", 2: "secondary", 3: "success", 4: "danger", 5: "link", 6: "premium" };

const KINDS = {
  1: (c, ctx) => h("div", { class: "row" }, all(c.components, ctx)),
  2: button,
  3: menu,
  9: (c, ctx) => h("div", { class: "section" }, h("div", {}, all(c.components, ctx)), render(c.accessory, ctx)),
  10: (c, ctx) => h("div", { class: "text" }, markdown(c.content ?? "", ctx)),
  11: (c, ctx) => media({ media: c.media, description: c.description }, "thumbnail", ctx),
  12: (c, ctx) => h("div", { class: `gallery of-${Math.min(c.items.length, 3)}` }, c.items.map((item) => media(item, "large", ctx))),
  13: (c) => file(c.file?.url, c.name),
  14: (c) => h("hr", { class: c.divider === false ? "space" : "" }),
  17: container,
};

export function render(component, ctx) {
  const build = KINDS[component?.type];
  return build ? build(component, ctx) : h("p", { class: "subtext" }, "(something that this page cannot show)");
}

export function all(components, ctx) {
  return (components ?? []).map((component) => render(component, ctx));
}

function container(c, ctx) {
  const element = h("div", { class: "container" }, all(c.components, ctx));
  if (Number.isInteger(c.accent_color)) {
    element.style.setProperty("--accent", `#${c.accent_color.toString(16).padStart(6, "0")}`);
  }
  return element;
}

function button(c, ctx) {
  const label = [c.emoji?.name ? h("span", { class: "emoji", "aria-hidden": c.label ? "true" : null }, c.emoji.name) : null, c.label];
  if (c.style === 5) {
    const href = safeUrl(c.url);
    return h("a", { class: "button link", href, target: "_blank", rel: "noopener noreferrer" }, label, " ↗");
  }
  const chosen = ctx.isChosen(c.custom_id);
  return h("button", {
    type: "button", class: `button ${BUTTON_STYLES[c.style] ?? "secondary"}${chosen ? " chosen" : ""}`, "aria-pressed": chosen ? "true" : null, disabled: c.disabled || c.style === 6,
    "data-custom-id": c.custom_id, onclick: (event) => ctx.press(c.custom_id, [], event.currentTarget),
  }, label);
}

function menu(c, ctx) {
  const many = (c.max_values ?? 1) > 1;
  const select = h("select", {
    class: "menu", disabled: c.disabled, multiple: many, "aria-label": c.placeholder ?? "Choose", "data-custom-id": c.custom_id,
    onchange: (event) => !many && ctx.press(c.custom_id, [event.currentTarget.value], event.currentTarget),
  }, many ? null : h("option", { value: "", selected: !c.options.some((o) => o.default), disabled: true }, c.placeholder ?? "Make a selection"),
  c.options.map((o) => h("option", { value: o.value, selected: Boolean(o.default) }, o.emoji?.name ? `${o.emoji.name} ` : "", o.label, o.description ? ` – ${o.description}` : "")));
  if (!many) return select;
  const send = () => ctx.press(c.custom_id, [...select.selectedOptions].map((o) => o.value), select);
  return h("span", { class: "row" }, select, h("button", { type: "button", class: "button secondary", onclick: send }, "Choose"));
}

function media(item, size, ctx) {
  const url = safeUrl(item.media?.url);
  const described = item.description ?? "";
  if (!url) return h("p", { class: "subtext" }, "(media that cannot be shown)");
  const isVideo = (item.media.content_type ?? "").startsWith("video/") || /\.(mp4|webm|mov)(\?|$)/i.test(url);
  const { width, height } = item.media.width ? item.media : ctx.sizeOf(item.media.url) ?? {};
  const shown = isVideo
    ? watch(h("video", {
      src: url, poster: posterOf(url), controls: true, preload: "metadata", playsinline: true, loop: true, muted: true,
      width, height, "aria-label": described || "Video", class: size,
    }))
    : h("img", { src: url, alt: described, loading: "lazy", width, height, class: size });
  // The box has its size before the media come, so that nothing moves then.
  if (width && height) shown.style.setProperty("--ratio", String(width / height));
  return item.spoiler ? h("details", { class: "hidden-media" }, h("summary", {}, "Spoiler"), shown) : shown;
}

// Discord's media proxy makes a picture of a video's beginning, and so does the embedded one.
function posterOf(url) {
  const poster = new URL(url);
  poster.searchParams.set("format", "jpeg");
  return poster.href;
}

export function file(address, name) {
  const url = safeUrl(address);
  return url ? h("a", { class: "file", href: url, target: "_blank", rel: "noopener noreferrer" }, "📄 ", name ?? url.split("/").at(-1)) : null;
}

export function attachment(a, ctx) {
  const type = a.content_type ?? "";
  if (type.startsWith("video/") || type.startsWith("image/")) {
    return media({ media: { ...a, content_type: type }, description: a.description ?? a.filename }, "large", ctx);
  }
  return file(a.url, a.filename);
}

export function embed(e, ctx) {
  return h("div", { class: "container embed" },
    e.title ? h("p", { class: "heading h3" }, e.title) : null,
    e.description ? h("div", { class: "text" }, markdown(e.description, ctx)) : null,
    (e.fields ?? []).map((f) => h("div", { class: "text" }, h("strong", {}, f.name), markdown(f.value, ctx))),
    e.image ? media({ media: e.image }, "large", ctx) : null,
    e.footer ? h("p", { class: "subtext" }, e.footer.text) : null);
}

// The fields of a modal: labels around inputs, or rows of the old kind. Returns [element, read].
export function field(component) {
  const leaf = component.component ?? component.components?.[0] ?? component;
  if (leaf.type !== 4) {
    const text = component.content ?? component.label;
    return [text ? h("p", { class: "subtext" }, text) : h("span"), null];
  }
  const id = newId("field");
  const required = leaf.required !== false;
  const input = h(leaf.style === 2 ? "textarea" : "input", {
    id, name: leaf.custom_id, placeholder: leaf.placeholder, maxlength: leaf.max_length, minlength: leaf.min_length || null,
    required, rows: leaf.style === 2 ? 5 : null,
  });
  input.value = leaf.value ?? "";
  const element = h("div", { class: "field" },
    h("label", { for: id }, component.label ?? leaf.label, required ? h("span", { class: "needed", title: "required" }, " *") : null),
    component.description ? h("p", { class: "subtext" }, component.description) : null, input);
  return [element, () => [leaf.custom_id, input.value]];
}

// A modal of the bot, as a native dialog: focus stays inside, Escape closes it, and an error keeps what was typed.

import { h } from "./dom.js";
import { field } from "./components.js";

// Resolves with the values by custom id, or null when the member closes it. An error of `send` is shown in the dialog.
export function openModal(modal, send) {
  return new Promise((resolve) => {
    const fields = (modal.components ?? []).map(field);
    const problem = h("p", { class: "trouble", role: "alert" });
    const ok = h("button", { class: "button primary", type: "submit" }, "Submit");
    const finish = (value) => {
      dialog.close();
      dialog.remove();
      resolve(value);
    };
    const form = h("form", {
      onsubmit: async (event) => {
        event.preventDefault();
        ok.disabled = true;
        problem.textContent = "";
        const values = Object.fromEntries(fields.map(([, read]) => read?.()).filter(Boolean));
        try {
          await send(values);
          finish(values);
        } catch (error) {
          problem.textContent = error.message;
          ok.disabled = false;
        }
      },
    }, h("h2", { id: "modal-title" }, modal.title), fields.map(([element]) => element), problem,
    h("div", { class: "row end" }, h("button", { type: "button", class: "button secondary", onclick: () => finish(null) }, "Cancel"), ok));
    const dialog = h("dialog", { "aria-labelledby": "modal-title", oncancel: (event) => { event.preventDefault(); finish(null); } }, form);
    document.getElementById("modals").append(dialog);
    dialog.showModal();
    form.querySelector("input, textarea")?.focus();
  });
}

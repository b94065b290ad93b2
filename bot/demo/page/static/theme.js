// Light or dark: as the system says, until somebody presses the switch. Runs before the first paint.

(() => {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: light)");
  const kept = localStorage.getItem("theme");
  if (kept === "light" || kept === "dark") root.dataset.theme = kept;
  const current = () => root.dataset.theme ?? (system.matches ? "light" : "dark");
  const show = () => {
    const button = document.getElementById("switch-theme");
    if (!button) return;
    const other = current() === "dark" ? "light" : "dark";
    button.textContent = other === "light" ? "☀︎" : "☾";
    button.setAttribute("aria-label", `Use the ${other} theme`);
    button.title = `Use the ${other} theme`;
  };
  addEventListener("DOMContentLoaded", () => {
    show();
    document.getElementById("switch-theme")?.addEventListener("click", () => {
      root.dataset.theme = current() === "dark" ? "light" : "dark";
      localStorage.setItem("theme", root.dataset.theme);
      show();
    });
  });
  system.addEventListener("change", show);
})();

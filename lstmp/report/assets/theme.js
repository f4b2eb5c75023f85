/* Light and dark: the system's choice, unless the button in the head of the page was used. Runs before the page is drawn. */
(function () {
  "use strict";
  const root = document.documentElement;
  const system = window.matchMedia("(prefers-color-scheme: dark)");

  // a browser may forbid a page from the disk to store anything; then the choice lasts as long as the page
  function remembered() {
    try {
      return localStorage.getItem("lstmp-report-theme");
    } catch (error) {
      return null;
    }
  }

  function remember(theme) {
    try {
      localStorage.setItem("lstmp-report-theme", theme);
    } catch (error) {
      /* see above */
    }
  }

  function isDark() {
    return root.dataset.theme ? root.dataset.theme === "dark" : system.matches;
  }

  function told() {
    document.getElementById("theme").textContent = isDark() ? "Light colours" : "Dark colours";
    document.dispatchEvent(new Event("theme"));
  }

  if (remembered()) root.dataset.theme = remembered();
  document.addEventListener("DOMContentLoaded", () => {
    document.getElementById("theme").addEventListener("click", () => {
      root.dataset.theme = isDark() ? "light" : "dark";
      remember(root.dataset.theme);
      told();
    });
    system.addEventListener("change", told);
    told();
  });
})();

// Before anything is drawn: the colours that this browser was told to use, and the fact that scripts run.
(() => {
  const root = document.documentElement;
  root.classList.add("scripted");
  try {
    const theme = localStorage.getItem("landfall-theme");
    if (theme === "light" || theme === "dark") root.dataset.theme = theme;
  } catch {
    // A browser that keeps nothing shows what the system has.
  }
})();

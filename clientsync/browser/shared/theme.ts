/** Light or dark: as the system has it, until somebody chooses. */

/** Choose the other one. */
export function switchTheme(): void {
  const root = document.documentElement;
  const dark = root.dataset["theme"] ? root.dataset["theme"] === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset["theme"] = dark ? "light" : "dark";
  try {
    localStorage.setItem("theme", root.dataset["theme"]);
  } catch {
    // private mode: the choice holds for this page
  }
}

/** What was chosen before. */
export function restoreTheme(): void {
  try {
    const chosen = localStorage.getItem("theme");
    if (chosen !== null) document.documentElement.dataset["theme"] = chosen;
  } catch {
    // private mode: as the system has it
  }
}

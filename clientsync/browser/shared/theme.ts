/** Light or dark: as the system says, until the user chooses. */

/** Switch to the other theme, and remember it. */
export function switchTheme(): void {
  const root = document.documentElement;
  const dark = root.dataset["theme"] ? root.dataset["theme"] === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset["theme"] = dark ? "light" : "dark";
  try {
    localStorage.setItem("theme", root.dataset["theme"]);
  } catch {
    // Private mode: the choice holds for this page alone.
  }
}

/** Apply the theme that was chosen before. */
export function restoreTheme(): void {
  try {
    const chosen = localStorage.getItem("theme");
    if (chosen !== null) document.documentElement.dataset["theme"] = chosen;
  } catch {
    // Private mode: the system decides.
  }
}

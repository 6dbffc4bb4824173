/** Numbers and times as the console shows them. */

/** Format a count: 1,234, and from ten thousand on 12.3k or 4.1M. */
export function count(value: number): string {
  if (value < 10_000) return Math.round(value).toLocaleString("en");
  return value < 1e6 ? `${(value / 1e3).toFixed(1)}k` : `${(value / 1e6).toFixed(1)}M`;
}

export function rate(perSecond: number): string {
  if (perSecond === 0) return "0";
  return perSecond < 10 ? perSecond.toFixed(perSecond < 1 ? 2 : 1) : count(perSecond);
}

export function milliseconds(value: number | null): string {
  if (value === null) return "–";
  if (value < 10) return `${value.toFixed(1)} ms`;
  return value < 1000 ? `${Math.round(value)} ms` : `${(value / 1000).toFixed(1)} s`;
}

/** Format a percentage; one that is not zero is never shown as zero. */
export function percent(value: number): string {
  if (value === 0) return "0%";
  if (value < 0.05) return "<0.1%";
  return `${value < 10 ? value.toFixed(1) : Math.round(value)}%`;
}

/** Format seconds as 4 s, 3 min, 2 h or 5 d. */
export function span(seconds: number): string {
  if (seconds < 90) return `${Math.max(0, Math.round(seconds))} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return seconds < 129_600 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86_400)} d`;
}

/** Format Unix seconds as a time of day, with the date if it is not today. */
export function time(unix: number): string {
  const date = new Date(unix * 1000);
  const clock = date.toLocaleTimeString("en-GB");
  return date.toDateString() === new Date().toDateString() ? clock : `${date.toLocaleDateString("en-GB", { day: "numeric", month: "short" })} ${clock}`;
}

export const megabytes = (value: number): string => (value < 1000 ? `${Math.round(value)} MB` : `${(value / 1000).toFixed(1)} GB`);

/** Format a count with its noun in the right number: 1 worker, 2 workers. */
export const plural = (value: number, one: string, more = `${one}s`): string => `${count(value)} ${value === 1 ? one : more}`;

const PHASES: Readonly<Record<string, string>> = {
  verify: "verifying", "warm-up": "warming up", shift: "shifting traffic", judge: "judging", drain: "draining the old version",
  standby: "on standby", done: "done", back: "rolling back", "take-over": "taking over jobs",
  "rolled-back": "rolled back", refused: "refused",
};
/** Name a phase of a rollout. */
export const phase = (name: string): string => PHASES[name] ?? name;

/** Names of the kinds of handlers. */
export const KINDS: Readonly<Record<string, string>> = { rpc: "calls", job: "jobs", on: "events" };

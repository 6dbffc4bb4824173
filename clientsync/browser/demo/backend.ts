/** Where the demo's server is, and the tokens that it gives. */

/** Return the address of an endpoint. It is relative to this script, so a proxy may serve it all below a path. */
export const endpoint = (name: string): string => new URL(`../${name}`, import.meta.url).href;

/** Fetch the application's own token. A real application has one already; the development issuer gives it to anybody. */
export async function fetchToken(tenant: string, user: string): Promise<string> {
  const response = await fetch(endpoint("dev/token"), {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ tenant, user }),
  });
  if (!response.ok) throw new Error("This page needs the development issuer: start client sync with --dev-issuer.");
  return ((await response.json()) as { token: string }).token;
}

/** Whether a token may still let its user in. The service judges it; this is for words that a person can use. */

/** What a person is told of a token that is of no use. */
export class NotLetIn extends Error {
  override name = "Not let in";
}

/** The token as it was given. Throws `NotLetIn` where it is none, or has ended. */
export function current(token: string): string {
  const ends = endOf(token);
  if (ends === undefined) throw new NotLetIn("this is no token. One has three parts with points between them.");
  if (ends < Date.now()) throw new NotLetIn("this token has ended. Load the page again, and enter with a fresh one.");
  return token;
}

/** When it ends, in milliseconds since 1970; undefined where it does not say so. */
function endOf(token: string): number | undefined {
  try {
    const [, claims = "", signature] = token.split(".");
    const { exp } = JSON.parse(atob(claims.replaceAll("-", "+").replaceAll("_", "/"))) as { exp: unknown };
    return signature && /^[\w.-]+$/.test(token) && typeof exp === "number" ? exp * 1000 : undefined;
  } catch {
    return undefined;
  }
}

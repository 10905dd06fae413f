/** Figures as a person reads them. */

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });

/** What stands where nothing was measured. */
const NONE = "none";

export function figure(value: number | null | undefined, unit = ""): string {
  if (value === null || value === undefined) return NONE;
  return (Math.abs(value) < 100 ? short : whole).format(value) + unit;
}

export function time(at: number): string {
  return clock.format(at);
}

/** `post_rate` as words. */
export function words(name: string): string {
  return name.replaceAll("_", " ");
}

// How long ago something was.

import { LANGUAGE, text } from './text.js';

const UNITS = [
  ['day', 86_400_000],
  ['hour', 3_600_000],
  ['minute', 60_000],
] as const;
const format = new Intl.RelativeTimeFormat(LANGUAGE, { numeric: 'auto' });

/** "3 minutes ago"; a date after a week. */
export function ago(thenMs: number, nowMs = Date.now()): string {
  const passed = nowMs - thenMs;
  if (passed > 7 * 86_400_000) return new Date(thenMs).toLocaleDateString(LANGUAGE, { dateStyle: 'medium' });
  for (const [unit, length] of UNITS) {
    if (passed >= length) return format.format(-Math.floor(passed / length), unit);
  }
  return text('justNow');
}

// The page's words. All of them are in strings.json, but for what the model says and reads, which is English.

import strings from './strings.json';

type Key = keyof typeof strings;

export const LANGUAGE = strings.language;
const plural = new Intl.PluralRules(LANGUAGE);

/** The words of that name, with {values} put in. Where there is one form for each number, `count` says which. */
export function text(key: Key, values: Readonly<Record<string, string | number>> = {}): string {
  const entry: string | Readonly<Record<string, string>> = strings[key];
  const form = typeof entry === 'string' ? entry : (entry[plural.select(Number(values.count))] ?? entry.other ?? '');
  return form.replace(/\{(\w+)\}/g, (_, name: string) => String(values[name]));
}

/** A number with that many digits after the point, as people write it. */
export function number(value: number, digits = 0, options: Intl.NumberFormatOptions = {}): string {
  return value.toLocaleString(LANGUAGE, { minimumFractionDigits: digits, maximumFractionDigits: digits, ...options });
}

export function megabytes(bytes: number): string {
  return `${number(bytes / 1e6, 1)} MB`;
}

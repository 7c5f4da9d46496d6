// Times and sizes as people read them.

const pad = (n: number) => String(n).padStart(2, '0');

/** `4:07`, or `1:04:07` from an hour on. */
export function clock(ms: number): string {
  const s = Math.max(0, Math.floor(ms / 1000));
  const [h, m] = [Math.floor(s / 3600), Math.floor((s % 3600) / 60)];
  return h ? `${h}:${pad(m)}:${pad(s % 60)}` : `${m}:${pad(s % 60)}`;
}

/** `34 s`, `2 min 17 s`, `1 h 04 min`: a length in the fewest words that tell it. */
export function length(ms: number): string {
  if (ms < 1000) return `${Math.max(0, Math.round(ms))} ms`;
  const s = Math.round(ms / 1000);
  if (s < 60) return `${s} s`;
  if (s < 3600) return s % 60 ? `${Math.floor(s / 60)} min ${pad(s % 60)} s` : `${s / 60} min`;
  const m = Math.round(s / 60);
  return m % 60 ? `${Math.floor(m / 60)} h ${pad(m % 60)} min` : `${m / 60} h`;
}

/** The same for a screen reader. */
export function spoken(ms: number): string {
  const s = Math.max(0, Math.floor(ms / 1000));
  const parts: string[] = [];
  const add = (n: number, unit: string) => { if (n) parts.push(`${n} ${unit}${n === 1 ? '' : 's'}`); };
  add(Math.floor(s / 3600), 'hour');
  add(Math.floor((s % 3600) / 60), 'minute');
  add(s % 60, 'second');
  return parts.join(' ') || '0 seconds';
}

export function bytes(n: number): string {
  if (n < 1024) return `${n} B`;
  const units = ['KB', 'MB', 'GB', 'TB'];
  let value = n / 1024;
  let i = 0;
  for (; value >= 1000 && i < units.length - 1; i++) value /= 1024;
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} ${units[i]}`;
}

const dayFormat = new Intl.DateTimeFormat('en-GB', { day: 'numeric', month: 'short' });
const dayYearFormat = new Intl.DateTimeFormat('en-GB', { day: 'numeric', month: 'short', year: 'numeric' });
const timeFormat = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit' });
const secondFormat = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' });
const count = new Intl.NumberFormat('en-GB');

export const number = (n: number) => count.format(n);
export const timeOfDay = (ms: number) => timeFormat.format(ms);
export const timeWithSeconds = (ms: number) => secondFormat.format(ms);

/** `22 Nov`, with the year where it is not this one. */
export function day(ms: number, now = Date.now()): string {
  return (new Date(ms).getFullYear() === new Date(now).getFullYear() ? dayFormat : dayYearFormat).format(ms);
}

export const moment = (ms: number) => `${dayYearFormat.format(ms)}, ${secondFormat.format(ms)}`;

/** `in 12 days`, `today`, `3 days ago`: from the day of `now` to a day `YYYY-MM-DD`. */
export function untilDay(date: string, now = Date.now()): string {
  const days = Math.ceil((Date.parse(`${date}T00:00:00Z`) - now) / 86_400_000);
  if (Number.isNaN(days)) return '';
  if (days <= 0) return days === 0 ? 'today' : `${-days} ${days === -1 ? 'day' : 'days'} ago`;
  return days === 1 ? 'tomorrow' : `in ${days} days`;
}

export function ago(ms: number, now = Date.now()): string {
  const past = now - ms;
  if (past < 60_000) return 'just now';
  if (past < 3_600_000) return `${Math.floor(past / 60_000)} min ago`;
  if (past < 2 * 86_400_000) return `${Math.floor(past / 3_600_000)} h ago`;
  return `${Math.floor(past / 86_400_000)} days ago`;
}

/** What an `<input type="datetime-local">` wants, and back; local time. */
export function toInput(ms: number): string {
  const d = new Date(ms);
  return `${d.getFullYear()}-${pad(d.getMonth() + 1)}-${pad(d.getDate())}T${pad(d.getHours())}:${pad(d.getMinutes())}`;
}
export function fromInput(text: string): number | null {
  const ms = new Date(text).getTime();
  return text && Number.isFinite(ms) ? ms : null;
}

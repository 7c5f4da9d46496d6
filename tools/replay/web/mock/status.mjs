// A status with something to see: one open incident, some closed ones.
const HOUR = 3_600_000;
const DAY = 24 * HOUR;

export function status(now) {
  return {
    state: 'degraded',
    days: 60,
    checks: [
      { name: 'availability', state: 'ok', detail: 'the repository answers; 8 ms at the last probe', since_ms: now - 11 * DAY },
      { name: 'integrity', state: 'ok', detail: 'oldest unverified byte: 3 days', since_ms: now - 26 * DAY },
      { name: 'backup', state: 'degraded', detail: 'the newest snapshot is 26 hours old; 24 are allowed', since_ms: now - 2 * HOUR },
      { name: 'retention', state: 'ok', detail: 'nothing overdue', since_ms: now - 60 * DAY },
    ],
    incidents: [
      { id: 'i-7', kind: 'backup', opened_ms: now - 2 * HOUR, closed_ms: null, summary: 'The newest snapshot is older than 24 hours.' },
      { id: 'i-6', kind: 'availability', opened_ms: now - 11 * DAY, closed_ms: now - 11 * DAY + 12 * 60_000, summary: 'The object store answered none of 6 probes.' },
      { id: 'i-5', kind: 'integrity', opened_ms: now - 26 * DAY, closed_ms: now - 26 * DAY + 5 * HOUR, summary: 'A block failed its tag; the segment was fetched again from the repository.' },
      { id: 'i-4', kind: 'retention', opened_ms: now - 44 * DAY, closed_ms: now - 43 * DAY, summary: 'Deletion waited because the clock had jumped ahead.' },
    ],
  };
}

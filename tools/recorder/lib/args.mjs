// Options of the commands: `--name value`, checked, with a readable message when wrong.

export class Usage extends Error {}

// `spec` maps a name to {kind: 'text'|'whole'|'number'|'flag', otherwise, min, max}.
export function parse(argv, spec) {
  const out = {};
  for (const [name, s] of Object.entries(spec)) out[name] = s.otherwise;
  const rest = [];
  for (let i = 0; i < argv.length; i++) {
    const arg = argv[i];
    if (!arg.startsWith('-')) { rest.push(arg); continue; }
    if (arg === '--help' || arg === '-h') return { help: true, rest };
    const [name, inline] = arg.replace(/^--/, '').split(/=(.*)/s);
    const s = spec[name];
    if (!s) throw new Usage(`unknown option ${arg}; see --help`);
    if (s.kind === 'flag') { out[name] = true; continue; }
    const value = inline ?? argv[++i];
    if (value === undefined) throw new Usage(`--${name} needs a value`);
    if (s.kind === 'text') { out[name] = value; continue; }
    const n = Number(value);
    if (!Number.isFinite(n) || (s.kind === 'whole' && !Number.isInteger(n)) || n < (s.min ?? -Infinity) || n > (s.max ?? Infinity)) {
      throw new Usage(`--${name} must be a ${s.kind === 'whole' ? 'whole number' : 'number'}${s.min !== undefined ? ` from ${s.min}` : ''}${s.max !== undefined ? ` to ${s.max}` : ''}, not ${value}`);
    }
    out[name] = n;
  }
  return { ...out, rest };
}

// Runs a command: usage errors end with 2, other failures with 1, both in one readable line.
export async function run(main) {
  try {
    process.exitCode = (await main(process.argv.slice(2))) ?? 0;
  } catch (error) {
    process.stderr.write(`error: ${error.message}\n`);
    if (process.env.DEBUG) process.stderr.write(`${error.stack}\n`);
    process.exitCode = error instanceof Usage ? 2 : 1;
  }
}

// A style sheet of single-purpose classes, as sites ship them: few are used, all are in every snapshot.

const SIZES = [0, 1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24];
const SIDES = { '': [''], t: ['-top'], r: ['-right'], b: ['-bottom'], l: ['-left'], x: ['-left', '-right'], y: ['-top', '-bottom'] };
const HUES = { slate: 215, rust: 14, moss: 96, teal: 172, sky: 203, plum: 292, rose: 346, sand: 42 };
const BREAKS = { sm: 560, md: 820, lg: 1120 };

function rules(prefix) {
  const out = [];
  const rule = (name, text) => out.push(`.${prefix}${name} { ${text} }`);
  for (const [short, prop] of [['m', 'margin'], ['p', 'padding']]) {
    for (const [side, props] of Object.entries(SIDES)) {
      for (const n of SIZES) rule(`${short}${side}-${n}`, props.map((p) => `${prop}${p}: ${n / 4}rem;`).join(' '));
    }
  }
  for (const n of SIZES) {
    rule(`gap-${n}`, `gap: ${n / 4}rem;`);
    rule(`w-${n}`, `width: ${n / 4}rem;`);
    rule(`h-${n}`, `height: ${n / 4}rem;`);
  }
  for (let n = 1; n <= 12; n++) {
    rule(`cols-${n}`, `grid-template-columns: repeat(${n}, minmax(0, 1fr));`);
    rule(`span-${n}`, `grid-column: span ${n} / span ${n};`);
  }
  for (const d of ['block', 'inline', 'flex', 'grid', 'none', 'inline-flex', 'inline-block']) rule(d === 'none' ? 'hidden' : d, `display: ${d};`);
  for (const a of ['start', 'center', 'end', 'space-between', 'stretch', 'baseline']) {
    rule(`items-${a}`, `align-items: ${a};`);
    rule(`justify-${a}`, `justify-content: ${a};`);
  }
  return out;
}

let made = '';

export function utilityCss() {
  if (made) return made;
  const out = rules('u-');
  for (const [name, hue] of Object.entries(HUES)) {
    for (let step = 50; step <= 900; step += step === 50 ? 50 : 100) {
      const light = Math.round(97 - step / 11);
      out.push(`.u-text-${name}-${step} { color: hsl(${hue} 38% ${light}%); }`);
      out.push(`.u-bg-${name}-${step} { background-color: hsl(${hue} 38% ${light}%); }`);
      out.push(`.u-line-${name}-${step} { border-color: hsl(${hue} 38% ${light}%); }`);
    }
  }
  for (const [name, px] of Object.entries(BREAKS)) {
    out.push(`@media (min-width: ${px}px) {`, ...rules(`${name}-`).map((r) => `  ${r}`), '}');
  }
  made = `${out.join('\n')}\n`;
  return made;
}

// Keys that work anywhere in a view, except where somebody types or a dialog is open.

export type Keys = Record<string, (event: KeyboardEvent) => void>;

const TYPING = 'input, textarea, select, [contenteditable]';

const BUTTONS = 'button, a, summary, [role=option]';

// What the pointer pressed last, until the focus is moved by keyboard.
let clicked: Element | null = null;
addEventListener('pointerdown', (e) => { clicked = (e.target as Element).closest(BUTTONS); }, true);
addEventListener('keydown', (e) => { if (e.key === 'Tab') clicked = null; }, true);

export function handleKeys(event: KeyboardEvent, keys: Keys) {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
  const target = event.target as Element | null;
  if (document.querySelector('dialog[open]')) return;
  if (target?.closest(TYPING) && !(target as HTMLElement).matches('input[type=range], input[type=checkbox]')) return;
  // A button reached by keyboard keeps its own keys; one that was merely clicked lets go of them.
  const button = event.key === ' ' || event.key === 'Enter' ? target?.closest<HTMLElement>(BUTTONS) : null;
  if (button && button !== clicked) return;
  button?.blur();
  // A slider keeps the arrows; it answers them itself.
  if (target?.closest('[role=slider], [role=tab], [role=listbox]') && /^(Arrow|Home|End|Page)/.test(event.key)) return;
  const run = keys[event.shiftKey && event.key.length > 1 ? `Shift+${event.key}` : event.key];
  if (!run) return;
  event.preventDefault();
  run(event);
}
